"""Which rows of a table train, validate and test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.table_split import split_rows

PATH = Path("t.csv")
RNG = np.random.default_rng(4)


def parts_of(rows, targets=None, **settings):
    parts, name = split_rows(targets, rows, path=PATH, **settings)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert all(np.all(np.diff(part) > 0) for part in parts)
    return parts, name


def test_classes_keep_their_shares():
    targets = np.repeat([0, 1], [300, 100])
    parts, name = parts_of(400, targets)

    assert [np.bincount(targets[part]).tolist() for part in parts] == [[180, 60], [45, 15], [75, 25]]
    assert name == "random, stratified by class"


def test_values_are_split_at_random():
    parts, name = parts_of(200)

    assert [len(part) for part in parts] == [120, 30, 50]
    assert name == "random"
    assert not np.array_equal(parts[0], parts_of(200, seed=1)[0][0])


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_the_smallest_class_that_is_accepted_is_in_training_and_test(count):
    targets = np.repeat([0, 1], [50, count])
    train, _, test = parts_of(50 + count, targets)[0]

    assert np.sum(targets[train] == 1) >= 1
    assert np.sum(targets[test] == 1) >= 1


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_are_drawn(seed):
    groups = RNG.choice([f"m{i}" for i in range(30)], 600)
    parts, name = parts_of(600, groups=groups, group_name="machine", seed=seed)
    members = [set(groups[part]) for part in parts]

    assert not members[0] & members[1]
    assert not members[0] & members[2]
    assert not members[1] & members[2]
    # A group holds about 20 of 600 rows, so that no cut is further off than that.
    assert [len(part) / 600 for part in parts] == pytest.approx([0.6, 0.15, 0.25], abs=0.05)
    assert name == "by machine, whole groups at random"


def test_the_newest_rows_are_the_test_and_rows_of_one_time_stay_together():
    times = RNG.permutation(np.repeat(np.arange(100.0), 3))
    (train, validation, test), name = parts_of(300, times=times)

    assert times[train].max() < times[validation].min()
    assert times[validation].max() < times[test].min()
    assert [len(train), len(validation), len(test)] == [180, 45, 75]
    assert name == "by time: the newest quarter is the test"


def test_one_large_group_leaves_a_part_for_each_split():
    groups = np.array(["big"] * 97 + ["a", "b", "c"])
    parts, _ = parts_of(100, groups=groups, group_name="machine")

    assert all(len(part) for part in parts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": np.array(["a", "b"] * 10), "group_name": "machine"}, "at least 3 values of 'machine' .*found 2"),
        ({"times": np.zeros(20)}, "at least 3 different times for three splits, found 1"),
    ],
)
def test_too_few_to_cut(settings, message):
    with pytest.raises(ProjectError, match=message):
        split_rows(None, 20, path=PATH, **settings)
