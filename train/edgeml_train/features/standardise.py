"""Numeric columns to network input: fill in what is missing, standardise, say what was missing."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline, single_input

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["Fill", "Standardise"]


class Fill(Enum):
    """What a missing value is replaced with."""

    MEAN = "mean"
    MEDIAN = "median"


class Standardise(FeaturePipeline):
    """Replace NaN with a fitted value, then subtract the mean and divide by the standard deviation of each column.

    The statistics are those of the values that are there: filling in does not narrow the standard deviation. A column
    that never varies is only centred (as scikit-learn's ``StandardScaler`` does).

    Args:
        columns: Number of columns, the last axis of the input.
        fill: What replaces a missing value.
        indicators: Append one column per input column that is 1 where the value was missing and 0 elsewhere.
    """

    def __init__(self, *, columns: int, fill: Fill = Fill.MEAN, indicators: bool = False) -> None:
        super().__init__()
        self.columns = columns
        self.fill = fill
        self.indicators = indicators
        self.register_buffer("filling", torch.zeros(columns))
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))
        self.filling: torch.Tensor
        self.mean: torch.Tensor
        self.scale: torch.Tensor

    def fit(self, inputs: Inputs) -> None:
        """Learn each column's mean, standard deviation and filling value.

        Args:
            inputs: float32 [items, ..., columns], NaN where missing; or a mapping with that one entry. Axes between the
                first and the last (time steps of a window) count as further items.

        Raises:
            ProjectError: The array does not fit, holds infinity, or a column has no value at all.
        """
        values = single_input(inputs, pipeline="Standardise")
        if values.dtype.kind not in "fiu" or values.ndim < 2 or values.shape[-1] != self.columns:
            raise ProjectError(
                f"Standardise.fit: expected numbers of shape [items, ..., {self.columns}], "
                f"found {values.dtype} {list(values.shape)}"
            )
        rows = values.reshape(-1, self.columns).astype(np.float64)
        self._check(rows)
        mean = np.nanmean(rows, axis=0)
        deviation = np.nanstd(rows, axis=0)
        # A constant column's deviation comes out as rounding noise rather than as zero.
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(mean), 1.0)
        scale = np.where(constant, 1.0, 1.0 / np.where(constant, 1.0, deviation))
        filling = mean if self.fill is Fill.MEAN else np.nanmedian(rows, axis=0)
        for buffer, learned in ((self.filling, filling), (self.mean, mean), (self.scale, scale)):
            buffer.copy_(torch.from_numpy(learned))

    @staticmethod
    def _check(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
        for fault, found in (
            ("holds infinity", np.isinf(rows).any(axis=0)),
            ("has no value in the training split", np.isnan(rows).all(axis=0)),
        ):
            if found.any():
                raise ProjectError(
                    f"Standardise.fit: column {int(np.flatnonzero(found)[0])} of {rows.shape[1]} {fault}; "
                    "mend the data or drop the column"
                )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Fill in and standardise.

        Args:
            values: float32 [b, ..., columns], NaN where missing.

        Returns:
            float32 [b, ..., columns], or [b, ..., 2 · columns] with the indicators behind.
        """
        missing = torch.isnan(values)
        filled = torch.where(missing, self.filling, values)
        standard = (filled - self.mean) * self.scale
        if not self.indicators:
            return standard
        return torch.cat([standard, missing.to(torch.float32)], dim=-1)
