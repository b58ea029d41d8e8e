"""Judging models: metrics, intervals, slices, and scoring a bundle's variants."""

from edgeml_evaluate.data import LabelledData
from edgeml_evaluate.intervals import Interval, metric_interval, wilson_interval
from edgeml_evaluate.metrics import compute_metric, decide, decision_output
from edgeml_evaluate.paired import PairedLoss, SliceLoss, paired_loss, slice_losses
from edgeml_evaluate.scoring import MetricValue, Score, run_backend, score_predictions
from edgeml_evaluate.slices import SliceResult, slice_report

__all__ = [
    "Interval",
    "LabelledData",
    "MetricValue",
    "PairedLoss",
    "Score",
    "SliceLoss",
    "SliceResult",
    "compute_metric",
    "decide",
    "decision_output",
    "metric_interval",
    "paired_loss",
    "run_backend",
    "score_predictions",
    "slice_losses",
    "slice_report",
    "wilson_interval",
]
