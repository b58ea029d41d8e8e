"""How well a figure is known: intervals from the samples alone, without assuming a distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.measure.loop import quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edgeml_runtime.measure.loop import Samples

__all__ = [
    "LEVEL",
    "MARGIN",
    "MIN_PROCESSES",
    "MIN_ROUNDS",
    "MIN_STARTS",
    "Figure",
    "calls_needed",
    "latency_figure",
    "start_figure",
    "throughput_figure",
]

LEVEL = 0.95
RESAMPLES = 400
MIN_ROUNDS = 5
MIN_PROCESSES = 6
MIN_STARTS = 6
MARGIN = 0.02
"""No interval is narrower than this share of its value at either end: size of the environment and layout of the memory
alone move programs by a few per cent (Mytkowicz et al., "Producing Wrong Data Without Doing Anything Obviously Wrong!",
ASPLOS 2009)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value with its interval.

    Attributes:
        value: The value, in the unit of its name.
        low: Lower end of the 95 % interval, ``-inf`` where there are too few samples for one.
        high: Upper end, ``inf`` likewise.
        n: Samples behind it.
    """

    value: float
    low: float
    high: float
    n: int


def _binomial_cdf(n: int, p: float) -> NDArray[np.float64]:
    """P(B ≤ k) for k = 0 … n, float64[n + 1], by the recurrence of the probabilities in logarithms."""
    k = np.arange(n)
    steps = np.log((n - k) / (k + 1.0)) + math.log(p / (1 - p))
    log_pmf = n * math.log1p(-p) + np.concatenate(([0.0], np.cumsum(steps)))
    cdf: NDArray[np.float64] = np.minimum(np.cumsum(np.exp(log_pmf)), 1.0)
    return cdf


def order_statistic_interval(values: NDArray[np.float64], share: float) -> tuple[float, float]:
    """Distribution-free interval of a quantile from independent samples.

    David and Nagaraja, "Order Statistics", 3rd edition (2003), section 7.1: the number of samples below the quantile is
    binomial, so the interval ends at two of the sorted samples. With too few samples an end does not exist.

    Args:
        values: float64[n].
        share: In (0, 1), such as 0.95.

    Returns:
        Both ends; ``-inf`` or ``inf`` where there is none.
    """
    tail = (1 - LEVEL) / 2
    ordered = np.sort(values)
    cdf = _binomial_cdf(len(ordered), share)
    lower = int(np.searchsorted(cdf, tail, side="right"))
    upper = int(np.searchsorted(cdf, 1 - tail, side="left"))
    low = float(ordered[lower - 1]) if lower >= 1 else -math.inf
    high = float(ordered[upper]) if upper < len(ordered) else math.inf
    return low, high


def calls_needed(share: float) -> int:
    """Fewest samples for which the interval of a quantile has an upper end: share ** n ≤ 2.5 %.

    Args:
        share: In (0, 1), such as 0.95.
    """
    return math.ceil(math.log((1 - LEVEL) / 2) / math.log(share))


def round_bootstrap_interval(rounds: Sequence[NDArray[np.int64]], share: float) -> tuple[float, float]:
    """Percentile interval of a quantile, by drawing whole rounds with replacement.

    Calls of one round share the machine's mood (clock, caches, other work), so they are drawn together: Davison and
    Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.

    Args:
        rounds: int64[calls] each.
        share: In (0, 1].

    Returns:
        Both ends, in the unit of the rounds.
    """
    sizes = [len(times) for times in rounds]
    values = np.concatenate(rounds)
    order = np.argsort(values, kind="stable")
    owner = np.repeat(np.arange(len(rounds)), sizes)[order]
    ordered = values[order]
    rng = np.random.default_rng(0)
    drawn = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        times_drawn = np.bincount(rng.integers(len(rounds), size=len(rounds)), minlength=len(rounds))
        weight = np.cumsum(times_drawn[owner])
        drawn[index] = ordered[np.searchsorted(weight, share * weight[-1], side="left")]
    tail = (1 - LEVEL) / 2
    return float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail))


def _quieter_half(rounds: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """The half of the rounds, rounded up, whose calls took the least time on average."""
    means = np.array([times.mean() for times in rounds])
    return [rounds[index] for index in np.argsort(means, kind="stable")[: (len(rounds) + 1) // 2]]


def _figure(value: float, ends: Iterable[tuple[float, float]], n: int) -> Figure:
    """A figure with the widest of several intervals, and of ``MARGIN``."""
    lows, highs = zip(*ends, (value * (1 - MARGIN), value * (1 + MARGIN)), strict=True)
    return Figure(value=value, low=min(lows), high=max(highs), n=n)


def _too_few(processes: Sequence[Samples]) -> bool:
    return len(processes) < MIN_PROCESSES or sum(len(samples.rounds_ns) for samples in processes) < MIN_ROUNDS


def latency_figure(processes: Sequence[Samples], share: float) -> Figure:
    """A percentile of the latency in milliseconds.

    Its interval is the widest, at each end, of

    - the order statistics' of all calls, which knows when there are too few of them;
    - the bootstrap's over rounds, which knows that calls of one round belong together;
    - the order statistics' of the median over processes, because where a process finds its memory moves all of its
      calls alike (Kalibera and Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013,);
    - at the lower end the percentile of the quieter half of the rounds: other work only ever makes calls slower;
    - ``MARGIN``.

    Fewer than ``MIN_PROCESSES`` processes say nothing about how processes differ: then there is no interval.

    Args:
        processes: Every call, of one process after the other.
        share: In (0, 1), such as 0.95.

    Returns:
        The figure, in milliseconds.
    """
    rounds = [times for samples in processes for times in samples.rounds_ns]
    values = np.concatenate(rounds)
    value = quantile(values, share)
    if _too_few(processes):
        return Figure(value=value / 1e6, low=-math.inf, high=math.inf, n=len(values))
    each = np.array([quantile(samples.all_ns, share) for samples in processes], dtype=np.float64)
    ends = (
        order_statistic_interval(values.astype(np.float64), share),
        round_bootstrap_interval(rounds, share),
        order_statistic_interval(each, 0.5),
        (float(quantile(np.concatenate(_quieter_half(rounds)), share)), -math.inf),
    )
    return _figure(value / 1e6, ((low / 1e6, high / 1e6) for low, high in ends), len(values))


def _rate(rounds: Sequence[NDArray[np.int64]]) -> float:
    return sum(len(times) for times in rounds) / (max(sum(int(times.sum()) for times in rounds), 1) / 1e9)


def throughput_figure(processes: Sequence[Samples]) -> Figure:
    """Calls per second of one caller.

    Its interval is the widest of the bootstrap's over rounds, the order statistics' of the median over processes, at
    the upper end the rate of the quieter half of the rounds, and ``MARGIN``; see :func:`latency_figure`.

    Args:
        processes: Every call, of one process after the other.

    Returns:
        The figure, in calls per second.
    """
    rounds = [times for samples in processes for times in samples.rounds_ns]
    counts = np.array([len(times) for times in rounds], dtype=np.float64)
    seconds = np.array([max(int(times.sum()), 1) for times in rounds]) / 1e9
    value, n = _rate(rounds), int(counts.sum())
    if _too_few(processes):
        return Figure(value=value, low=-math.inf, high=math.inf, n=n)
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    rates = counts[drawn].sum(axis=1) / seconds[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2
    ends = (
        (float(np.quantile(rates, tail)), float(np.quantile(rates, 1 - tail))),
        order_statistic_interval(np.array([_rate(samples.rounds_ns) for samples in processes]), 0.5),
        (math.inf, _rate(_quieter_half(rounds))),
    )
    return _figure(value, ends, n)


def start_figure(values: Sequence[float], *, worst: bool) -> Figure:
    """A figure of several fresh processes: their median, or the largest of them.

    The interval of the median runs between order statistics; ``MIN_STARTS`` processes are the fewest that have one. For
    the largest, the interval is the range that was seen. Neither is narrower than ``MARGIN``.

    Args:
        values: One value per process, at least one.
        worst: Whether the largest counts (memory) and not the median (time).

    Returns:
        The figure, in the unit of the values.
    """
    array = np.array(values, dtype=np.float64)
    if worst:
        return _figure(float(array.max()), [(float(array.min()), float(array.max()))], len(array))
    return _figure(float(np.median(array)), [order_statistic_interval(array, 0.5)], len(array))
