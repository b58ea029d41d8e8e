"""Timing two calls against each other in one run: shuffled rounds, so that neither meets the better moments."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timing", "time_in_turns"]

ROUND_S = 0.002
"""How long the calls of one round take together, at least: far above the clock's resolution, far below a time slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Two calls, timed in turns.

    Attributes:
        first_us: Low decile of the first one's rounds, in µs a call.
        second_us: The same of the second one.
        ratio: First ÷ second, of the low deciles.
        median_ratio: Median over the rounds of first ÷ second.
    """

    first_us: float
    second_us: float
    ratio: float
    median_ratio: float


def time_in_turns(first: Callable[[], object], second: Callable[[], object], *, rounds: int = 300) -> Timing:
    """Time two calls.

    Args:
        first: The call in the numerator.
        second: The call in the denominator.
        rounds: How often each takes its turn; the order within a round is drawn anew.

    Returns:
        The times.
    """
    calls = {0: first, 1: second}
    counts = {key: _calls_per_round(call) for key, call in calls.items()}
    times: dict[int, list[float]] = {0: [], 1: []}
    order = [0, 1]
    draw = random.Random(0)
    for _ in range(rounds):
        draw.shuffle(order)
        for key in order:
            times[key].append(_time(calls[key], counts[key]))
    low = {key: sorted(found)[len(found) // 10] for key, found in times.items()}
    return Timing(
        first_us=low[0] * 1e6,
        second_us=low[1] * 1e6,
        ratio=low[0] / low[1],
        median_ratio=median(a / b for a, b in zip(times[0], times[1], strict=True)),
    )


def _time(call: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


def _calls_per_round(call: Callable[[], object]) -> int:
    for _ in range(10):
        call()
    return max(1, round(ROUND_S / min(_time(call, 3) for _ in range(5))))
