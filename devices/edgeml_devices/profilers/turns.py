"""Running a model with and without a profiler, in turns.

A profiler makes runs slower, so both medians are told and nothing is scaled.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BLOCKS", "Turn", "Turns", "midmean", "take_turns", "warm_up"]

BLOCKS = 20
_MOST_RUNS = 400
_WARM_UP_S = 0.3


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One kind of run.

    Attributes:
        run: What is timed.
        before: What comes before and is not.
        after: What comes after and is not.
    """

    run: Callable[[], object]
    before: Callable[[], object] = _nothing
    after: Callable[[], object] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What the runs took.

    Attributes:
        plain_ms: Median without a profiler, in milliseconds.
        profiled_ms: Median with it.
        runs: How many there were of each kind.
    """

    plain_ms: float
    profiled_ms: float
    runs: int


def midmean(times_us: Sequence[float]) -> float:
    """The mean of the middle half (Tukey, "Exploratory Data Analysis", 1977).

    Runs that other work interrupted do not move it, and where a profiler counts whole microseconds, it resolves what
    lies between, which a median does not.

    Args:
        times_us: One per run, at least one.
    """
    ordered = np.sort(np.asarray(times_us, np.float64))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def _timed_ms(turn: Turn, calls: int) -> list[float]:
    times = []
    for _ in range(calls):
        turn.before()
        begun = time.perf_counter_ns()
        turn.run()
        times.append((time.perf_counter_ns() - begun) / 1e6)
        turn.after()
    return times


def warm_up(*runs: Callable[[], object]) -> None:
    """Call each for a third of a second, and at least three times.

    Args:
        runs: What to call.
    """
    for run in runs:
        end = time.perf_counter() + _WARM_UP_S
        for number in itertools.count(1):
            run()
            if number >= 3 and time.perf_counter() > end:
                break


def take_turns(plain: Turn, profiled: Turn, *, seconds: float, most_runs: int) -> Turns:
    """Run with and without a profiler, block by block.

    Args:
        plain: A run without.
        profiled: A run with it.
        seconds: About how long to go on.
        most_runs: No more of each than that, but at least three.

    Returns:
        The medians.
    """
    once_s = sum(_timed_ms(plain, 1) + _timed_ms(profiled, 1)) / 1e3
    runs = min(_MOST_RUNS, most_runs, int(seconds / once_s))
    blocks = max(3, min(BLOCKS, runs))
    calls = max(1, runs // blocks)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(blocks):
        times[0].extend(_timed_ms(plain, calls))
        times[1].extend(_timed_ms(profiled, calls))
    plain_ms, profiled_ms = map(statistics.median, times)
    return Turns(plain_ms=plain_ms, profiled_ms=profiled_ms, runs=calls * blocks)
