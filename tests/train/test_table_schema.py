"""The ``[data]`` table of a project with columns, against its contract."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ContractError
from edgeml_train.data.table_schema import TableSchema, category_unit


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mixed = load("mixed_table")
CATEGORIES, NUMBERS, UNIT = mixed.CATEGORIES, mixed.NUMBERS, mixed.UNIT


def parsed(*replacements, **changes):
    """The schema of the mixed table's contract, with texts replaced and keys of ``[data]`` changed."""
    text = mixed.mixed_contract("t.csv")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    document = tomllib.loads(text)
    data = {**document.pop("data"), **changes}
    document.pop("train")
    return TableSchema.parse(parse_contract(document, source="edgeml.toml"), data)


def test_what_the_columns_are():
    schema = parsed()

    assert schema.numbers == NUMBERS
    assert schema.categories == CATEGORIES
    assert (schema.target, schema.labels) == ("state", ("ok", "worn"))
    assert (schema.number_input.name, schema.category_input.name) == ("numbers", "categories")
    assert schema.attributes == ("site",)
    assert schema.columns == (*NUMBERS, "site", "shift", "state")


def test_group_and_time_are_columns_that_have_to_be_there():
    assert "machine" in parsed(("[export]", '[groups]\nkey = "machine"\n[export]')).columns
    assert "taken_at" in parsed(time="taken_at").columns


def test_the_unit_says_which_index_is_which():
    assert category_unit(CATEGORIES) == UNIT


FAULTS = [
    ({"numbers": "load"}, (), r"data\.numbers: expected a list of column names, each once, found 'load'"),
    ({"numbers": ["load", "load"]}, (), r"data\.numbers: expected a list of column names, each once"),
    ({"categories": ["site"]}, (), r"data\.categories: expected a table of column = \[categories\]"),
    ({"categories": {"site": ["a", "a"]}}, (), r"data\.categories\.site: expected a list of texts, each once"),
    ({"categories": {"site": [1]}}, (), r"data\.categories\.site: expected a list of texts, each once"),
    ({"target": ""}, (), r"data\.target: expected the name of a column"),
    ({"time": 3}, (), r"data\.time: expected the name of a column, or no such key, found 3"),
    ({"numbers": ["load"]}, (), r"float32 input of shape \[1\] and one int32 input of shape \[2\], because"),
    ({"categories": {}}, (), r"expected one float32 input of shape \[3\], because data\.numbers names 3 and"),
    ({"numbers": [], "categories": {}}, (), r"inputs: expected columns, because data\.numbers names 0"),
    ({"target": "load"}, (), r"data\.target: expected a column that is no input, found 'load', which is one"),
    ({"time": "site"}, (), r"data\.time: expected a column that is no input, found 'site', which is one"),
    (
        {"numbers": ["temperature_c", "load", "site"]},
        (),
        r"data\.categories: expected columns that are not in data\.numbers, found 'site'",
    ),
    ({"time": "taken_at"}, (("[export]", '[groups]\nkey = "machine"\n[export]'),), r"no time to split by where groups"),
    ({}, (("[-1, 2]", "[-1, 1]"),), r"inputs\[1\]\.range: expected \[-1, 2\]: -1 is unknown or missing, 2 the largest"),
    ({}, ((UNIT, "index"),), r'inputs\[1\]\.unit: expected "index; site: north 0, south 1; shift: .*found "index"'),
    (
        {"categories": {"site": ["south", "north"], "shift": list(CATEGORIES["shift"])}},
        (),
        r'inputs\[1\]\.unit: expected "index; site: south 0, north 1;',
    ),
]


@pytest.mark.parametrize(("changes", "replacements", "message"), FAULTS)
def test_what_does_not_fit_is_refused(changes, replacements, message):
    with pytest.raises(ContractError, match=message):
        parsed(*replacements, **changes)


def test_every_fault_is_reported_at_once():
    with pytest.raises(ContractError) as caught:
        parsed(numbers=1, categories=2, target=3, time=4)

    assert len(caught.value.faults) == 4
