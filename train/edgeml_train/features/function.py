"""A function as a feature pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_train.features.base import FeaturePipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from edgeml_train.features.base import Inputs

__all__ = ["Function"]


class Function(FeaturePipeline):
    """Preprocessing that is a plain function of tensors, and learns nothing.

    Args:
        function: Takes one tensor [b, *shape] for each input of the contract, in its order, and gives what the network
            takes. It is traced, so it works on whole batches and uses operations of PyTorch only.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def fit(self, inputs: Inputs) -> None:
        """Learn nothing."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Call the function.

        Args:
            inputs: One tensor [b, *shape] for each input of the contract.

        Returns:
            What the function gives.
        """
        return self.function(*inputs)
