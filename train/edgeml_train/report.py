"""What training and export report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeml_evaluate.ranking import Ranking
    from edgeml_evaluate.scoring import MetricValue
    from edgeml_evaluate.slices import SliceResult
    from edgeml_export import ExportReport, VariantReport
    from edgeml_train.anomaly import AnomalyReport
    from edgeml_train.baseline import BaselineResult
    from edgeml_train.distil import Teacher
    from edgeml_train.fast import FastRun
    from edgeml_train.simpler import Comparison, ModelChoice
    from edgeml_train.slim.result import Slimming

__all__ = ["ProjectExport", "TrainReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """A finished training.

    Attributes:
        run_id: MLflow's id of the run.
        tracking_uri: Where the run is stored.
        split: Which split, in the task's words.
        items: ``train``, ``validation`` and ``test`` → number of items.
        metric: The contract's metric on the test set.
        floor_met: Whether it reaches the contract's floor.
        baseline: The better baseline on the same test set.
        baselines: All of them.
        slices: The metric on every slice of the test set.
        parameters: Trained parameters of the network.
        epochs: Epochs run.
        best_epoch: Epoch, from 1, whose weights were kept.
        resumed_at: Epoch, from 1, at which an interrupted run was taken up, or None.
        data_sha256: Digest of the data.
        duration_s: Wall-clock time of this call, in seconds.
        unreadable: What is wrong with each file that was left out of the data.
        ranking: Area under the ROC curve on the test set; None unless there are two classes and both occur.
        choice: Which of network and linear model was kept; None where ``train.prefer_simpler`` does not ask.
        anomaly: The alarms of an anomaly score; None for other targets.
        boosting: Gradient boosting, which cannot be exported, against the model on the test set; None where it is no
            baseline.
        fast: What ``--fast`` set; None for any other run.
        teacher: The run whose outputs were learned from as well; None without.
        slimming: The run that was slimmed, and what is left of it; None where the network is fresh.
    """

    run_id: str
    tracking_uri: str
    split: str
    items: Mapping[str, int]
    metric: MetricValue
    floor_met: bool
    baseline: BaselineResult
    baselines: tuple[BaselineResult, ...]
    slices: tuple[SliceResult, ...]
    parameters: int
    epochs: int
    best_epoch: int
    resumed_at: int | None
    data_sha256: str
    duration_s: float
    unreadable: tuple[str, ...] = ()
    ranking: Ranking | None = None
    choice: ModelChoice | None = None
    anomaly: AnomalyReport | None = None
    boosting: Comparison | None = None
    teacher: Teacher | None = None
    slimming: Slimming | None = None
    fast: FastRun | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "run_id": self.run_id,
            "tracking_uri": self.tracking_uri,
            "split": self.split,
            "items": dict(self.items),
            "metric": self.metric.to_dict(),
            "floor_met": self.floor_met,
            "baseline": self.baseline.to_dict(),
            "baselines": [result.to_dict() for result in self.baselines],
            "slices": [result.to_dict() for result in self.slices],
            "parameters": self.parameters,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "resumed_at": self.resumed_at,
            "data_sha256": self.data_sha256,
            "duration_s": self.duration_s,
            "unreadable": list(self.unreadable),
            "ranking": self.ranking.to_dict() if self.ranking else None,
            "choice": self.choice.to_dict() if self.choice else None,
            "anomaly": self.anomaly.to_dict() if self.anomaly else None,
            "boosting": self.boosting.to_dict() if self.boosting else None,
            "teacher": self.teacher.to_dict() if self.teacher else None,
            "slimming": self.slimming.summary() if self.slimming else None,
            "fast": self.fast.to_dict() if self.fast else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectExport:
    """A run of a project, exported.

    Attributes:
        run_id: The run.
        split: Which split its figures are of.
        training: What ``train`` reported of the run, as JSON values.
        export: What the export came to.
    """

    run_id: str
    split: str
    training: Mapping[str, Any]
    export: ExportReport

    @property
    def bundle(self) -> Path:
        """Where the bundle lies."""
        return self.export.bundle

    @property
    def variants(self) -> tuple[VariantReport, ...]:
        """Every variant, shipped or not."""
        return self.export.variants

    @property
    def ok(self) -> bool:
        """Whether every required variant is shipped."""
        return self.export.ok

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            **self.export.to_dict(),
            "run_id": self.run_id,
            "split": self.split,
            "fast": self.training.get("fast"),
        }
