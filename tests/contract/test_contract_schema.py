"""The JSON Schema of edgeml.toml and the reference page agree with the dataclasses and with real contracts."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import jsonschema
import pytest

from edgeml_runtime.contract import (
    Budget,
    BudgetName,
    ExportRules,
    GateRules,
    MetricName,
    MetricSpec,
    SliceRules,
    Statistic,
    TargetSpec,
    TelemetryFeature,
)
from edgeml_runtime.contract_schema import contract_json_schema
from edgeml_runtime.tensors import DType, InputSpec, OutputRole, OutputSpec
from edgeml_train.settings import train_schema

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "train/edgeml_train/templates").glob("*/edgeml.toml"))
REFERENCE = (ROOT / "docs/contract.md").read_text(encoding="utf-8")


def template(path: Path) -> str:
    """A template's contract with its placeholders filled."""
    return path.read_text(encoding="utf-8").replace("__NAME__", "some-name").replace("__DATA__", '"data"')


def validate(text: str) -> None:
    """Check a contract's text against the schema."""
    jsonschema.validate(tomllib.loads(text), contract_json_schema(train=train_schema()))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(contract_json_schema(train=train_schema()))


def test_the_committed_schema_is_current() -> None:
    subprocess.run([sys.executable, str(ROOT / "docs/build_schema.py"), "--check"], check=True)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.parent.name)
def test_the_templates_are_valid(path: Path) -> None:
    validate(template(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[metric]", "[metrics]"),
        ('primary = "accuracy"', 'primary = "acuracy"'),
        ("source =", "sorce ="),
        ('dtype = "int16"', 'dtype = "int17"'),
        ("shape = [8000]", 'shape = "8000"'),
        ("range = [-32768, 32767]", "range = [1]"),
        ("latency_ms_p95", "latency_p95"),
        ("epochs =", "epoch ="),
        ('statistic = "rms"', 'statistic = "rsm"'),
    ],
)
def test_what_an_editor_should_mark_is_invalid(old: str, new: str) -> None:
    text = template(next(path for path in TEMPLATES if path.parent.name.startswith("spoken")))
    assert old in text
    with pytest.raises(jsonschema.ValidationError):
        validate(text.replace(old, new))


@pytest.mark.parametrize(
    "cls",
    [InputSpec, OutputSpec, TargetSpec, MetricSpec, SliceRules, ExportRules, GateRules, TelemetryFeature],
    ids=lambda cls: cls.__name__,
)
def test_the_reference_mentions_every_key(cls: type) -> None:
    missing = [field.name for field in fields(cls) if f"`{field.name}`" not in REFERENCE.replace("slices.", "")]
    assert missing == []


def test_the_reference_mentions_every_budget_key_and_word() -> None:
    keys = {field.name for field in fields(Budget)} - {"profile", "name"}
    words = [item.value for kind in (BudgetName, DType, MetricName, OutputRole, Statistic) for item in kind]
    assert [word for word in (*keys, *words) if f"`{word}`" not in REFERENCE] == []
