"""Areas under the ROC curve against scikit-learn, and their bootstrap against theory."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgeml_evaluate import metric_interval
from edgeml_evaluate.areas import MAX_FALSE_ALARM_SHARE, area_replicates, roc_area
from edgeml_evaluate.intervals import difference_interval
from edgeml_runtime.contract import MetricName
from edgeml_runtime.errors import InputError

RNG = np.random.default_rng(5)
WHOLE, PARTIAL = MetricName.ROC_AUC, MetricName.PARTIAL_AUC


def items(n, share, *, digits):
    targets = (RNG.random(n) < share).astype(np.int64)
    targets[:2] = 0, 1
    return targets, np.round(RNG.normal(size=n) + targets, digits)


@pytest.mark.parametrize("digits", [0, 1, 9], ids=["many ties", "some ties", "no ties"])
@pytest.mark.parametrize(("n", "share"), [(2, 0.5), (3, 0.5), (40, 0.1), (2000, 0.5), (2000, 0.98)])
def test_the_areas_are_those_of_scikit_learn(n, share, digits):
    targets, scores = items(n, share, digits=digits)
    assert roc_area(WHOLE, targets, scores) == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    expected = roc_auc_score(targets, scores, max_fpr=MAX_FALSE_ALARM_SHARE)
    assert roc_area(PARTIAL, targets, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [WHOLE, PARTIAL])
def test_chance_is_a_half_and_separation_is_one(name):
    targets = np.array([0, 1] * 50)
    assert roc_area(name, targets, np.zeros(100)) == pytest.approx(0.5)
    assert roc_area(name, targets, targets.astype(float)) == pytest.approx(1.0)


def test_each_replicate_is_the_area_over_the_drawn_items():
    targets, scores = items(30, 0.4, digits=1)
    found = area_replicates(WHOLE, targets, scores, replicates=100)
    draws = np.random.default_rng(19_820_401).multinomial(30, np.full(30, 1 / 30), size=100)
    for area, counts in zip(found, draws, strict=True):
        drawn = np.repeat(np.arange(30), counts)
        assert area == pytest.approx(roc_auc_score(targets[drawn], scores[drawn]), abs=1e-12)


def test_a_draw_without_one_kind_of_item_counts_as_nothing():
    targets, scores = np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    assert np.isnan(area_replicates(WHOLE, targets, scores)).any()
    assert metric_interval(WHOLE, targets, scores).high == 1.0


def test_whole_groups_are_drawn():
    """Twenty copies of every item say no more than one: the interval stays as wide as over the single items."""
    targets, scores = items(60, 0.5, digits=6)
    single = metric_interval(WHOLE, targets, scores)
    copied = [np.repeat(values, 20) for values in (targets, scores, np.arange(60).astype(str))]
    as_if_independent, grouped = metric_interval(WHOLE, *copied[:2]), metric_interval(WHOLE, *copied)
    assert grouped.high - grouped.low == pytest.approx(single.high - single.low, rel=0.1)
    assert as_if_independent.high - as_if_independent.low < 0.5 * (grouped.high - grouped.low)


def test_two_models_are_compared_draw_by_draw():
    targets, scores = items(400, 0.3, digits=9)
    same = difference_interval(WHOLE, targets, scores, scores)
    assert (same.low, same.high) == (0.0, 0.0)
    worse = difference_interval(WHOLE, targets, scores, scores + RNG.normal(size=400))
    assert worse.high < 0 < worse.high - worse.low < 0.2


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([0, 0], [1.0, 2.0], "no unusual one among 2"),
        ([1, 1], [1.0, 2.0], "only unusual ones among 2"),
        ([0, 2], [1.0, 2.0], "targets of 0 and 1"),
        ([0, 1], [1.0], "as many scores"),
        ([0, 1], [1.0, np.nan], "finite"),
    ],
)
def test_what_has_no_area_is_refused(targets, scores, message):
    with pytest.raises(InputError, match=message):
        roc_area(WHOLE, np.array(targets), np.array(scores))
