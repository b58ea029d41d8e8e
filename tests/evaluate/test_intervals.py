from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from edgeml_evaluate import Interval, compute_metric, metric_interval, wilson_interval
from edgeml_evaluate.intervals import _group_sums, _metric_of_sums, bootstrap_interval
from edgeml_runtime.contract import MetricName
from edgeml_runtime.errors import InputError

RNG = np.random.default_rng(7)
TARGETS = RNG.integers(0, 4, 200)
PREDICTIONS = np.where(RNG.random(200) < 0.8, TARGETS, RNG.integers(0, 4, 200))
GROUPS = np.array([f"g{i % 40}" for i in range(200)])


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 1), (450, 500), (3, 300)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_agrees_with_scipy(k, n, level):
    ours = wilson_interval(k, n, level=level)
    theirs = binomtest(k, n).proportion_ci(level, method="wilson")

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(k, n):
    with pytest.raises(InputError, match="found"):
        wilson_interval(k, n)


@pytest.mark.parametrize("name", list(MetricName))
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_the_metric_of_all_sums_is_the_metric(name, groups):
    sums = _group_sums(name, TARGETS, PREDICTIONS, groups).sum(axis=0, keepdims=True)

    assert _metric_of_sums(name, sums)[0] == pytest.approx(compute_metric(name, TARGETS, PREDICTIONS), abs=1e-12)


@pytest.mark.parametrize("name", list(MetricName))
def test_bootstrap_agrees_with_resampling_by_hand(name):
    rng = np.random.default_rng(1)
    values = []
    for _ in range(400):
        rows = rng.integers(0, 200, 200)
        values.append(compute_metric(name, TARGETS[rows], PREDICTIONS[rows]))
    expected = np.quantile(values, [0.025, 0.975])
    found = bootstrap_interval(name, TARGETS, PREDICTIONS)

    # The 2.5 % quantile of 400 replicates has a standard error of about a fourteenth of the width.
    assert [found.low, found.high] == pytest.approx(expected.tolist(), abs=0.2 * (expected[1] - expected[0]))


def test_items_of_a_group_that_fail_together_widen_the_interval():
    targets = np.zeros(400, int)
    predictions = np.repeat(RNG.random(40) < 0.2, 10).astype(int)
    groups = np.repeat([f"g{i}" for i in range(40)], 10)

    independent = metric_interval(MetricName.ACCURACY, targets, predictions)
    clustered = metric_interval(MetricName.ACCURACY, targets, predictions, groups)

    assert clustered.method == "cluster-bootstrap"
    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)
    assert clustered.note is None


def test_groups_that_happen_to_agree_do_not_collapse_the_interval():
    targets, groups = np.zeros(20, int), np.array(["a", "b"] * 10)

    interval = metric_interval(MetricName.ACCURACY, targets, targets, groups)

    assert (interval.low, interval.high) == (wilson_interval(20, 20).low, 1.0)


def test_few_groups_are_said_to_be_few():
    groups = np.array(["a", "b"] * 100)

    assert "2 groups only" in metric_interval(MetricName.ACCURACY, TARGETS, PREDICTIONS, groups).note
    one = metric_interval(MetricName.ACCURACY, TARGETS, PREDICTIONS, np.array(["a"] * 200))
    assert one.method == "wilson"
    assert "one group only" in one.note


def test_method_without_groups():
    assert metric_interval(MetricName.ACCURACY, TARGETS, PREDICTIONS).method == "wilson"
    assert metric_interval(MetricName.MACRO_F1, TARGETS, PREDICTIONS).method == "bootstrap"


def test_the_same_data_give_the_same_interval():
    first = metric_interval(MetricName.MACRO_F1, TARGETS, PREDICTIONS, GROUPS)

    assert first == metric_interval(MetricName.MACRO_F1, TARGETS, PREDICTIONS, GROUPS)
    assert first.low < compute_metric(MetricName.MACRO_F1, TARGETS, PREDICTIONS) < first.high


def test_dict_round_trip():
    interval = metric_interval(MetricName.ACCURACY, TARGETS, PREDICTIONS, np.array(["a", "b"] * 100))

    assert Interval.from_dict(interval.to_dict()) == interval
    assert "note" not in metric_interval(MetricName.ACCURACY, TARGETS, PREDICTIONS).to_dict()
