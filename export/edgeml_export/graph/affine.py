"""Affine maps of single elements, ``scale · x + offset``, followed through changes of layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["Affine"]

# Normalisations are written in float32, whose rounding is 6e-8 relative; a mean that is a whole number comes back
# within that of a few steps.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """``scale · x + offset`` for every element of a tensor.

    Attributes:
        scale: float64, as many dimensions as the tensor, each of its size, or 1 where it is the same along it.
        offset: The same.
    """

    scale: Tensor
    offset: Tensor

    @classmethod
    def identity(cls, rank: int) -> Affine:
        """The map that changes nothing.

        Args:
            rank: Dimensions of the tensor.
        """
        ones = torch.ones([1] * rank, dtype=torch.float64)
        return cls(scale=ones, offset=torch.zeros_like(ones))

    @property
    def elements(self) -> int:
        """How many numbers it is written with."""
        return self.scale.numel() + self.offset.numel()

    @property
    def is_row(self) -> bool:
        """Whether it differs along the last axis, and along no other."""
        parts = (self.scale, self.offset)
        return self.elements > 2 and all(part.numel() == part.shape[-1] for part in parts)

    def zero(self) -> float | None:
        """The value that a uniform map sends to zero; one within float32's rounding of a whole number is that number.

        Returns:
            The value, or None where the map is not uniform or sends no value to zero.
        """
        scale, offset = (float(part.reshape(-1)[0]) for part in (self.scale, self.offset))
        if self.elements > 2 or scale == 0:
            return None
        zero = -offset / scale
        return float(round(zero)) if abs(zero - round(zero)) <= _ROUNDING * max(1.0, abs(zero)) else zero

    def times(self, factor: Tensor) -> Affine:
        """Followed by a multiplication.

        Args:
            factor: float64, broadcastable to the tensor without adding dimensions.
        """
        factor = self._aligned(factor)
        return Affine(scale=_collapsed(self.scale * factor), offset=_collapsed(self.offset * factor))

    def plus(self, term: Tensor) -> Affine:
        """Followed by an addition.

        Args:
            term: float64, broadcastable to the tensor without adding dimensions.
        """
        return Affine(scale=self.scale, offset=_collapsed(self.offset + self._aligned(term)))

    def moved(self, shape: Sequence[int], move: Callable[[Tensor], Tensor]) -> Affine:
        """Followed by a change of layout.

        Args:
            shape: Shape of the tensor so far.
            move: Moves the elements of a tensor of that shape, or some of them, to other places.

        Returns:
            The map in the new layout; dimensions along which it is the same have the size 1.
        """
        return Affine(
            scale=_collapsed(move(self.scale.expand(*shape))), offset=_collapsed(move(self.offset.expand(*shape)))
        )

    def permuted_back(self, order: Sequence[int]) -> Affine:
        """The same map before a permutation of the dimensions.

        Args:
            order: For each dimension behind the permutation the one before it.
        """
        inverse = sorted(range(len(order)), key=lambda axis: order[axis])
        return Affine(scale=self.scale.permute(*inverse), offset=self.offset.permute(*inverse))

    def along(self, axis: int) -> tuple[Tensor, Tensor] | None:
        """Scale and offset of each position on one axis.

        Args:
            axis: The axis.

        Returns:
            Two vectors float64[n] (n may be 1), or None where the map differs along another axis too.
        """
        vectors = []
        for part in (self.scale, self.offset):
            moved = part.movedim(axis, 0).reshape(part.shape[axis], -1)
            if not bool((moved == moved[:, :1]).all()):
                return None
            vectors.append(moved[:, 0])
        return vectors[0], vectors[1]

    def _aligned(self, other: Tensor) -> Tensor:
        return other.reshape([1] * (self.scale.ndim - other.ndim) + list(other.shape))


def _collapsed(part: Tensor) -> Tensor:
    for axis in range(part.ndim):
        first = part.narrow(axis, 0, 1)
        if bool((part == first).all()):
            part = first
    return part
