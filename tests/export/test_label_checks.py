"""Splits that do not fit the contract are refused before anything is converted, and nothing is half-written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_export import ExportOptions
from edgeml_export.label_checks import check_items
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ProjectError


def with_targets(targets):
    return lambda items: replace(items, targets=targets(items.targets))


def with_target(item, target):
    return with_targets(lambda targets: np.where(np.arange(len(targets)) == item, target, targets))


def with_waveforms(change):
    return lambda items: replace(items, inputs={"waveform": change(items.inputs["waveform"])})


BAD = {
    "no items": (lambda items: items.take(slice(0, 0)), "expected at least one {split} item"),
    "another input": (
        lambda items: replace(items, inputs={"sound": items.inputs["waveform"]}),
        r"{split} items have no input 'waveform', only \['sound'\]",
    ),
    "another dtype": (
        with_waveforms(lambda waveforms: waveforms.astype(np.float32)),
        r"{split} input 'waveform': expected int16\[256\] per item, found float32\[256\]",
    ),
    "another shape": (with_waveforms(lambda waveforms: waveforms[:, :255]), r"found int16\[255\]"),
    "a target beyond the labels": (
        with_target(3, 4),
        "{split} item 3: expected a target from 0 to 3, one of the 4 labels of 'scores', found 4",
    ),
    "a negative target": (with_target(7, -1), "{split} item 7: .*found -1"),
    "targets that are no positions": (
        with_targets(lambda targets: targets + 0.5),
        "integers from 0 to 3, found float64",
    ),
    "targets that are names": (
        with_targets(lambda targets: np.array([f"tone-{target}" for target in targets])),
        "integers from 0 to 3, found str",
    ),
    "an attribute to slice by is missing": (
        lambda items: replace(items, attributes={}),
        "the attribute 'side' .*but the items have only: none",
    ),
}


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_bad_split_is_refused(run_export, items, occupied, split, spoil, message):
    splits = {"test": items.test, "validation": items.test} | {split: spoil(items.test)}
    with pytest.raises(ProjectError, match=message.format(split=split)):
        run_export(occupied.path, options=ExportOptions(search=True), **splits)
    occupied.assert_untouched()


def test_validation_is_not_looked_at_where_nothing_is_searched(run_export, make_contract, items, tmp_path, no_emulator):
    contract = make_contract(variants=["onnx-fp32"], required=[])
    nothing = items.test.take(slice(0, 0))
    assert run_export(tmp_path / "tiny.edgeml", contract=contract, validation=nothing).ok


CALIBRATION = {
    "no items": (lambda items: items.take(slice(0, 0)), "at least one calibration item of the training split"),
    "equal ones": (lambda items: items.take(np.zeros(9, int)), "expected items that differ, found 9 equal ones"),
    "another dtype": (
        with_waveforms(lambda waveforms: waveforms.astype(np.float32)),
        r"calibration input 'waveform': expected int16\[256\] per item, found float32\[256\]",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), CALIBRATION.values(), ids=CALIBRATION)
def test_bad_calibration_is_refused(run_export, items, occupied, spoil, message):
    with pytest.raises(ProjectError, match=message):
        run_export(occupied.path, calibration=spoil(items.train))
    occupied.assert_untouched()


@pytest.mark.parametrize("split", ["calibration", "test"])
def test_items_out_of_the_contracts_range_are_refused(run_export, make_contract, tiny, items, occupied, split):
    """A device would refuse them, so nothing can be learned from them, and nothing be promised."""
    data = tiny.contract_data()
    data["inputs"][0]["range"] = [-1000, 1000]
    quiet = {
        name: replace(part, inputs={"waveform": part.inputs["waveform"] // 64}) for name, part in vars(items).items()
    }
    splits = {"calibration": quiet["train"], "test": quiet["test"]} | {split: items.test}
    with pytest.raises(ProjectError, match=rf"{split} items: input 'waveform'.*1000"):
        run_export(occupied.path, contract=parse_contract(data, source="test"), golden_files={}, **splits)
    occupied.assert_untouched()


REGRESSION = {
    "model": {"name": "level", "version": "1.0.0"},
    "inputs": [{"name": "x", "dtype": "float32", "shape": [2], "range": [0, 1], "unit": "V", "source": "probe"}],
    "outputs": [{"name": "level", "role": "value", "shape": [1], "unit": "m"}],
    "target": {"name": "level", "kind": "regression"},
    "metric": {"primary": "rmse", "floor": 1.0},
}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.array([0.5, np.nan, 1.0]), "test item 1: expected a finite target, found nan"),
        (np.array([0.5, 1.0, np.inf]), "test item 2: expected a finite target, found inf"),
        (np.array(["a", "b", "c"]), "expected targets to be numbers, found str"),
        (np.array([1, 2, 3]), None),
        (np.array([1.5, 2, 3], np.float32), None),
    ],
)
def test_targets_of_a_regression_are_finite_numbers(targets, message):
    items = LabelledData(inputs={"x": np.zeros((3, 2), np.float32)}, targets=targets)
    contract = parse_contract(REGRESSION, source="test")
    if message is None:
        check_items(contract, items, "test")
        return
    with pytest.raises(ProjectError, match=message):
        check_items(contract, items, "test")


def test_the_key_of_groups_is_an_attribute_too(tiny, items):
    data = tiny.contract_data() | {"groups": {"key": "speaker"}}
    with pytest.raises(ProjectError, match=r"the attribute 'speaker'.*only: side"):
        check_items(parse_contract(data, source="test"), items.test, "test")
