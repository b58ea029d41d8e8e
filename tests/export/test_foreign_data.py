"""Items of a foreign model out of an .npz file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgeml_export.foreign.data import load_foreign_data
from edgeml_export.foreign.file import ForeignLimits
from edgeml_runtime.contract_parse import contract_to_dict, parse_contract
from edgeml_runtime.errors import ProjectError


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = load("foreign_models")
SLICED = models.contract(slices={"by": ["label", "site"], "min_items": 2}, groups={"key": "device"})
FEATURES, TARGETS = models.items(6)
GOOD = {
    "features": FEATURES,
    "targets": TARGETS,
    "site": np.array(["a", "a", "b", "b", "c", "c"]),
    "device": np.arange(6),
}


@pytest.fixture
def saved(tmp_path):
    def save(arrays, contract=SLICED, **named):
        np.savez(tmp_path / "items.npz", **arrays)
        return load_foreign_data(tmp_path / "items.npz", contract, **named)

    return save


def test_items_as_they_were_saved(saved):
    data = saved(GOOD)
    assert np.array_equal(data.test.inputs["features"], FEATURES)
    assert np.array_equal(data.test.targets, TARGETS)
    assert data.test.attributes["site"].tolist() == GOOD["site"].tolist()
    assert data.test.attributes["device"].tolist() == list("012345")
    assert (data.calibration, data.validation) == (None, None)


def test_labels_by_name(saved):
    data = saved(GOOD | {"targets": np.array(models.LABELS)[TARGETS]})
    assert np.array_equal(data.test.targets, TARGETS)


def test_training_and_validation_items(saved):
    more = {"calibration.features": FEATURES[:4]}
    more |= {f"validation.{name}": array[:3] for name, array in GOOD.items()}
    data = saved(GOOD | more)
    assert (len(data.test), len(data.calibration), len(data.validation)) == (6, 4, 3)


def without(name):
    return {key: array for key, array in GOOD.items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "expected arrays features and targets, found none"),
        (without("features"), "of which features are missing"),
        (without("targets"), "of which targets are missing"),
        (without("site"), "of which site are missing"),
        (without("device"), "of which device are missing"),
        (GOOD | {"featurse": FEATURES}, "found featurse; rename or leave out"),
        (GOOD | {"calibration.targets": TARGETS}, r"expected the arrays calibration\.features"),
        (
            GOOD | {"features": FEATURES.astype(np.float64)},
            r"features: expected float32\[n, 8\], found float64\[6, 8\]",
        ),
        (GOOD | {"features": FEATURES[:, :7]}, r"found float32\[6, 7\]"),
        (GOOD | {"features": FEATURES[:4]}, "4 items"),
        (GOOD | {"features": FEATURES + 10}, "features"),
        (GOOD | {"features": np.full_like(FEATURES, np.nan)}, "features"),
        ({name: array[:0] for name, array in GOOD.items()}, "at least one item"),
        (GOOD | {"targets": TARGETS.astype(float)}, "labels, or their positions as integers, found float64"),
        (GOOD | {"targets": TARGETS + 1}, "positions of the 3 labels, 0 to 2, found 3"),
        (GOOD | {"targets": TARGETS[:, None]}, r"targets: expected the shape \[n\], found \[6, 1\]"),
        (
            GOOD | {"targets": np.array(["low"] * 5 + ["hihg"])},
            r"labels of the contract \(low, middle, high\), found 'hihg'",
        ),
        (GOOD | {"site": np.array(["a", 1, None, "b", "c", "d"], object)}, "without unpickling"),
    ],
)
def test_what_does_not_fit_is_said(saved, arrays, says):
    with pytest.raises(ProjectError, match=says):
        saved(arrays)


def test_no_file_of_items(tmp_path):
    path = tmp_path / "items.npz"
    with pytest.raises(ProjectError, match=r"items\.npz: cannot be read: No such file"):
        load_foreign_data(path, SLICED)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ProjectError, match=r"write one with numpy\.savez"):
        load_foreign_data(path, SLICED)
    np.save(path.with_suffix(".npy"), FEATURES)
    with pytest.raises(ProjectError, match=r"write one with numpy\.savez"):
        load_foreign_data(path.with_suffix(".npy"), SLICED)


def test_a_small_file_that_unpacks_to_a_large_one(tmp_path):
    np.savez_compressed(tmp_path / "items.npz", features=np.zeros((10_000, 8), np.float32))
    assert (tmp_path / "items.npz").stat().st_size < 10_000
    with pytest.raises(ProjectError, match="at most 100000 bytes unpacked, found 320128"):
        load_foreign_data(tmp_path / "items.npz", SLICED, ForeignLimits(max_unpacked_bytes=100_000))


def test_values_of_a_regression(saved):
    table = contract_to_dict(models.contract())
    table |= {
        "outputs": [{"name": "level", "role": "value", "shape": [1], "unit": "m"}],
        "target": {"name": "level", "kind": "regression"},
        "metric": {"primary": "mae", "floor": 1.0},
        "slices": {"by": []},
    }
    contract = parse_contract(table, source="test")
    data = saved({"features": FEATURES, "targets": TARGETS}, contract)
    assert data.test.targets.dtype == np.float64
    with pytest.raises(ProjectError, match="expected finite numbers"):
        saved({"features": FEATURES, "targets": np.full(6, np.inf)}, contract)
