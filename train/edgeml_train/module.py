"""The Lightning module: one step of training and of validation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from edgeml_evaluate.metrics import compute_metric, decide

if TYPE_CHECKING:
    from edgeml_export.fakequant import SimulatedModel
    from edgeml_runtime.contract import Contract
    from edgeml_train.augment import Augmentation
    from edgeml_train.distil import Teacher
    from edgeml_train.fused import FusedModel
    from edgeml_train.settings import TrainSettings
    from edgeml_train.task import Task

__all__ = ["TrainingModule", "epoch_seed", "schedule"]


class TrainingModule(pl.LightningModule):
    """Trains a fused model with the task's loss.

    Args:
        fused: The model, its features fitted.
        task: Gives the loss.
        augmentation: Random changes to training items, or None.
        settings: How to train.
        contract: Names the metric that is logged.
        steps_per_epoch: Optimizer steps in an epoch.
        teacher: A trained model whose outputs are learned from as well, or None.

    Attributes:
        rate_key: The setting that the learning rate comes from, for messages.
    """

    rate_key = "train.learning_rate"

    def __init__(
        self,
        fused: FusedModel | SimulatedModel,
        task: Task,
        augmentation: Augmentation | None,
        settings: TrainSettings,
        contract: Contract,
        steps_per_epoch: int,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.fused = fused
        self._task = task
        self._augmentation = augmentation
        self._settings = settings
        self._contract = contract
        self._teacher = teacher
        self._total_steps = settings.epochs * steps_per_epoch
        self._generator = torch.Generator()
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._losses: list[Tensor] = []

    def on_train_batch_start(self, batch: list[Tensor], batch_idx: int) -> None:
        """Seed everything random in this epoch, so that resuming before it gives the same epoch.

        Lightning does not call ``on_train_epoch_start`` for the first epoch after resuming.
        """
        if batch_idx == 0:
            seed = epoch_seed(self._settings.seed, self.current_epoch)
            torch.manual_seed(seed)
            self._generator.manual_seed(seed)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch: inputs in the contract's order, targets last."""
        inputs, targets = tuple(batch[:-1]), batch[-1]
        if self._augmentation is not None:
            inputs = self._augmentation.inputs(inputs, self._generator)
        drawn = self._generator.get_state()
        logits = self._augmented_logits(self.fused, inputs)
        loss = self._task.loss(logits, targets)
        if self._teacher is None:
            return loss
        # The same random numbers again: the teacher judges what the student has seen (Beyer et al., "Knowledge
        # distillation: a good teacher is patient and consistent", 2022, arXiv:2106.05237).
        self._generator.set_state(drawn)
        with torch.no_grad():
            expected = self._augmented_logits(self._teacher.fused, inputs)
        return self._teacher.loss(loss, logits, expected, self._settings)

    def _augmented_logits(self, fused: FusedModel | SimulatedModel, inputs: tuple[Tensor, ...]) -> Tensor:
        features = fused.features(*inputs)
        if self._augmentation is not None:
            features = self._augmentation.features(features, self._generator)
        logits: Tensor = fused.network(features)
        return logits

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Keep outputs and loss of one batch."""
        logits = self.fused.logits(*batch[:-1])
        self._losses.append(self._task.loss(logits, batch[-1]) * len(logits))
        self._outputs.append(logits)
        self._targets.append(batch[-1])

    def on_validation_epoch_end(self) -> None:
        """Log loss and metric over the whole validation split."""
        outputs, targets = torch.cat(self._outputs).cpu().numpy(), torch.cat(self._targets).cpu().numpy()
        loss = torch.stack(self._losses).sum() / len(targets)
        for kept in (self._outputs, self._targets, self._losses):
            kept.clear()
        metric = math.nan
        judged = self._contract.anomaly is None or len(np.unique(targets)) > 1
        if judged and np.isfinite(outputs).all():
            metric = compute_metric(self._contract.metric.primary, targets, decide(self._contract, outputs))
        self.log("val_loss", loss)
        self.log("val_metric", torch.tensor(metric, dtype=torch.float64))

    def configure_optimizers(self) -> Any:
        """AdamW without decay of biases and normalisation, warm-up and half cosine."""
        trained = [p for p in self.fused.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self._settings.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self._settings.learning_rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, self._total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch, far from those of other epochs and runs."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def schedule(step: int, total: int) -> float:
    """Share of the peak learning rate: linear warm-up over a tenth of the steps, then a half cosine to zero.

    Args:
        step: Steps done, 0 to ``total``.
        total: Steps in all.

    Returns:
        A factor in (0, 1]; at the last step it is next to zero.
    """
    warm_up = max(1, total // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))
