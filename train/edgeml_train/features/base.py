"""What every feature pipeline is: a module that is fitted once and then travels inside the exported graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Inputs = Mapping[str, NDArray[np.generic]] | NDArray[np.generic]

__all__ = ["FeaturePipeline", "single_input"]


class FeaturePipeline(nn.Module, ABC):
    """Raw sensor values in, network input out.

    ``fit`` learns statistics from the training split and stores them in buffers; ``forward`` takes tensors with the
    batch dimension first and uses only operations that export to ONNX and to TFLite. A user's own pipeline needs
    nothing more than these two methods: export works on the traced graph and never asks for this class.
    """

    @abstractmethod
    def fit(self, inputs: Inputs) -> None:
        """Learn the statistics of the training split.

        Args:
            inputs: One array [items, *shape], or arrays by input name.
        """


def single_input(inputs: Inputs, *, pipeline: str) -> NDArray[np.generic]:
    """Return the one array that a pipeline with one input is fitted on.

    Args:
        inputs: One array [items, *shape], or a mapping with exactly one entry.
        pipeline: Name of the pipeline, for the message.

    Returns:
        The array, with at least one item.

    Raises:
        ProjectError: There are several inputs, or no items.
    """
    if isinstance(inputs, Mapping):
        if len(inputs) != 1:
            raise ProjectError(
                f"{pipeline}.fit: expected one input, found {len(inputs)} ({', '.join(map(repr, inputs))}); "
                f"hand it the array it is for, such as features.fit(inputs[{next(iter(inputs), 'name')!r}])"
            )
        inputs = next(iter(inputs.values()))
    if inputs.ndim == 0 or len(inputs) == 0:
        raise ProjectError(
            f"{pipeline}.fit: expected an array of at least one item, found shape {inputs.shape}; "
            "check that the training split is not empty"
        )
    return inputs
