"""Splitting groups, so that nobody is in two parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["grouped_parts"]


def grouped_parts(groups: NDArray[Any], shares: Sequence[float], *, seed: int) -> tuple[NDArray[np.intp], ...]:
    """Split positions at random, whole groups at a time.

    Args:
        groups: [n] key of the group of every item, such as the person.
        shares: Share of the groups in each part but the last, which gets the rest; every part gets one at least.
        seed: Seed of the choice, 0 or more.

    Returns:
        Sorted positions of each part; together they are all positions, each once.

    Raises:
        ProjectError: When there are fewer groups than parts, or the seed is none.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ProjectError(f"expected the seed of the split to be an integer of 0 or more, found {seed!r}")
    keys = np.unique(groups)
    parts = len(shares) + 1
    if len(keys) < parts:
        raise ProjectError(f"expected at least {parts} groups, one for each part of the split, found {len(keys)}.")
    order = np.random.default_rng(seed).permutation(keys)
    ends = np.round(np.cumsum(shares) * len(keys)).astype(np.intp)
    first = np.arange(1, parts)
    ends = np.clip(ends, first, len(keys) - parts + first)
    ends = np.maximum.accumulate(ends - first) + first
    return tuple(np.flatnonzero(np.isin(groups, piece)) for piece in np.split(order, ends))
