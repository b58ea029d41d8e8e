"""Which of several choices are not beaten in everything by another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["on_the_front"]


def on_the_front(points: Sequence[Sequence[float]]) -> tuple[bool, ...]:
    """Mark the points of the Pareto front.

    A point is on it unless another one is at least as good in every coordinate and better in one.

    Args:
        points: As many coordinates each; smaller is better in all of them.

    Returns:
        Whether each point is on the front.
    """
    return tuple(not any(_beats(other, point) for other in points) for point in points)


def _beats(other: Sequence[float], point: Sequence[float]) -> bool:
    pairs = list(zip(other, point, strict=True))
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)
