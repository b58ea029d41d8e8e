"""Categories to network input: one column per category, and one for what is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline, single_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_train.features.base import Inputs

__all__ = ["OneHot"]


class OneHot(FeaturePipeline):
    """Each column of indices becomes its number of categories plus one columns, one of which is 1.

    The last of them stands for the unknown: -1, and every other index that is none of a category.

    Args:
        sizes: Number of categories of every column of the input.

    Raises:
        ProjectError: There is no column, or one without a category.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise ProjectError(
                f"OneHot: expected at least one column, each of one category or more, found {list(sizes)}"
            )
        self.sizes = tuple(sizes)
        bins = [size + 1 for size in sizes]
        self.register_buffer("size", torch.tensor(sizes, dtype=torch.int32))
        self.register_buffer("column", torch.repeat_interleave(torch.arange(len(bins)), torch.tensor(bins)))
        self.register_buffer("bin", torch.cat([torch.arange(count, dtype=torch.int32) for count in bins]))
        self.size: torch.Tensor
        self.column: torch.Tensor
        self.bin: torch.Tensor

    def fit(self, inputs: Inputs) -> None:
        """Compare the input with the sizes; there is nothing to learn.

        Args:
            inputs: int32 [items, columns], -1 where unknown; or a mapping with that one entry.

        Raises:
            ProjectError: The array does not fit.
        """
        values = single_input(inputs, pipeline="OneHot")
        if values.dtype.kind not in "iu" or values.ndim != 2 or values.shape[-1] != len(self.sizes):
            raise ProjectError(
                f"OneHot.fit: expected indices of shape [items, {len(self.sizes)}], "
                f"found {values.dtype} {list(values.shape)}"
            )
        largest = np.max(values, axis=0)
        if np.any(largest >= np.array(self.sizes)):
            raise ProjectError(
                f"OneHot.fit: expected indices below {list(self.sizes)}, found up to {largest.tolist()}; "
                "correct the sizes"
            )

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """Encode.

        Args:
            indices: int32 [b, columns].

        Returns:
            float32 [b, sum of the sizes + number of columns].
        """
        known = (indices >= 0) & (indices < self.size)
        bins = torch.where(known, indices, self.size)
        return (bins.index_select(1, self.column) == self.bin).to(torch.float32)
