"""The fused model: preprocessing, network and post-processing as one module, which is what gets exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["FusedModel", "predict_array", "to_tensors"]


class FusedModel(nn.Module):
    """Raw sensor values in, the contract's outputs out.

    Args:
        contract: Fixes names and order of inputs and outputs.
        features: The preprocessing: inputs in the contract's order → features.
        network: Features → logits [n, classes], values [n, *shape] for regression, or anomaly scores [n, 1].

    Attributes:
        threshold: What an anomaly score is divided by, so that it is an alarm above 1; 1 until it is chosen. There is
            none for other targets.
    """

    threshold: Tensor

    def __init__(self, contract: Contract, features: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.network = network
        self.input_names = tuple(spec.name for spec in contract.inputs)
        by_role = {spec.role: spec for spec in contract.outputs}
        if contract.target.kind is TargetKind.CLASSIFICATION:
            self.primary = by_role.get(OutputRole.LOGITS) or by_role[OutputRole.SCORES]
        elif len(contract.outputs) == 1:
            self.primary = contract.outputs[0]
        else:
            names, kind = ", ".join(spec.name for spec in contract.outputs), contract.target.kind.value
            raise ProjectError(f"edgeml.toml: expected one output for {kind}, found {names}.")
        self.logits_name = by_role[OutputRole.LOGITS].name if OutputRole.LOGITS in by_role else None
        if contract.anomaly is not None:
            self.register_buffer("threshold", torch.ones(1))
        self.has_threshold = contract.anomaly is not None
        self.scores_name = by_role[OutputRole.SCORES].name if OutputRole.SCORES in by_role else None

    def logits(self, *inputs: Tensor) -> Tensor:
        """What decides, before the softmax: logits, values, or anomaly scores as multiples of the threshold.

        Args:
            inputs: One tensor [n, *shape] per input, in the contract's order.

        Returns:
            [n, *shape of the output], float32.
        """
        output: Tensor = self.network(self.features(*inputs))
        return output / self.threshold if self.has_threshold else output

    def forward(self, *inputs: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """All outputs of the contract.

        Args:
            inputs: One tensor [n, *shape] per input, in the contract's order.
            named: The same by name, instead.

        Returns:
            Contract output name → [n, *shape]; scores are the softmax of the logits.
        """
        tensors = inputs or tuple(named[name] for name in self.input_names)
        logits = self.logits(*tensors)
        if self.scores_name is None:
            return {self.primary.name: logits}
        outputs = {self.logits_name: logits} if self.logits_name else {}
        return outputs | {self.scores_name: torch.softmax(logits, dim=-1)}

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Run two items and compare the output's shape with the contract.

        Args:
            inputs: Contract input name → [n, *shape].

        Raises:
            ProjectError: When the shapes differ.
        """
        count = min(2, len(next(iter(inputs.values()))))
        was_training = self.training
        self.eval()
        with torch.no_grad():
            found = list(self.logits(*to_tensors({k: v[:count] for k, v in inputs.items()}, self.input_names)).shape)
        self.train(was_training)
        expected = [count, *self.primary.shape]
        if found != expected:
            raise ProjectError(
                f"task.py: expected network() to give {expected} for {count} items, as the output "
                f"{self.primary.name!r} in edgeml.toml says, found {found}. Correct one of the two."
            )


def to_tensors(inputs: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Arrays by name → tensors in order, sharing memory where the array is contiguous and writable."""
    return tuple(torch.from_numpy(np.require(inputs[name], requirements=["C", "W"])) for name in names)


def predict_array(fused: FusedModel, inputs: Mapping[str, NDArray[Any]], *, batch_size: int = 128) -> NDArray[Any]:
    """Logits (or values) of many items by PyTorch.

    Args:
        fused: The model; it is switched to evaluation.
        inputs: Contract input name → [n, *shape].
        batch_size: Items at once.

    Returns:
        [n, *shape] float32.
    """
    fused.eval()
    total = len(next(iter(inputs.values())))
    parts = []
    with torch.inference_mode():
        for start in range(0, total, batch_size):
            batch = {name: array[start : start + batch_size] for name, array in inputs.items()}
            parts.append(fused.logits(*to_tensors(batch, fused.input_names)).numpy())
    return np.concatenate(parts)
