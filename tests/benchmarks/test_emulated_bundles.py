"""The bundles that ``make emulated`` checks: they open, and their budgets are for what that command runs."""

import sys
from pathlib import Path

import pytest

from edgeml_devices.model_file import read_model
from edgeml_runtime.contract import BudgetName, Provenance

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "emulated"
DEVICES = ("raspberry-pi-4b", "raspberry-pi-5")
VARIANTS = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"}
MOST_BYTES = 4_000_000


@pytest.fixture(scope="module")
def generated():
    sys.path.insert(0, str(FOLDER))
    try:
        import generated_data
    finally:
        sys.path.remove(str(FOLDER))
    return generated_data


def test_every_template_has_a_bundle_and_all_are_small():
    from edgeml_train import TEMPLATES

    files = sorted(FOLDER.glob("*.edgeml"))
    assert {path.stem for path in files} == set(TEMPLATES) - {"blank"}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_make_checks_the_devices_that_have_budgets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"EMULATED_DEVICES := {' '.join(DEVICES)}\n" in makefile


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.edgeml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("device", DEVICES)
def test_every_variant_has_a_limit_for_the_version_that_is_counted(path, device):
    model = read_model(str(path))
    assert {variant.id for variant in model.variants} == VARIANTS
    budgets = [budget for budget in model.budgets if budget.profile == device]
    counted = [budget for budget in budgets if budget.name is BudgetName.INSTRUCTIONS]
    assert {budget.variant for budget in counted} == VARIANTS
    assert {budget.backend_version for budget in counted} == {"1.24", "2.1"}
    assert {budget.accepts for budget in counted} == {(Provenance.EMULATED,)}
    (size,) = [budget for budget in budgets if budget.name is BudgetName.BUNDLE_MB]
    assert model.size_bytes <= size.limit * 1e6 <= 1.1 * model.size_bytes + 1e4


@pytest.mark.parametrize("name", ["spoken-digits", "sign-digits", "machine-temperature"])
def test_made_up_data_are_the_same_every_time_and_in_the_format_of_the_template(generated, tmp_path, name, monkeypatch):
    monkeypatch.setattr(generated, "TAKES", 1)
    monkeypatch.setattr(generated, "STUDENTS", 2)
    found = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        generated.GENERATED[name](folder)
        found.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert found[0] == found[1]
    assert found[0]


def test_made_up_series_have_the_events_that_were_planted(generated, tmp_path):
    from edgeml_train.data.series_file import find_series

    generated.GENERATED["machine-temperature"](tmp_path)
    series = find_series(tmp_path, ["machine/*"], max_left_out=0.0)
    assert [len(one.events) for one in series] == [len(generated.EVENT_DAYS)] * len(generated.SERIES)
