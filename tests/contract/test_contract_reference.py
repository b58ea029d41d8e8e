"""docs/contract.md lists every key of the contract with its true default, and its example is a contract."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path

import pytest

from edgeml_runtime.contract import (
    AnomalyRules,
    Budget,
    BudgetName,
    CalibrationMethod,
    Contract,
    ExportRules,
    GateRules,
    MetricName,
    MetricSpec,
    Provenance,
    SliceRules,
    Statistic,
    TargetKind,
    TargetSpec,
    TelemetryFeature,
)
from edgeml_runtime.errors import ContractError
from edgeml_runtime.tensors import DType, InputSpec, OutputRole, OutputSpec
from edgeml_train.contract_file import read_contract_file

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = dict(re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[::-1])  # the first block of each kind

# Section → the dataclass its table is read into.
SECTIONS = {
    "[[inputs]]": InputSpec,
    "[[outputs]]": OutputSpec,
    "[target]": TargetSpec,
    "[metric]": MetricSpec,
    "[anomaly]": AnomalyRules,
    "[slices]": SliceRules,
    "[export]": ExportRules,
    "[gate]": GateRules,
    "[[telemetry]]": TelemetryFeature,
}
WORDS = {
    "[[inputs]]": DType,
    "[[outputs]]": OutputRole,
    "[target]": TargetKind,
    "[metric]": MetricName,
    "[export]": CalibrationMethod,
    "[budgets.PROFILE]": Provenance,
    "[[telemetry]]": Statistic,
}
ONLY_IN_FILES = {"[[telemetry]]": {"bins", "range"}}  # read into other fields
READ_WITH_A_DEFAULT = {  # optional in the file though the dataclass asks for it
    ("[[outputs]]", "dtype"): "float32",
    ("[[telemetry]]", "statistic"): "value",
    ("[model]", "description"): "",
}


def section(title):
    """The text under a heading."""
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title):
    """Key → (type, default, meaning) of a section's four-column table."""
    lines = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in section(title).splitlines()]
    return {key.strip("`"): rest for key, *rest in lines if len(rest) == 3 and key != "key"}


def default_of(title, field):
    value = READ_WITH_A_DEFAULT.get((title, field.name), field.default)
    if value is MISSING:
        return "required"
    if value is None:
        return "none"
    value = value.value if isinstance(value, Enum) else value
    return f"`{json.dumps(value)}`" if value != 1e-4 else "`0.0001`"  # which JSON spells 1e-04


@pytest.mark.parametrize("title", SECTIONS)
def test_a_table_has_every_key_with_its_default(title):
    documented = rows(title)
    expected = {field.name: default_of(title, field) for field in fields(SECTIONS[title])}
    only_here = ONLY_IN_FILES.get(title, set())
    assert {key: default for key, (_, default, _) in documented.items() if key not in only_here} == expected
    assert only_here <= set(documented)


def test_the_models_table_has_every_key():
    expected = {
        field.name: default_of("[model]", field)
        for field in fields(Contract)
        if field.name in ("name", "version", "description")
    }
    assert {key: default for key, (_, default, _) in rows("[model]").items()} == expected
    assert list(rows("[groups]")) == ["key"]


def test_the_budgets_have_every_quantity_and_every_key():
    documented = rows("[budgets.PROFILE]")
    assert set(documented) == {field.name for field in fields(Budget)} - {"profile", "name"}
    assert documented["accepts"][1] == '`["measured"]`, for `instructions` `["emulated"]`'
    listed = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section("[budgets.PROFILE]"), re.MULTILINE)))
    assert [word for word in listed if word not in documented] == [name.value for name in BudgetName]


@pytest.mark.parametrize("title", WORDS)
def test_every_word_of_an_enumeration_is_there(title):
    missing = [item.value for item in WORDS[title] if f"`{item.value}`" not in section(title)]
    assert missing == []


def test_every_key_has_a_meaning():
    empty = [key for title in (*SECTIONS, "[model]", "[groups]") for key, row in rows(title).items() if not row[2]]
    assert empty == []


def test_the_example_is_a_contract_that_uses_every_table(tmp_path):
    path = tmp_path / "edgeml.toml"
    path.write_text(CODE["toml"], encoding="utf-8")
    read = read_contract_file(path)
    assert all((read.contract.budgets, read.contract.telemetry, read.contract.group, read.data, read.train))
    golden = Path(__file__).parents[1] / "runtime" / "data" / "contracts" / "good" / "every_table.toml"
    assert CODE["toml"] == golden.read_text(encoding="utf-8")


def test_the_faults_it_shows_are_the_ones_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = CODE["toml"].replace('source = "contact microphone on the housing"\n', "")
    Path("edgeml.toml").write_text(text.replace('primary = "balanced_accuracy"\n', ""), encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        read_contract_file("edgeml.toml")
    assert f"{caught.value}\n" == CODE["text"]
