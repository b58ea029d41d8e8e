"""Intervals of percentiles: known tables, coverage, and what happens with too few samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeml_devices.intervals import (
    calls_needed,
    latency_figure,
    order_statistic_interval,
    start_figure,
    throughput_figure,
)
from edgeml_runtime.measure import Samples

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


def _samples(rounds):
    return Samples(rounds_ns=tuple(np.array(times, dtype=np.int64) for times in rounds), warmup_calls=0, steady=True)


def test_calls_that_move_with_their_round_widen_the_interval():
    """With moods of whole rounds, the interval of independent calls would claim far too much."""
    rng = np.random.default_rng(1)
    moods = rng.uniform(1e6, 2e6, 20)
    together = latency_figure(_samples([np.full(100, mood) for mood in moods]), 0.5)
    mixed = rng.permutation(np.repeat(moods, 100)).reshape(20, 100)
    apart = latency_figure(_samples(mixed), 0.5)
    assert together.value == apart.value
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_the_interval_covers_the_true_percentile_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth = -math.log(1 - 0.95) * 1e6
    hits = 0
    for _ in range(100):
        figure = latency_figure(_samples(rng.exponential(1e6, (20, 25))), 0.95)
        hits += figure.low <= truth / 1e6 <= figure.high
    assert hits >= 90


def test_few_rounds_say_nothing_about_how_rounds_differ():
    figure = latency_figure(_samples([[1_000_000] * 500] * 4), 0.5)
    assert (figure.value, figure.low, figure.high) == (1.0, -math.inf, math.inf)
    assert throughput_figure(_samples([[1_000_000] * 500] * 4)).low == -math.inf


def test_throughput_is_calls_over_time():
    figure = throughput_figure(_samples([[1_000_000, 3_000_000]] * 6))
    assert (figure.value, figure.low, figure.high, figure.n) == (500.0, 500.0, 500.0, 12)


def test_starts_give_a_median_or_the_worst():
    values = [10.0, 12.0, 11.0, 30.0, 13.0, 12.0]
    median = start_figure(values, worst=False)
    worst = start_figure(values, worst=True)
    assert (median.value, median.low, median.high) == (12.0, 10.0, 30.0)
    assert (worst.value, worst.low, worst.high) == (30.0, 10.0, 30.0)
    assert start_figure(values[:5], worst=False).high == math.inf
