"""Which rows of a table train, validate and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.stratified import stratified_parts

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MIN_PER_CLASS", "SHARES", "split_rows"]

Array = NDArray[Any]

SHARES = (0.6, 0.15)
"""Shares of training and validation; the rest is the test."""

MIN_PER_CLASS = 3
"""With so many items of a class, rounding leaves at least one of them in the training and in the test."""


def split_rows(
    targets: Array | None,
    rows: int,
    *,
    path: Path,
    groups: Array | None = None,
    group_name: str | None = None,
    times: Array | None = None,
    seed: int = 0,
) -> tuple[tuple[Array, Array, Array], str]:
    """Split rows by group, by time or at random.

    Args:
        targets: [n] class index, or None for a regression.
        rows: n.
        path: The table, for messages.
        groups: [n] the group of every row; whole groups are drawn.
        group_name: The groups' column, for the name of the split.
        times: [n] when each row was taken; the oldest rows train. Rows of one time stay together.
        seed: Seed of the draw.

    Returns:
        Sorted positions of training, validation and test, and the split's name.

    Raises:
        ProjectError: When there are too few groups or times for three parts.
    """
    if groups is not None:
        order = np.random.default_rng(seed).permutation(np.unique(groups))
        position = {group: place for place, group in enumerate(order.tolist())}
        keys = np.array([position[group] for group in groups.tolist()])
        return _cut(keys, path, f"values of {group_name!r}"), f"by {group_name}, whole groups at random"
    if times is not None:
        return _cut(times, path, "different times"), "by time: the newest quarter is the test"
    strata = np.zeros(rows, dtype=np.int64) if targets is None else targets
    train, validation, test = stratified_parts(strata, SHARES, seed=seed)
    return (train, validation, test), "random" if targets is None else "random, stratified by class"


def _cut(keys: Array, path: Path, what: str) -> tuple[Array, Array, Array]:
    """Cut the rows, in the order of their keys, where the shares are reached; rows of one key stay together."""
    distinct, counts = np.unique(keys, return_counts=True)
    if len(distinct) < 3:
        raise ProjectError(f"{path}: expected at least 3 {what} for three splits, found {len(distinct)}.")
    ends = np.cumsum(counts) / len(keys)
    first = int(np.clip(np.argmin(np.abs(ends - SHARES[0])), 0, len(distinct) - 3))
    second = int(np.clip(np.argmin(np.abs(ends - sum(SHARES))), first + 1, len(distinct) - 2))
    train = keys <= distinct[first]
    test = keys > distinct[second]
    return np.flatnonzero(train), np.flatnonzero(~train & ~test), np.flatnonzero(test)
