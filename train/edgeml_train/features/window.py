"""Cutting a long series into overlapping windows, as a module that exports to ONNX and TFLite."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline, single_input

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["Window"]


class Window(FeaturePipeline):
    """Overlapping windows over the first axis behind the batch; nothing is learned.

    The same values as ``numpy.lib.stride_tricks.sliding_window_view(x, size, axis)[::step]``. Values behind the last
    whole window are not used. The graph holds no constants: blocks of gcd(size, step) values are cut and joined, so a
    step that divides the size gives size / step slices, and a step without a common divisor gives as many slices as
    the window has values.

    Args:
        length: Length of the series.
        size: Values in a window.
        step: Values from one window to the next.

    Attributes:
        windows: Number of windows.

    Raises:
        ProjectError: The settings contradict each other.
    """

    def __init__(self, *, length: int, size: int, step: int) -> None:
        super().__init__()
        if not 0 < size <= length or step < 1:
            raise ProjectError(
                f"Window: expected 0 < size <= length and step >= 1, found size = {size}, "
                f"length = {length}, step = {step}"
            )
        self.length = length
        self.size = size
        self.windows = (length - size) // step + 1
        self.block = gcd(size, step)
        self.stride = step // self.block

    def fit(self, inputs: Inputs) -> None:
        """Check the array; there is nothing to learn.

        Args:
            inputs: [items, length, ...], or a mapping with that one entry.

        Raises:
            ProjectError: The length differs.
        """
        series = single_input(inputs, pipeline="Window")
        if series.ndim < 2 or series.shape[1] != self.length:
            raise ProjectError(f"Window.fit: expected [items, {self.length}, ...], found {list(series.shape)}")

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Cut.

        Args:
            series: float32 [b, length, ...].

        Returns:
            float32 [b, windows, size, ...].
        """
        rest = series.shape[2:]
        per_window = self.size // self.block
        blocks = (self.windows - 1) * self.stride + per_window
        cut = series[:, : blocks * self.block].reshape(-1, blocks, self.block, *rest)
        last = (self.windows - 1) * self.stride + 1
        parts = [cut[:, i : i + last : self.stride] for i in range(per_window)]
        return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
