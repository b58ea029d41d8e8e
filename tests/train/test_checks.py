from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_runtime.errors import ProjectError
from edgeml_train.checks import check_splits, data_sha256


def changed(splits, part="train", **fields):
    return replace(splits, **{part: replace(getattr(splits, part), **fields)})


def with_x(splits, array):
    n = len(splits.train)
    return changed(splits, inputs={"x": np.resize(array, (n, *array.shape[1:])) if len(array) != n else array})


CASES = [
    (lambda s: replace(s, test=s.test.take(slice(1))), "at least 2 items in test, found 1"),
    (lambda s: changed(s, inputs={"y": s.train.inputs["x"]}), r"inputs \['x'\] in train, found \['y'\]"),
    (lambda s: with_x(s, s.train.inputs["x"].astype(np.float64)), r"float32\[n, 6\].*found float64\[150, 6\]"),
    (lambda s: with_x(s, s.train.inputs["x"][:, :5]), r"found float32\[150, 5\]"),
    (lambda s: with_x(s, np.full((150, 6), 101, np.float32)), r"within \[-100.*found \[101.0, 101.0\] in train"),
    (lambda s: with_x(s, np.full((150, 6), np.nan, np.float32)), "found .nan, nan."),
    (lambda s: changed(s, targets=s.train.targets + 1), "targets from 0 to 2 in train.*found 1 to 3"),
    (
        lambda s: changed(s, targets=s.train.targets * 1.0),
        "class indices .integers. as targets in train, found float64",
    ),
    (
        lambda s: changed(s, targets=np.minimum(s.train.targets, 1)),
        r"training items of every label .*, found none of 1 of 3: c \([0-9]+ in validation, [0-9]+ in test\)",
    ),
    (lambda s: changed(s, "test", attributes={}), "attribute 'machine'"),
    (
        lambda s: changed(s, "test", attributes={"machine": np.array(["A"] * 60)}),
        "no machine in two splits .*, found A in train and in test",
    ),
]


@pytest.mark.parametrize(("change", "words"), CASES)
def test_splits_that_do_not_fit_the_contract(project, change, words):
    splits = change(project.task.splits())
    with pytest.raises(ProjectError, match=words):
        check_splits(project.contract, splits)


def test_good_splits_pass(project):
    check_splits(project.contract, project.task.splits())


def test_shared_groups_pass_where_the_task_says_so(project):
    splits = changed(project.task.splits(), "test", attributes={"machine": np.array(["A"] * 60)})

    check_splits(project.contract, replace(splits, shared_groups=True))


def test_missing_values_pass_where_the_contract_allows_them(project):
    splits = project.task.splits()
    array = splits.train.inputs["x"].copy()
    array[0, 0] = np.nan
    contract = replace(project.contract, inputs=(replace(project.contract.inputs[0], allow_missing=True),))

    check_splits(contract, with_x(splits, array))


def test_regression_targets_must_be_finite(project):
    from edgeml_runtime.contract import MetricName, MetricSpec, SliceRules, TargetKind, TargetSpec

    contract = replace(
        project.contract,
        target=TargetSpec(name="y", kind=TargetKind.REGRESSION),
        metric=MetricSpec(primary=MetricName.MAE, floor=1),
        slices=SliceRules(),
    )
    splits = changed(project.task.splits(), targets=np.full(150, np.inf))
    with pytest.raises(ProjectError, match="finite targets in train"):
        check_splits(contract, splits)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: changed(s, targets=(s.train.targets + 1) % 3),
        lambda s: with_x(s, s.train.inputs["x"] + np.float32(1e-3)),
        lambda s: changed(s, attributes={"machine": s.train.attributes["machine"][::-1]}),
        lambda s: replace(s, train=s.validation, validation=s.train),
        lambda s: replace(s, train=s.train.take(slice(0, 149))),
    ],
)
def test_the_digest_changes_with_the_data(project, change):
    splits = project.task.splits()

    assert data_sha256(splits) == data_sha256(project.task.splits())
    assert data_sha256(change(splits)) != data_sha256(splits)


def test_the_digest_does_not_depend_on_memory_layout(project):
    splits = project.task.splits()
    transposed = np.asfortranarray(splits.train.inputs["x"])

    assert data_sha256(with_x(splits, transposed)) == data_sha256(splits)
    assert isinstance(splits.train, LabelledData)
