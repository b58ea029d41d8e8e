"""Float constants as int8 with scales: those of a float front end, such as a DFT, in a quarter of the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MIN_ELEMENTS", "SmallConstant", "small_constant"]

MIN_ELEMENTS = 256
"""Smaller constants save less than the operators that turn them back take."""

_MAX = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallConstant:
    """A constant as symmetric int8.

    Attributes:
        values: int8, its shape; times ``scale`` it is the constant, rounded.
        scale: float32, one along every axis but ``axis``.
        axis: The axis whose positions have scales of their own.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    axis: int


def small_constant(values: NDArray[np.float32]) -> SmallConstant:
    """Round to symmetric int8: round(x / s), s = max |x| / 127 over all axes but one.

    That one is the axis with the finest steps on average, by geometric mean: what follows a spectrum's constants is a
    logarithm, to which small rows matter as much as large ones.

    Args:
        values: At least one dimension.

    Returns:
        The constant; positions that hold zeros alone get the scale 1.
    """
    candidates = [_rounded(values, axis) for axis in range(values.ndim)]
    return min(candidates, key=lambda item: float(np.log(item.scale).mean()))


def _rounded(values: NDArray[np.float32], axis: int) -> SmallConstant:
    others = tuple(index for index in range(values.ndim) if index != axis)
    largest = np.abs(values).max(axis=others, keepdims=True).astype(np.float64)
    scale = np.where(largest > 0, largest / _MAX, 1.0).astype(np.float32)
    integers = np.clip(np.rint(values / scale), -_MAX, _MAX).astype(np.int8)
    return SmallConstant(values=integers, scale=scale, axis=axis)
