"""Readings of a machine relative to what they are when it is well, in blocks of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["Relative"]

# Far outside what a machine does when it is well; further out is no more unusual, and unbounded values would take the
# range of int8 for themselves.
_FARTHEST = 8.0
_EPSILON = 1e-6


class Relative(FeaturePipeline):
    """Mean and standard deviation of each block of readings, in standard deviations from the machine's own mean.

    One model serves machines whose readings lie elsewhere, because level and spread of each come in as inputs. Nothing
    is learned.

    Args:
        length: Readings in a window.
        block: Readings in a block; divides the length.

    Attributes:
        columns: Number of features, two per block.

    Raises:
        ProjectError: The block does not divide the length.
    """

    def __init__(self, *, length: int, block: int) -> None:
        super().__init__()
        if block < 1 or length < block or length % block:
            raise ProjectError(
                f"Relative: expected a block that divides the window, found {block} readings of {length}"
            )
        self.length = length
        self.block = block
        self.columns = 2 * (length // block)

    def fit(self, inputs: Inputs) -> None:
        """Check the arrays; there is nothing to learn.

        Args:
            inputs: ``readings`` [items, length], ``level`` and ``spread`` [items, 1], in that order.

        Raises:
            ProjectError: They are others, or a spread is not above 0.
        """
        shapes = [list(values.shape[1:]) for values in inputs.values()] if isinstance(inputs, Mapping) else "one array"
        expected = [[self.length], [1], [1]]
        if not isinstance(inputs, Mapping) or shapes != expected:
            raise ProjectError(
                f"Relative.fit: expected readings, level and spread of shapes {expected}, found {shapes}"
            )
        spread = np.asarray(list(inputs.values())[2], np.float64)
        if not (spread > 0).all():
            raise ProjectError(f"Relative.fit: expected spreads above 0, found {spread.min()}")

    def forward(self, readings: torch.Tensor, level: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """Compute the features.

        Args:
            readings: float32 [b, length].
            level: float32 [b, 1], in the unit of the readings.
            spread: float32 [b, 1], above 0, in the unit of the readings.

        Returns:
            float32 [b, columns]: the mean of every block, then the standard deviation of every block.
        """
        relative = torch.clamp((readings - level) / spread, -_FARTHEST, _FARTHEST)
        blocks = relative.reshape(-1, self.length // self.block, self.block)
        mean = blocks.mean(dim=2)
        variance = (blocks - mean.unsqueeze(2)).square().mean(dim=2)
        return torch.cat([mean, torch.sqrt(variance + _EPSILON)], dim=1)
