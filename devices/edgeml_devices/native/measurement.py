"""What a native program measured of a variant in one process, as far as it tells, and the figures of several."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_devices.budgets import SHARES
from edgeml_devices.intervals import (
    MARGIN,
    MIN_PROCESSES,
    Figure,
    calls_needed,
    latency_figure,
    order_statistic_interval,
    throughput_figure,
)
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.measure.report import VariantMeasurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.native.output import CallStatistics

__all__ = ["UNMEASURED", "NativeMeasurement", "native_figures", "ran"]

CLOCK_US = 1.0
"""A time that is the difference of two clocks in whole microseconds is wrong by less than this."""

UNMEASURED = {
    BudgetName.COLD_START_MS: "a native runner starts without the runtime: its start is not the application's",
    BudgetName.PEAK_RSS_MB: "a native runner's memory is not that of a process with the runtime",
    BudgetName.LATENCY_MS_P50: "this benchmark_model is too old to print percentiles",
    BudgetName.LATENCY_MS_P95: "this benchmark_model is too old to print percentiles",
    BudgetName.LATENCY_MS_P99: "benchmark_model prints no 99th percentile",
}
"""Why a figure is missing that a native program does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeMeasurement(VariantMeasurement):
    """What one process of a native program measured of a variant, or why it did not.

    Attributes:
        runner: The program's file name.
        statistics: What it said of its calls, where it does not tell the single ones (``samples``).
    """

    runner: str
    statistics: CallStatistics | None = None


def ran(measured: VariantMeasurement) -> bool:
    """Whether a variant ran in this process.

    Args:
        measured: What is known of it.
    """
    return measured.samples is not None or (isinstance(measured, NativeMeasurement) and measured.statistics is not None)


def native_figures(processes: Sequence[NativeMeasurement]) -> dict[BudgetName, Figure]:
    """The figures that budgets are judged by.

    Where only statistics of each process are known, a percentile is the median over the processes, and an interval the
    widest of that of its order statistics, the value of the quieter half of the processes at the end where other work
    cannot have moved it, the resolution of the clock, and ``MARGIN``.

    Args:
        processes: Of one program, at least one; all of them ran.

    Returns:
        The figures that the program tells.
    """
    samples = [one.samples for one in processes if one.samples is not None]
    if samples:
        figures = {name: latency_figure(samples, share) for name, share in SHARES.items()}
        return figures | {BudgetName.THROUGHPUT_PER_S: throughput_figure(samples)}
    return _from_statistics([one.statistics for one in processes if one.statistics is not None])


def _from_statistics(processes: Sequence[CallStatistics]) -> dict[BudgetName, Figure]:
    n = sum(one.n for one in processes)
    figures = {}
    for name, each in {
        BudgetName.LATENCY_MS_P50: [one.p50_us for one in processes],
        BudgetName.LATENCY_MS_P95: [one.p95_us for one in processes],
    }.items():
        known = [value for value in each if value is not None]
        if len(known) == len(processes):
            figures[name] = _percentile(known, SHARES[name], n)
    total_s = sum(one.n * one.mean_us for one in processes) / 1e6
    rates = [1e6 / one.mean_us for one in processes]
    figures[BudgetName.THROUGHPUT_PER_S] = _figure(n / total_s, rates, n, quieter_is_low=False)
    return figures


def _percentile(values_us: Sequence[float], share: float, n: int) -> Figure:
    middle = float(np.quantile(values_us, 0.5, method="inverted_cdf"))
    found = _figure(middle, values_us, n, quieter_is_low=True)
    low, high = min(found.low, middle - CLOCK_US), max(found.high, middle + CLOCK_US)
    enough = n >= calls_needed(share)
    return Figure(value=middle / 1e3, low=low / 1e3, high=high / 1e3 if enough else math.inf, n=n)


def _figure(value: float, each: Sequence[float], n: int, *, quieter_is_low: bool) -> Figure:
    if len(each) < MIN_PROCESSES:
        return Figure(value=value, low=-math.inf, high=math.inf, n=n)
    ordered = np.sort(np.array(each, dtype=np.float64))
    half = (len(ordered) + 1) // 2
    low, high = order_statistic_interval(ordered, 0.5)
    if quieter_is_low:
        low = min(low, float(np.median(ordered[:half])))
    else:
        high = max(high, float(np.median(ordered[-half:])))
    return Figure(value=value, low=min(low, value * (1 - MARGIN)), high=max(high, value * (1 + MARGIN)), n=n)
