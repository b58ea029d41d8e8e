"""How well a figure is known: intervals from the samples alone, without assuming a distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.measure import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeml_runtime.measure import Samples

__all__ = [
    "LEVEL",
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
MIN_STARTS = 6


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


def latency_figure(samples: Samples, share: float) -> Figure:
    """A percentile of the latency in milliseconds.

    Its interval is the wider, at each end, of the order statistics' (which knows when there are too few calls) and of
    the bootstrap over rounds (which knows that calls of one round belong together). Fewer than ``MIN_ROUNDS`` rounds
    say nothing about how rounds differ: then there is no interval.

    Args:
        samples: Every call.
        share: In (0, 1), such as 0.95.

    Returns:
        The figure, in milliseconds.
    """
    values = samples.all_ns
    low, high = order_statistic_interval(values.astype(np.float64), share)
    if len(samples.rounds_ns) < MIN_ROUNDS:
        low, high = -math.inf, math.inf
    else:
        bootstrap_low, bootstrap_high = round_bootstrap_interval(samples.rounds_ns, share)
        low, high = min(low, bootstrap_low), max(high, bootstrap_high)
    return Figure(value=quantile(values, share) / 1e6, low=low / 1e6, high=high / 1e6, n=len(values))


def throughput_figure(samples: Samples) -> Figure:
    """Calls per second of one caller, with a bootstrap interval over rounds.

    Args:
        samples: Every call.

    Returns:
        The figure, in calls per second.
    """
    counts = np.array([len(times) for times in samples.rounds_ns], dtype=np.float64)
    seconds = np.array([max(int(times.sum()), 1) for times in samples.rounds_ns]) / 1e9
    value = float(counts.sum() / seconds.sum())
    n = int(counts.sum())
    if len(counts) < MIN_ROUNDS:
        return Figure(value=value, low=-math.inf, high=math.inf, n=n)
    drawn = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    rates = counts[drawn].sum(axis=1) / seconds[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2
    return Figure(value=value, low=float(np.quantile(rates, tail)), high=float(np.quantile(rates, 1 - tail)), n=n)


def start_figure(values: Sequence[float], *, worst: bool) -> Figure:
    """A figure of several fresh processes: their median, or the largest of them.

    The interval of the median runs between order statistics; ``MIN_STARTS`` processes are the fewest that have one. For
    the largest, the interval is the range that was seen.

    Args:
        values: One value per process, at least one.
        worst: Whether the largest counts (memory) and not the median (time).

    Returns:
        The figure, in the unit of the values.
    """
    array = np.array(values, dtype=np.float64)
    if worst:
        return Figure(value=float(array.max()), low=float(array.min()), high=float(array.max()), n=len(array))
    low, high = order_statistic_interval(array, 0.5)
    return Figure(value=float(np.median(array)), low=low, high=high, n=len(array))
