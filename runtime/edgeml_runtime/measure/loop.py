"""The measuring loop: how long one call takes, on whatever machine this runs on.

What is timed is one call after another from one thread, with ``time.perf_counter_ns``; reading the clock twice is part
of the figure (about 0.1 µs). Every call's time is kept. Several subjects are measured in rounds in shuffled order,
because a fixed order phase-locks with other work of the machine and gives ratios that are not there. Python's garbage
collector runs between the rounds and is off inside them, as in :mod:`timeit`.
"""

from __future__ import annotations

import gc
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.progress import ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.progress import Progress

__all__ = [
    "LatencySummary",
    "LoopLimits",
    "Samples",
    "measure_interleaved",
    "measure_latency",
    "quantile",
    "summarise",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLimits:
    """Bounds of the measuring loop.

    Attributes:
        warmup_s: Longest warm-up of one subject; one call is made in any case.
        steady_share: Warm-up ends once two blocks of calls in a row have medians that differ by at most this share.
        block_s: Length of a warm-up block and of a measured round; one call is made in any case.
        round_calls: Most calls in one round, so that a fast model does not fill the memory with samples.
        settle_s: Before a round, unrecorded calls refill the caches that the other subjects emptied, for this long;
            calls that take ten times as long are not worth it and start without.
    """

    warmup_s: float = 1.0
    steady_share: float = 0.05
    block_s: float = 0.05
    round_calls: int = 1000
    settle_s: float = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The time of every measured call of one subject.

    Attributes:
        rounds_ns: Nanoseconds per call, int64[calls], one array per round, in the order of measuring.
        warmup_calls: Unrecorded calls before the first round.
        steady: Whether the warm-up ended because the times had settled, not because its time was up.
    """

    rounds_ns: tuple[NDArray[np.int64], ...]
    warmup_calls: int
    steady: bool

    @property
    def all_ns(self) -> NDArray[np.int64]:
        """Nanoseconds of every call, int64[calls]."""
        return np.concatenate(self.rounds_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles of the latency of one call, in milliseconds.

    Attributes:
        min: The fastest call.
        p50: Median, by the definition of :func:`quantile`, as the other percentiles.
        p95: 95th percentile.
        p99: 99th percentile.
        n: Calls that were measured.
        throughput_per_s: Calls per second of one caller that calls back to back: ``n`` over the sum of all times.
    """

    min: float
    p50: float
    p95: float
    p99: float
    n: int
    throughput_per_s: float


def quantile(values: NDArray[np.int64], share: float) -> int:
    """The smallest measured value that at least ``share`` of all values do not exceed.

    This is the inverse of the empirical distribution function, definition 1 of Hyndman and Fan, "Sample Quantiles in
    Statistical Packages", The American Statistician 50 (1996): always a time that was measured, never one in between.

    Args:
        values: int64[n], at least one.
        share: In (0, 1].

    Returns:
        One of the values.
    """
    return int(np.quantile(values, share, method="inverted_cdf"))


def summarise(samples: Samples) -> LatencySummary:
    """Percentiles and throughput of all calls of all rounds.

    Args:
        samples: At least one call.

    Returns:
        The summary, in milliseconds and calls per second.
    """
    values = samples.all_ns
    return LatencySummary(
        min=int(values.min()) / 1e6,
        p50=quantile(values, 0.50) / 1e6,
        p95=quantile(values, 0.95) / 1e6,
        p99=quantile(values, 0.99) / 1e6,
        n=len(values),
        throughput_per_s=len(values) / (max(int(values.sum()), 1) / 1e9),
    )


@dataclass(slots=True)
class _Subject:
    """One measured callable while the loop runs."""

    run: Callable[[], object]
    rounds: list[NDArray[np.int64]]
    warmup_calls: int = 0
    steady: bool = False
    typical_ns: int = 0
    spent_ns: int = 0


def _timed_calls(
    run: Callable[[], object], *, length_ns: int, most: int, clock: Callable[[], int]
) -> NDArray[np.int64]:
    times: list[int] = []
    end = clock() + length_ns
    while True:
        begun = clock()
        run()
        ended = clock()
        times.append(ended - begun)
        if ended >= end or len(times) >= most:
            return np.array(times, dtype=np.int64)


def _warm_up(subject: _Subject, limits: LoopLimits, clock: Callable[[], int]) -> None:
    end = clock() + int(limits.warmup_s * 1e9)
    previous: int | None = None
    while True:
        length = min(int(limits.block_s * 1e9), max(end - clock(), 0))
        times = _timed_calls(subject.run, length_ns=length, most=limits.round_calls, clock=clock)
        subject.warmup_calls += len(times)
        subject.typical_ns = quantile(times, 0.5)
        if previous is not None and abs(subject.typical_ns - previous) <= limits.steady_share * previous:
            subject.steady = True
            return
        if clock() >= end:
            return
        previous = subject.typical_ns


def _measure_round(subject: _Subject, limits: LoopLimits, clock: Callable[[], int]) -> None:
    begun = clock()
    gc.collect()
    settle_ns = int(limits.settle_s * 1e9)
    if subject.typical_ns < 10 * settle_ns:
        _timed_calls(subject.run, length_ns=settle_ns, most=limits.round_calls, clock=clock)
    times = _timed_calls(subject.run, length_ns=int(limits.block_s * 1e9), most=limits.round_calls, clock=clock)
    subject.rounds.append(times)
    subject.spent_ns += clock() - begun


def _measure_rounds(
    subjects: Mapping[str, _Subject],
    *,
    seconds: float,
    limits: LoopLimits,
    seed: int,
    progress: Progress,
    clock: Callable[[], int],
) -> None:
    order = random.Random(seed)
    planned = max(1, round(seconds / limits.block_s))
    for number in range(planned):
        open_names = [name for name, subject in subjects.items() if subject.spent_ns < seconds * 1e9]
        if not open_names:
            break
        order.shuffle(open_names)
        for name in open_names:
            _measure_round(subjects[name], limits, clock)
        progress(ProgressEvent(step="latency", done=number + 1, total=planned))


def measure_interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    limits: LoopLimits | None = None,
    seed: int = 0,
    progress: Progress = silent,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Samples]:
    """Measure several callables side by side, in rounds in shuffled order.

    Args:
        runs: Name → what to call. It is called from this thread only.
        seconds: How long to measure each of them, warm-up apart; every one gets at least one round of one call.
        limits: Bounds of the loop.
        seed: Seed of the order.
        progress: Told after every round.
        clock: Monotonic nanoseconds.

    Returns:
        Name → every measured call.

    Raises:
        Exception: Whatever a callable raises ends the measurement.
    """
    limits = limits or LoopLimits()
    subjects = {name: _Subject(run=run, rounds=[]) for name, run in runs.items()}
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is alive now stays alive: without this every collection between rounds walks all of it
    try:
        for number, (name, subject) in enumerate(subjects.items()):
            progress(ProgressEvent(step="warm up", done=number, total=len(subjects), message=name))
            _warm_up(subject, limits, clock)
        _measure_rounds(subjects, seconds=seconds, limits=limits, seed=seed, progress=progress, clock=clock)
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
    return {
        name: Samples(rounds_ns=tuple(subject.rounds), warmup_calls=subject.warmup_calls, steady=subject.steady)
        for name, subject in subjects.items()
    }


def measure_latency(
    run: Callable[[], object],
    *,
    seconds: float = 3.0,
    limits: LoopLimits | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Samples:
    """Measure one callable.

    Args:
        run: What to call, such as ``lambda: model.predict(x)``.
        seconds: How long to measure, warm-up apart; at least one call is measured.
        limits: Bounds of the loop.
        clock: Monotonic nanoseconds.

    Returns:
        Every measured call; :func:`summarise` gives the percentiles.
    """
    return measure_interleaved({"": run}, seconds=seconds, limits=limits, clock=clock)[""]
