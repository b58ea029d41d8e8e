"""Intervals of percentiles: known tables, coverage, and what happens with too few samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeml_devices.intervals import (
    MARGIN,
    calls_needed,
    latency_figure,
    order_statistic_interval,
    start_figure,
    throughput_figure,
)
from edgeml_runtime.measure.loop import Samples

# Sorted positions, from 1, between which the median lies with 95 %.
MEDIAN_POSITIONS = [(6, 1, 6), (10, 2, 9), (25, 8, 18), (100, 40, 61)]


@pytest.mark.parametrize(("n", "low", "high"), MEDIAN_POSITIONS)
def test_order_statistics_of_the_median_lie_where_the_tables_say(n, low, high):
    values = np.arange(1, n + 1, dtype=np.float64)
    assert order_statistic_interval(np.random.default_rng(0).permutation(values), 0.5) == (low, high)


@pytest.mark.parametrize(("n", "share"), [(5, 0.5), (71, 0.95), (367, 0.99)])
def test_too_few_samples_have_no_upper_end_and_one_more_has(n, share):
    assert order_statistic_interval(np.arange(n, dtype=np.float64), share)[1] == math.inf
    assert order_statistic_interval(np.arange(n + 1, dtype=np.float64), share)[1] == n
    assert calls_needed(share) == n + 1


def test_positions_agree_with_scipy():
    from scipy.stats import binom

    for n in (6, 30, 173, 2000):
        for share in (0.5, 0.95, 0.99):
            low, high = order_statistic_interval(np.arange(1, n + 1, dtype=np.float64), share)
            if math.isfinite(low):
                assert binom.cdf(low - 1, n, share) <= 0.025 < binom.cdf(low, n, share)
            if math.isfinite(high):
                assert binom.cdf(high - 1, n, share) >= 0.975 > binom.cdf(high - 2, n, share)


def _processes(rounds, count=10):
    """The rounds, dealt to that many processes."""
    arrays = [np.array(times, dtype=np.int64) for times in rounds]
    return [
        Samples(rounds_ns=tuple(arrays[first::count]), warmup_calls=0, steady=True)
        for first in range(min(count, len(arrays)))
    ]


def test_calls_that_move_with_their_round_widen_the_interval():
    """With moods of whole rounds, the interval of independent calls would claim far too much."""
    rng = np.random.default_rng(1)
    moods = rng.uniform(1e6, 2e6, 20)
    together = latency_figure(_processes([np.full(100, mood) for mood in moods]), 0.5)
    mixed = rng.permutation(np.repeat(moods, 100)).reshape(20, 100)
    apart = latency_figure(_processes(mixed), 0.5)
    assert together.value == apart.value
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_calls_that_move_with_their_process_widen_the_interval_further():
    """Each process a few per cent off, its rounds alike: drawing rounds alone would claim to know their mean."""
    offsets = [1.0, 1.12, 1.01, 1.10, 1.05, 1.09]
    rounds = [np.full(20, 1e6 * offset) for _ in range(50) for offset in offsets]
    figure = latency_figure(_processes(rounds, count=6), 0.5)
    assert (figure.low, figure.high) == (1.0, 1.12)


def test_the_interval_covers_the_true_percentile_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = -math.log(1 - 0.95) * 1e6
    hits = 0
    for _ in range(100):
        figure = latency_figure(_processes(rng.exponential(1e6, (20, 25))), 0.95)
        hits += figure.low <= truth / 1e6 <= figure.high
    assert hits >= 90


def test_rounds_that_met_other_work_do_not_lift_the_lower_end():
    """Half of the rounds at 1 ms and half at 2 ms: the model may well be one of 1 ms on a machine that was busy."""
    processes = _processes([[1_000_000] * 50, [2_000_000] * 50] * 35, count=7)
    assert all({int(times[0]) for times in samples.rounds_ns} == {1_000_000, 2_000_000} for samples in processes)
    figure = latency_figure(processes, 0.95)
    assert (figure.value, figure.low) == (2.0, 1.0)
    assert throughput_figure(processes).high == 1000.0


def test_no_interval_is_narrower_than_machines_repeat_themselves():
    figure = latency_figure(_processes([[1_000_000] * 500] * 12), 0.5)
    assert (figure.low, figure.value, figure.high) == (1 - MARGIN, 1.0, 1 + MARGIN)


def test_few_processes_say_nothing_about_how_processes_differ():
    few = _processes([[1_000_000] * 500] * 40, count=5)
    figure = latency_figure(few, 0.5)
    assert (figure.value, figure.low, figure.high) == (1.0, -math.inf, math.inf)
    assert throughput_figure(few).low == -math.inf


def test_throughput_is_calls_over_time():
    figure = throughput_figure(_processes([[1_000_000, 3_000_000]] * 6))
    assert (figure.value, figure.low, figure.high, figure.n) == (500.0, 490.0, 510.0, 12)


def test_starts_give_a_median_or_the_worst():
    values = [10.0, 12.0, 11.0, 30.0, 13.0, 12.0]
    median = start_figure(values, worst=False)
    worst = start_figure(values, worst=True)
    assert (median.value, median.low, median.high) == (12.0, 10.0, 30.0)
    assert (worst.value, worst.low, worst.high) == (30.0, 10.0, pytest.approx(30.0 * (1 + MARGIN)))
    assert start_figure(values[:5], worst=False).high == math.inf
