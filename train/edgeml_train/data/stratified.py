"""Splitting items so that every class keeps its share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["stratified_parts"]


def stratified_parts(targets: NDArray[Any], shares: Sequence[float], *, seed: int) -> tuple[NDArray[np.intp], ...]:
    """Split positions at random, class by class.

    Args:
        targets: [n] class index.
        shares: Share of each part but the last, which gets the rest.
        seed: Seed of the choice.

    Returns:
        Sorted positions of each part; together they are all positions, each once.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(targets):
        order = rng.permutation(np.flatnonzero(targets == label))
        ends = np.round(np.cumsum(shares) * len(order)).astype(np.intp)
        for part, piece in zip(parts, np.split(order, ends), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)
