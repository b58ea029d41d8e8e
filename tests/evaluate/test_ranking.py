"""The area under the ROC curve and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgeml_evaluate import rank_scores
from edgeml_runtime.errors import InputError

RNG = np.random.default_rng(12)
TARGETS = (RNG.random(300) < 0.3).astype(int)
SCORES = TARGETS + RNG.normal(0, 1.0, 300)
GROUPS = np.array([f"g{i % 50}" for i in range(300)])


def test_the_area_is_that_of_scikit_learn():
    found = rank_scores(TARGETS, SCORES)

    assert found.roc_auc == pytest.approx(roc_auc_score(TARGETS, SCORES), abs=1e-12)
    assert found.interval.low < found.roc_auc < found.interval.high
    assert (found.n, found.interval.method, found.interval.note) == (300, "bootstrap", None)


@pytest.mark.parametrize("scores", [SCORES, np.round(SCORES), np.zeros(300)])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_the_interval_agrees_with_resampling_by_hand(scores, groups):
    """Also with equal scores, which count half."""
    rng = np.random.default_rng(5)
    members = np.arange(300) if groups is None else np.unique(groups, return_inverse=True)[1]
    rows_of = [np.flatnonzero(members == unit) for unit in range(members.max() + 1)]
    values = []
    for _ in range(400):
        rows = np.concatenate([rows_of[unit] for unit in rng.integers(0, len(rows_of), len(rows_of))])
        values.append(roc_auc_score(TARGETS[rows], scores[rows]))
    low, high = np.quantile(values, [0.025, 0.975])
    found = rank_scores(TARGETS, scores, groups).interval

    # Quantiles of 400 replicates are only so exact; with groups, the interval may be that of independent items.
    assert found.low <= low + 0.2 * (high - low)
    assert found.high >= high - 0.2 * (high - low)
    assert found.high - found.low <= 1.4 * (high - low)


def test_items_of_a_group_that_fail_together_widen_the_interval():
    groups = np.repeat([f"g{i}" for i in range(40)], 10)
    targets = np.tile([0, 1], 200)
    scores = targets * np.repeat(RNG.normal(1, 3, 40), 10) + RNG.normal(0, 1, 400)
    independent, clustered = rank_scores(targets, scores).interval, rank_scores(targets, scores, groups).interval

    assert clustered.method == "cluster-bootstrap"
    assert clustered.high - clustered.low > 1.5 * (independent.high - independent.low)


def test_few_groups_are_said_to_be_few_and_never_collapse():
    independent = rank_scores(TARGETS, SCORES).interval
    two = rank_scores(TARGETS, SCORES, np.array(["a", "b"] * 150)).interval
    one = rank_scores(TARGETS, SCORES, np.full(300, "a")).interval

    assert "2 groups only" in two.note
    assert two.low <= independent.low < independent.high <= two.high
    assert "one group only" in one.note
    assert (one.low, one.high) == (independent.low, independent.high)


@pytest.mark.parametrize(("sign", "area"), [(1, 1.0), (-1, 0.0)])
def test_separated_classes_are_said_to_be_separated(sign, area):
    found = rank_scores(np.array([0, 0, 1, 1]), sign * np.array([1.0, 2.0, 3.0, 4.0]))

    assert (found.roc_auc, found.interval.low, found.interval.high) == pytest.approx((area, area, area), abs=1e-12)
    assert "the classes are separated" in found.interval.note


def test_one_class_has_no_area():
    assert rank_scores(np.ones(5, int), np.arange(5.0)) is None


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        (TARGETS, SCORES[:-1], r"found targets \[300\] and scores \[299\]"),
        (TARGETS + 1, SCORES, "as many scores as targets of 0 and 1"),
        (TARGETS[:, None], SCORES[:, None], "expected as many scores as targets"),
        (TARGETS, np.where(SCORES > 2, np.nan, SCORES), "expected finite scores, found NaN or infinity"),
    ],
)
def test_other_arrays_are_refused(targets, scores, message):
    with pytest.raises(InputError, match=message):
        rank_scores(targets, scores)


def test_the_same_data_give_the_same_json():
    first, again = (rank_scores(TARGETS, SCORES, GROUPS).to_dict() for _ in range(2))

    assert first == again
    assert set(first) == {"roc_auc", "interval", "n"}
