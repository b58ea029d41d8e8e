"""What training and export report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeml_evaluate.scoring import MetricValue
    from edgeml_evaluate.slices import SliceResult
    from edgeml_export import ExportReport, VariantReport
    from edgeml_train.baseline import BaselineResult

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
        return {**self.export.to_dict(), "run_id": self.run_id, "split": self.split}
