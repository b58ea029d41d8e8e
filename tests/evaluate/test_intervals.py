from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from edgeml_evaluate import Interval, compute_metric, difference_interval, metric_interval, wilson_interval
from edgeml_evaluate.areas import AREAS
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


@pytest.mark.parametrize("name", [name for name in MetricName if name not in AREAS])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_the_metric_of_all_sums_is_the_metric(name, groups):
    sums = _group_sums(name, TARGETS, PREDICTIONS, groups).sum(axis=0, keepdims=True)

    assert _metric_of_sums(name, sums)[0] == pytest.approx(compute_metric(name, TARGETS, PREDICTIONS), abs=1e-12)


@pytest.mark.parametrize("name", list(MetricName))
def test_bootstrap_agrees_with_resampling_by_hand(name):
    rng, targets = np.random.default_rng(1), TARGETS if name not in AREAS else (TARGETS > 0).astype(int)
    values = []
    for _ in range(400):
        rows = rng.integers(0, 200, 200)
        values.append(compute_metric(name, targets[rows], PREDICTIONS[rows]))
    expected = np.quantile(values, [0.025, 0.975])
    found = bootstrap_interval(name, targets, PREDICTIONS)

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


OTHERS = np.where(np.random.default_rng(8).random(200) < 0.6, TARGETS, (TARGETS + 1) % 4)


def test_agresti_and_min_add_half_an_item_to_each_cell():
    """Mean and variance of +1, -1 and 0 over 14 + 4 · ½ pairs, 7.5 of them gained and 2.5 lost."""
    reference = np.array([1] * 7 + [0] * 2 + [0] * 5)
    candidate = np.array([0] * 7 + [1] * 2 + [0] * 5)
    found = difference_interval(MetricName.ACCURACY, np.zeros(14, int), reference, candidate)
    changes = np.repeat([1.0, -1.0, 0.0], [15, 5, 12])  # twice as many, to have no halves
    half = 1.959963984540054 * np.sqrt(changes.var() / 16)

    assert found.method == "agresti-min"
    assert (found.low, found.high) == pytest.approx((changes.mean() - half, changes.mean() + half), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0.05, 0.05), (0.2, 0.05), (0.02, 0.0), (0.3, 0.3)])
def test_agresti_and_min_cover_the_true_difference_with_few_items(gained, lost):
    rng, n, covered = np.random.default_rng(3), 40, 0
    for _ in range(1000):
        change = rng.choice([1, -1, 0], n, p=[gained, lost, 1 - gained - lost])
        interval = difference_interval(
            MetricName.ACCURACY, np.zeros(n, int), (change == 1).astype(int), (change == -1).astype(int)
        )
        covered += interval.low <= gained - lost <= interval.high
    assert covered > 930


@pytest.mark.parametrize("name", [MetricName.BALANCED_ACCURACY, MetricName.MACRO_F1, MetricName.MAE, MetricName.RMSE])
def test_the_bootstrap_of_a_difference_agrees_with_resampling_by_hand(name):
    rng = np.random.default_rng(1)
    sign = 1 if name.higher_is_better else -1
    values = []
    for _ in range(400):
        rows = rng.integers(0, 200, 200)
        before, after = (compute_metric(name, TARGETS[rows], made[rows]) for made in (OTHERS, PREDICTIONS))
        values.append(sign * (after - before))
    expected = np.quantile(values, [0.025, 0.975])
    found = difference_interval(name, TARGETS, OTHERS, PREDICTIONS)

    assert found.method == "bootstrap"
    # As above: the quantiles of 400 replicates are only so exact.
    assert [found.low, found.high] == pytest.approx(expected.tolist(), abs=0.2 * (expected[1] - expected[0]))


@pytest.mark.parametrize("name", [MetricName.ACCURACY, MetricName.MACRO_F1, MetricName.MAE])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_a_difference_turns_its_sign_with_the_models(name, groups):
    forth = difference_interval(name, TARGETS, OTHERS, PREDICTIONS, groups)
    back = difference_interval(name, TARGETS, PREDICTIONS, OTHERS, groups)

    # Other replicates, because the rows of sums are drawn in another order.
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=0.1 * (forth.high - forth.low))


def test_two_models_that_decide_alike_differ_by_nothing_known():
    found = difference_interval(MetricName.ACCURACY, TARGETS, PREDICTIONS, PREDICTIONS)

    assert found.low == pytest.approx(-found.high)
    assert 0.005 < found.high < 0.02


def test_groups_widen_a_difference_and_never_collapse_it():
    gained = np.repeat(np.random.default_rng(2).random(40) < 0.3, 10)
    groups = np.repeat([f"g{i}" for i in range(40)], 10)
    arguments = MetricName.ACCURACY, np.ones(400, int), np.zeros(400, int), gained.astype(int)
    independent, clustered = difference_interval(*arguments), difference_interval(*arguments, groups)
    one = difference_interval(*arguments, np.full(400, "a"))
    two = difference_interval(*arguments, np.array(["a", "b"] * 200))

    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)
    assert clustered.method == "cluster-bootstrap"
    assert (one.low, one.high) == (independent.low, independent.high)
    assert "one group only" in one.note
    assert "2 groups only" in two.note
    assert two.low <= independent.low
    assert two.high >= independent.high
