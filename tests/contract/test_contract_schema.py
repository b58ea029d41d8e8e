"""The JSON Schema of edgeml.toml: it is current, marks what an editor can mark, and refuses nothing that is right."""

from __future__ import annotations

import importlib.util
import json
import random
import tomllib
from pathlib import Path

import jsonschema
import pytest

from edgeml_runtime.contract_parse import contract_to_dict, parse_contract
from edgeml_runtime.errors import ContractError
from edgeml_train.contract_schema import contract_json_schema
from edgeml_train.settings import train_schema

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "tests" / "runtime" / "data" / "contracts"
# All but the blank one, whose open values are faults.
TEMPLATES = sorted(
    path
    for path in (ROOT / "train" / "edgeml_train" / "templates").glob("*/edgeml.toml")
    if path.parent.name != "blank"
)
GOOD = sorted((CONTRACTS / "good").glob("*.toml"))
# What only the parser sees, because it lies between keys or in numbers.
ONLY_PARSED = {
    "anomaly_missing",
    "anomaly_of_a_classification",
    "export_without_the_default_requirement",
    "group_is_a_tensor",
    "labels_missing",
    "metric",
    "metric_of_a_regression",
    "no_scores",
    "regression",
    "regression_with_scores",
    "two_scores",
}
BAD = [
    path
    for path in sorted((CONTRACTS / "bad").glob("*.toml"))
    if path.stem not in ONLY_PARSED and "#! syntax" not in path.read_text(encoding="utf-8")
]


@pytest.fixture(scope="module")
def schema():
    return contract_json_schema(train=train_schema())


@pytest.fixture(scope="module")
def validator(schema):
    return jsonschema.Draft202012Validator(schema)


def tables(path):
    return tomllib.loads(path.read_text(encoding="utf-8").replace("__NAME__", "a").replace("__DATA__", '"data"'))


def test_the_schema_is_one(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_committed_schema_is_current():
    spec = importlib.util.spec_from_file_location("build_schema", ROOT / "docs" / "build_schema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "edgeml.schema.json").read_text(encoding="utf-8") == module.document(), "run `make docs`"


@pytest.mark.parametrize("path", [*TEMPLATES, *GOOD], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_good_contract_is_valid(validator, path):
    validator.validate(tables(path))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_canonical_form_is_valid(validator, path):
    document = {key: table for key, table in tables(path).items() if key not in ("data", "train", "fast")}
    validator.validate(contract_to_dict(parse_contract(document, source="test")))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_contract_is_marked(validator, path):
    assert not validator.is_valid(tables(path))


@pytest.mark.parametrize("name", sorted(ONLY_PARSED))
def test_what_lies_between_keys_is_left_to_the_parser(validator, name):
    validator.validate(tables(CONTRACTS / "bad" / f"{name}.toml"))


def test_the_table_of_training_is_checked_only_where_its_schema_is_given(validator):
    document = {**tables(GOOD[0]), "train": {"epoch": 3}}
    assert not validator.is_valid(document)
    jsonschema.Draft202012Validator(contract_json_schema()).validate(document)


def test_every_key_is_explained():
    schema = contract_json_schema()

    def unexplained(node, path):
        for key, inner in node.get("properties", {}).items():
            if path and "description" not in inner and "anyOf" not in inner:
                yield f"{path}.{key}"
            yield from unexplained(inner.get("items", inner), f"{path}.{key}")

    assert list(unexplained(schema, "")) == []
    assert schema["properties"]["inputs"]["items"]["properties"]["range"]["description"] == (
        "Smallest and largest valid value, both inclusive."
    )


def test_the_schema_refuses_nothing_that_the_parser_accepts(validator):
    generator = random.Random(3)
    good = [
        {key: table for key, table in tables(path).items() if key not in ("data", "train", "fast")} for path in GOOD
    ]
    values = [None, -1, 0, 1, 2.5, 0.5, "", "x", "int8", "tflite-int8", [], [1], ["x"], [0, 1], {}, {"limit": 1}, True]
    accepted = 0
    for _ in range(3000):
        document = json.loads(json.dumps(generator.choice(good)))
        change(document, generator, values)
        try:
            parse_contract(document, source="test")
        except ContractError:
            continue
        accepted += 1
        assert validator.is_valid(document), next(validator.iter_errors(document))
    assert accepted > 200


def change(node, generator, values):
    """Replace one value, or take a key away, somewhere inside."""
    key = generator.choice(list(node) if isinstance(node, dict) else range(len(node)))
    if isinstance(node[key], dict | list) and node[key] and generator.random() < 0.85:
        change(node[key], generator, values)
    elif generator.random() < 0.3:
        del node[key]
    else:
        node[key] = generator.choice(values)
