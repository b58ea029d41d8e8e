"""A table with text, numbers and gaps, from a CSV file to predictions, by the real command."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeml_runtime import Bundle, Model
from edgeml_train.project import Project

if TYPE_CHECKING:
    from types import ModuleType

# Half a minute; tests/train/test_table_training.py has the parts of it.
pytestmark = pytest.mark.long

VARIANTS = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"}


def load() -> ModuleType:
    path = Path(__file__).parents[1] / "train" / "mixed_table.py"
    spec = importlib.util.spec_from_file_location("mixed_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mixed = load()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """What the way left behind."""

    folder: Path
    trained: dict[str, Any]
    said: str
    exported: dict[str, Any]

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return Path(self.exported["bundle"])


@pytest.fixture(scope="module")
def wear(tmp_path_factory: pytest.TempPathFactory, edgeml: Any) -> Wear:
    folder = tmp_path_factory.mktemp("wear")
    mixed.write_csv(folder / "machines.csv", mixed.mixed_rows(law=mixed.Law.ADDITIVE))
    made = edgeml("init", "wear", "--template", "sensor-table", "--data", "machines.csv", cwd=folder)
    assert made.code == 0, made.stderr
    (folder / "wear" / "edgeml.toml").write_text(mixed.mixed_contract("../machines.csv"), encoding="utf-8")
    trained = edgeml("train", "wear", "--set", "train.epochs=5", cwd=folder)
    assert trained.code == 0, trained.stderr
    exported = edgeml("export", "wear", "--json", cwd=folder)
    assert exported.code == 0, exported.stderr
    (run,) = (folder / "wear" / ".edgeml" / "artifacts").rglob("run.json")
    return Wear(
        folder=folder,
        trained=json.loads(run.read_text(encoding="utf-8"))["report"],
        said=" ".join(trained.stdout.split()),
        exported=exported.json(),
    )


def test_the_verdict_is_said(wear: Wear) -> None:
    assert wear.trained["choice"]["kept"] == "linear model"
    assert "The network does not beat the linear model beyond noise, the linear model is kept:" in wear.said
    assert "Gradient boosting, which has no graph to export, does not beat the model beyond noise:" in wear.said
    assert "ROC AUC 0.9" in wear.said
    assert [baseline["name"] for baseline in wear.trained["baselines"]][1:] == ["linear model", "gradient boosting"]


def test_every_variant_keeps_the_promise(wear: Wear) -> None:
    assert {variant["id"] for variant in wear.exported["variants"]} == VARIANTS
    for variant in wear.exported["variants"]:
        assert variant["shipped"], variant
        # What the contract allows: half a point of 226 items, or two of them.
        assert variant["paired_loss"]["items"] <= 2, variant


def test_what_was_evaluated_is_what_runs(wear: Wear) -> None:
    """Missing numbers and unknown categories among the test items included."""
    test = Project.open(wear.folder / "wear").task.splits().test
    assert np.isnan(test.inputs["numbers"]).any()
    assert (test.inputs["categories"] == -1).any()
    for variant in wear.exported["variants"]:
        with Model.load(wear.bundle, variant=variant["id"]) as model:
            results = model.predict_batch(test.inputs)
            assert model.self_test().passed
        right = [mixed.LABELS.index(str(r.label)) == target for r, target in zip(results, test.targets, strict=True)]
        assert np.mean(right) == pytest.approx(variant["metric"]["value"], abs=1e-12), variant["id"]


def test_the_bundle_says_which_column_and_which_index_is_what(wear: Wear) -> None:
    with Bundle.open(wear.bundle) as bundle:
        units = [spec.unit for spec in bundle.manifest.inputs]
        card = bundle.read("card.md").decode()
    assert units[1] == mixed.UNIT
    assert "- Numbers, in this order: temperature_c, vibration_mm_s, load" in card
    assert "  - shift: early = 0, late = 1, night = 2" in card
    assert "- Model: linear; the network did not beat it beyond noise on the validation split" in card
    assert "| baseline: gradient boosting |" in card


ITEM = {"numbers": [60.0, 4.0, 0.5], "categories": [0, 2]}


def predict(edgeml: Any, wear: Wear, tmp_path: Path, **changes: Any) -> Any:
    (tmp_path / "item.json").write_text(json.dumps({**ITEM, **changes}), encoding="utf-8")
    return edgeml("predict", str(wear.bundle), "item.json", "--json", cwd=tmp_path)


def test_predict_takes_known_missing_and_unknown(wear: Wear, edgeml: Any, tmp_path: Path) -> None:
    known = predict(edgeml, wear, tmp_path).json()
    assert known["label"] == "worn"
    unsure = predict(edgeml, wear, tmp_path, numbers=[None, None, None], categories=[-1, -1]).json()
    assert unsure["scores"]["worn"] < known["scores"]["worn"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [0, 3]}, "expected values from -1 to 2 index; site: north 0, south 1; shift: early 0, late 1"),
        ({"categories": ["north", 2]}, "expected numbers of shape [2] that fit int32"),
        ({"numbers": [60.0, 4.0]}, "expected shape [3], found [2]"),
    ],
)
def test_predict_refuses_what_is_no_item(
    wear: Wear, edgeml: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    done = predict(edgeml, wear, tmp_path, **changes)
    assert done.code == 2
    assert message in " ".join((done.stdout + done.stderr).split())
