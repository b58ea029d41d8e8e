"""The Lightning module of quantization-aware training: steps compute each form in turn, validation all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_export.fakequant import SimulatedModel
from edgeml_train.module import TrainingModule

if TYPE_CHECKING:
    from torch import Tensor

    from edgeml_train.fused import FusedModel

__all__ = ["QatModule"]


class QatModule(TrainingModule):
    """Trains a :class:`edgeml_export.fakequant.SimulatedModel`; arguments as of :class:`TrainingModule`.

    The int8 forms of the formats and the float model take turns, step by step: all of them are exported with the same
    weights, and differ in how many bits weights have and in what is rounded. Validation loss and metric are means over
    all of them.
    """

    rate_key = "train.qat_learning_rate"

    def on_train_batch_start(self, batch: list[Tensor], batch_idx: int) -> None:
        """Seed the epoch, and choose the step's form."""
        super().on_train_batch_start(batch, batch_idx)
        forms = self._simulated.forms
        self._simulated.mode.format = forms[self.global_step % len(forms)]

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Keep outputs and loss of one batch in every form."""
        for format_ in self._simulated.forms:
            self._simulated.mode.format = format_
            super().validation_step(batch, batch_idx)

    def _augmented_logits(self, fused: FusedModel | SimulatedModel, inputs: tuple[Tensor, ...]) -> Tensor:
        """Where features cannot be told from the network, only inputs are augmented."""
        if fused is not self.fused or self._simulated.has_features:
            return super()._augmented_logits(fused, inputs)
        return self._simulated.logits(*inputs)

    @property
    def _simulated(self) -> SimulatedModel:
        assert isinstance(self.fused, SimulatedModel)
        return self.fused
