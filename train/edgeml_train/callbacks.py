"""What happens around Lightning's loop: best weights, checkpoints, progress."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from edgeml_runtime.progress import Progress, ProgressEvent
from edgeml_train.module import TrainingModule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

__all__ = ["BestWeights", "Epoch", "Interruption", "StepProgress", "early_stopping"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        index: From 0.
        val_loss: Loss over the validation split.
        val_metric: The contract's metric over the validation split.
    """

    index: int
    val_loss: float
    val_metric: float


def early_stopping(patience: int) -> EarlyStopping:
    """Stop when the validation loss has not fallen for ``patience`` epochs."""
    return EarlyStopping("val_loss", patience=patience, mode="min", check_finite=True, verbose=False)


class BestWeights(Checkpoint):
    """Keeps the weights of the epoch with the lowest validation loss and writes a checkpoint after every epoch.

    Lightning runs callbacks of this base class last, so that the checkpoint holds the early stopping's state as well.

    Args:
        checkpoint: Where to write it, or None for no checkpoints.
        stopping: Asked after resuming whether training had already ended.
        on_epoch: Told about every epoch, before its checkpoint is written.
    """

    def __init__(
        self, checkpoint: Path | None, stopping: EarlyStopping, on_epoch: Callable[[Epoch], None] | None = None
    ) -> None:
        self._checkpoint = checkpoint
        self._stopping = stopping
        self._on_epoch = on_epoch
        self.history: list[Epoch] = []
        self.best_epoch = -1
        self.resumed_at: int | None = None
        self.weights: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End at once when the interruption came after the decision to stop."""
        if self._stopping.wait_count >= self._stopping.patience:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far, then write the checkpoint."""
        assert isinstance(pl_module, TrainingModule)
        values = trainer.callback_metrics
        epoch = Epoch(
            index=trainer.current_epoch,
            val_loss=float(values["val_loss"]),
            val_metric=float(values["val_metric"]),
        )
        best = self.history[self.best_epoch].val_loss if self.history else math.inf
        self.history.append(epoch)
        if not self.weights or epoch.val_loss < best:
            self.best_epoch = epoch.index
            self.weights = {name: value.detach().clone() for name, value in pl_module.fused.state_dict().items()}
        if self._on_epoch:
            self._on_epoch(epoch)
        if self._checkpoint:
            trainer.save_checkpoint(self._checkpoint)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors only, so that the checkpoint can be read without unpickling objects."""
        return {
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best_epoch,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what the checkpoint holds."""
        self.history = [Epoch(**epoch) for epoch in state_dict["history"]]
        self.best_epoch = state_dict["best_epoch"]
        self.weights = state_dict["weights"]
        self.resumed_at = len(self.history)


class StepProgress(pl.Callback):
    """Reports optimizer steps to a progress callback, at most fifty times an epoch.

    Args:
        progress: The callback.
        epochs: Most epochs there can be.
    """

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._epochs = epochs
        self._message = ""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report now and then."""
        steps = int(trainer.num_training_batches)
        if batch_idx % max(1, steps // 50) == 0:
            done = trainer.current_epoch * steps + batch_idx + 1
            self._progress(
                ProgressEvent(step="train", done=done, total=self._epochs * steps, message=self._message or "epoch 1")
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember what to show beside the bar."""
        values, epoch = trainer.callback_metrics, trainer.current_epoch + 1
        metric, loss = float(values["val_metric"]), float(values["val_loss"])
        # An area under the ROC curve does not exist where the validation split has no unusual item.
        known = f"validation {metric:.4f}" if math.isfinite(metric) else f"validation loss {loss:.4g}"
        self._message = f"epoch {epoch}/{self._epochs}: {known}"

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fill the bar, also after an early stop."""
        total = self._epochs * int(trainer.num_training_batches)
        self._progress(ProgressEvent(step="train", done=total, total=total, message=self._message))


class Interruption(pl.Callback):
    """Remembers what ended the training, because Lightning turns Ctrl-C into ``SystemExit(1)``."""

    def __init__(self) -> None:
        self.cause: BaseException | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Lightning's hook."""
        self.cause = exception
