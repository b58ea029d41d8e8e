"""Calibration items that say nothing, or that no device would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_export.calibration_checks import check_calibration
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ProjectError

CONTRACT = {
    "model": {"name": "two", "version": "1.0.0"},
    "inputs": [
        {"name": "image", "dtype": "uint8", "shape": [2, 2, 1], "range": [0, 200], "unit": "1", "source": "camera"},
        {"name": "state", "dtype": "float32", "shape": [3], "range": [-1, 1], "unit": "bar", "source": "sensor"},
    ],
    "outputs": [{"name": "scores", "role": "scores", "shape": [2], "labels": ["a", "b"]}],
    "target": {"name": "x", "kind": "classification"},
    "metric": {"primary": "accuracy", "floor": 0.5},
}


def contract(*, allow_missing=False):
    tables = {**CONTRACT, "inputs": [CONTRACT["inputs"][0], {**CONTRACT["inputs"][1], "allow_missing": allow_missing}]}
    return parse_contract(tables, source="test")


def items(n=8, **changes):
    rng = np.random.default_rng(0)
    inputs = {
        "image": rng.integers(0, 201, (n, 2, 2, 1), dtype=np.uint8),
        "state": rng.uniform(-1, 1, (n, 3)).astype(np.float32),
    }
    return LabelledData(inputs=inputs | changes, targets=np.zeros(n, np.int64))


def state(value, *, item=5):
    array = items().inputs["state"].copy()
    array[item, 1] = value
    return array


GOOD = {
    "many items": items(),
    "one item": items(1),
    "the ends of the range": items(state=state(-1.0)),
    "one item that differs": items(state=state(1) * np.float32([0, 1, 0]) * (np.arange(8) == 5)[:, None]),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_items_pass(name):
    check_calibration(contract(), GOOD[name])


def test_missing_values_pass_where_the_contract_allows_them():
    check_calibration(contract(allow_missing=True), items(state=state(np.nan)))


def test_one_number_of_one_item_cannot_vary():
    single = parse_contract({**CONTRACT, "inputs": [{**CONTRACT["inputs"][1], "shape": [1]}]}, source="test")
    one = LabelledData(inputs={"state": np.zeros((1, 1), np.float32)}, targets=np.zeros(1, np.int64))
    check_calibration(single, one)


BAD = {
    "none": (items().take(slice(0, 0)), "expected at least one calibration item"),
    "an input is missing": (
        replace(items(), inputs={"image": items().inputs["image"]}),
        r"no input 'state', only \['image'\]",
    ),
    "another dtype": (items(state=state(0).astype(np.float64)), r"'state': expected float32\[3\].*found float64\[3\]"),
    "another shape": (items(state=np.zeros((8, 2), np.float32)), r"'state': expected float32\[3\].*found float32\[2\]"),
    "outside the range": (
        items(state=state(7.5)),
        r"'state': expected values from -1 to 1 bar, found 7\.5 at index \[5, 1\].*first index is the item",
    ),
    "outside the range of integers": (
        items(image=np.full((8, 2, 2, 1), 201, np.uint8)),
        r"'image': expected values from 0 to 200 1, found 201 at index \[0, 0, 0, 0\] and 31 more",
    ),
    "NaN": (items(state=state(np.nan)), r"'state': expected finite values, found nan at index \[5, 1\]"),
    "infinite": (items(state=state(-np.inf)), "'state': expected finite values, found -inf"),
    "all items equal": (
        items(image=np.repeat(items().inputs["image"][:1], 8, axis=0)),
        "'image': expected items that differ, found 8 equal ones",
    ),
    "one item without content": (
        items(1, image=np.full((1, 2, 2, 1), 7, np.uint8)),
        "values that differ, found 7 only",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_bad_items_are_refused(data, message):
    with pytest.raises(ProjectError, match=message):
        check_calibration(contract(), data)


def test_items_that_are_all_missing_are_all_the_same():
    with pytest.raises(ProjectError, match="'state': expected items that differ"):
        check_calibration(contract(allow_missing=True), items(state=np.full((8, 3), np.nan, np.float32)))


def test_infinite_is_not_missing():
    with pytest.raises(ProjectError, match="found inf"):
        check_calibration(contract(allow_missing=True), items(state=state(np.inf)))
