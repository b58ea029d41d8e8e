"""Judging models: metrics, intervals, slices, and scoring a bundle's variants."""

from edgeml_evaluate.alarms import EventLoss, OperatingPoint, Threshold, choose_threshold, event_loss, operating_point
from edgeml_evaluate.data import LabelledData
from edgeml_evaluate.intervals import Interval, difference_interval, metric_interval, wilson_interval
from edgeml_evaluate.metrics import compute_metric, decide, decision_output
from edgeml_evaluate.paired import PairedLoss, SliceLoss, paired_loss, slice_losses
from edgeml_evaluate.ranking import Ranking, rank_scores
from edgeml_evaluate.scoring import MetricValue, Score, run_backend, score_predictions
from edgeml_evaluate.slices import SliceResult, slice_report

__all__ = [
    "EventLoss",
    "Interval",
    "LabelledData",
    "MetricValue",
    "OperatingPoint",
    "PairedLoss",
    "Ranking",
    "Score",
    "SliceLoss",
    "SliceResult",
    "Threshold",
    "choose_threshold",
    "compute_metric",
    "decide",
    "decision_output",
    "difference_interval",
    "event_loss",
    "metric_interval",
    "operating_point",
    "paired_loss",
    "rank_scores",
    "run_backend",
    "score_predictions",
    "slice_losses",
    "slice_report",
    "wilson_interval",
]
