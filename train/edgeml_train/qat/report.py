"""What quantization-aware training reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate import MetricValue, PairedLoss

__all__ = ["QatReport", "QatRow", "Stage"]


class Stage(Enum):
    """How a row's model came about."""

    FLOAT = "float"
    POST_TRAINING = "post_training"
    QUANTIZATION_AWARE = "quantization_aware"


@dataclass(frozen=True, slots=True, kw_only=True)
class QatRow:
    """One model on the test split.

    Attributes:
        stage: How it came about.
        model: ``PyTorch``, or the id of a variant whose bytes were run.
        metric: The contract's metric.
        loss: What it loses against the run that training started from, over the same items; None for that one.
        simulation_rms: For a variant of this training: how far its outputs lie from what was simulated in training, as
            root mean square over their standard deviation.
        float_rms: The same from what the weights give in float.
    """

    stage: Stage
    model: str
    metric: MetricValue
    loss: PairedLoss | None = None
    simulation_rms: float | None = None
    float_rms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "stage": self.stage.value,
            "model": self.model,
            "metric": self.metric.to_dict(),
            "loss": None if self.loss is None else self.loss.to_dict(),
            "simulation_rms": self.simulation_rms,
            "float_rms": self.float_rms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QatReport:
    """A finished quantization-aware training.

    Attributes:
        run_id: MLflow's id of the run.
        parent_run_id: The run it started from.
        tracking_uri: Where both are stored.
        split: Which split, in the task's words.
        rows: The float model, its post-training int8 variants, then the trained weights in float and in int8.
        epochs: Epochs run.
        best_epoch: Epoch, from 1, whose weights and ranges were kept; 0 where no epoch was better than the start.
        resumed_at: Epoch, from 1, at which an interrupted run was taken up, or None.
        ranges: Ranges that were learned.
        data_sha256: Digest of the data.
        duration_s: Wall-clock time of this call, in seconds.
    """

    run_id: str
    parent_run_id: str
    tracking_uri: str
    split: str
    rows: tuple[QatRow, ...]
    epochs: int
    best_epoch: int
    resumed_at: int | None
    ranges: int
    data_sha256: str
    duration_s: float

    def won_back(self) -> Mapping[str, float | None]:
        """Per variant, the share of the post-training loss that training has won back; None where there was none."""
        lost = {(row.stage, row.model): row.loss.drop for row in self.rows if row.loss is not None}
        return {
            model: 1 - lost[Stage.QUANTIZATION_AWARE, model] / drop if drop > 0 else None
            for (stage, model), drop in lost.items()
            if stage is Stage.POST_TRAINING
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "run_id": self.run_id,
            "parent_run_id": self.parent_run_id,
            "tracking_uri": self.tracking_uri,
            "split": self.split,
            "rows": [row.to_dict() for row in self.rows],
            "won_back": dict(self.won_back()),
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "resumed_at": self.resumed_at,
            "ranges": self.ranges,
            "data_sha256": self.data_sha256,
            "duration_s": self.duration_s,
        }
