"""The typed getters, and what may be imported with them when a model is loaded."""

from __future__ import annotations

import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

from edgeml_runtime import fields
from edgeml_runtime.errors import ContractError
from edgeml_runtime.fields import FaultCollector, Table, describe, is_number, key_path, near


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def table(data):
    return Table(data, "t", FaultCollector())


def only_fault(read):
    (fault,) = read.faults.faults
    return str(fault)


@pytest.mark.parametrize(
    ("getter", "good", "bad", "fault", "instead"),
    [
        (lambda t: t.text("k"), "a", 3, "t.k: expected a string, found 3", ""),
        (lambda t: t.text("k"), " a ", " ", "t.k: expected a string that is not empty, found ' '", ""),
        (lambda t: t.text("k", ""), "", None, "t.k: expected a string, found None", ""),
        (lambda t: t.integer("k", low=1, high=5), 5, 6, "t.k: expected an integer from 1 to 5, found 6", 1),
        (lambda t: t.integer("k", low=1, high=5), 1, 0, "t.k: expected an integer from 1 to 5, found 0", 1),
        (lambda t: t.integer("k", low=0, high=5), 3, True, "t.k: expected an integer from 0 to 5, found true", 0),
        (lambda t: t.integer("k", low=0, high=5), 3, 3.0, "t.k: expected an integer from 0 to 5, found 3.0", 0),
        (lambda t: t.number("k", low=0, high=1), 1, 1.01, "t.k: expected a number from 0 to 1, found 1.01", 0),
        (lambda t: t.number("k", low=0, high=1), 0, -1, "t.k: expected a number from 0 to 1, found -1", 0),
        (lambda t: t.number("k", low=0, high=1), 0.5, "1", "t.k: expected a number from 0 to 1, found '1'", 0),
        (lambda t: t.number("k", low=0, high=1), 0.5, float("nan"), "t.k: expected a number from 0 to 1, found nan", 0),
        (lambda t: t.boolean("k", True), False, 0, "t.k: expected true or false, found 0", True),
        (
            lambda t: t.member("k", Colour).value,
            "blue",
            "bleu",
            "t.k: expected one of red, blue, found 'bleu' (did you mean 'blue'?)",
            "red",
        ),
        (lambda t: list(t.texts("k")), ["a", "b"], "ab", "t.k: expected a list of strings, found 'ab'", []),
        (
            lambda t: list(t.texts("k")),
            ["a"],
            ["a", 1],
            "t.k[1]: expected a string that is not empty, found 1",
            ["a", ""],
        ),
        (
            lambda t: list(t.texts("k")),
            ["a"],
            ["a", "a"],
            "t.k[1]: expected a value of its own, found 'a', which t.k[0] has",
            ["a", "a"],
        ),
        (lambda t: list(t.numbers("k", "numbers")), [1.0, 2.5], [1, "2"], "t.k: expected numbers, found [1, '2']", []),
        (lambda t: dict(t.table("k").data), {"a": 1}, [1], "t.k: expected a table, found [1]", {}),
        (
            lambda t: t.items("k", required=True),
            [{}],
            [],
            "t.k: expected at least one table, written [[t.k]], found []",
            [],
        ),
        (lambda t: t.items("k", required=False), [], {}, "t.k: expected tables, written [[t.k]], found a table", []),
    ],
)
def test_a_getter_takes_what_fits_and_notes_what_does_not(getter, good, bad, fault, instead):
    right, wrong = table({"k": good}), table({"k": bad})
    assert getter(right) == good
    assert right.faults.faults == ()
    assert getter(wrong) == instead
    assert only_fault(wrong) == fault


def test_a_missing_key_is_a_fault_with_its_question_unless_there_is_a_default():
    read = table({})
    assert read.integer("a", 3, low=1, high=9) == 3
    assert read.text("b", question="Which b?") == ""
    assert only_fault(read) == "t.b: expected a string, found nothing\n    question: Which b?"


def test_a_missing_table_is_one_fault_and_its_keys_are_none():
    read = table({})
    inner = read.table("inner", required=True)
    inner.text("a")
    inner.number("b", low=0, high=1)
    assert only_fault(read) == "t.inner: expected a table, found nothing"


def test_a_missing_optional_table_reads_as_an_empty_one():
    read = table({})
    assert read.table("inner").text("a", "default") == "default"
    assert read.faults.faults == ()


def test_only_keys_that_were_asked_for_are_known():
    read = table({"known": 1, "knwon": 2, "odd key": 3})
    read.integer("known", low=0, high=9)
    read.refuse_unknown()
    assert [str(fault) for fault in read.faults.faults] == [
        "t.knwon: expected one of known, found an unknown key (did you mean 'known'?)",
        't."odd key": expected one of known, found an unknown key',
    ]


def test_zero_has_no_sign():
    read = table({"a": -0.0, "b": [-0.0]})
    assert str(read.number("a", low=-1, high=1)) == "0.0"
    assert str(read.numbers("b", "numbers")) == "(0.0,)"


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("a", False),
        ("a.b", False),
        ("a.b[2]", False),
        ("a.b[2].c", False),
        ("a.b[20]", True),
        ("a.bc", True),
        ("ab", True),
    ],
)
def test_a_place_is_clean_when_no_fault_is_at_in_or_around_it(path, clean):
    faults = FaultCollector()
    assert faults.clean(path)
    faults.add("a.b[2]", "x", "y")
    assert faults.clean(path) is clean


def test_all_faults_are_raised_together():
    faults = FaultCollector()
    faults.raise_if_any("file")
    faults.add("a", "x", "y")
    faults.add("b", "x", "y", "z?")
    with pytest.raises(ContractError) as caught:
        faults.raise_if_any("file")
    assert str(caught.value) == (
        "file: 2 fault(s) in the contract\n  a: expected x, found y\n  b: expected x, found y\n    question: z?"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1}, "a table"),
        (True, "true"),
        (False, "false"),
        ([1, {"a": 2}, [True]], "[1, a table, [true]]"),
        (list(range(8)), "[0, 1, 2, 3, 4, 5, 6, 7]"),
        (list(range(9)), "a list of 9"),
        ("x" * 58, "'" + "x" * 58 + "'"),
        ("x" * 99, "'" + "x" * 56 + "..."),
        pytest.param(1 << 20000, "an integer of 20001 bits", id="long integer"),
    ],
)
def test_a_value_is_described_in_one_short_line(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(
    ("value", "answer"),
    [(1, True), (1.5, True), (3e38, True), (True, False), ("1", False), (float("inf"), False), (10**400, False)],
    ids=lambda value: str(value)[:9],
)
def test_a_number_is_finite_and_no_truth(value, answer):
    assert is_number(value) is answer


def test_key_paths_are_spelled_as_toml_does():
    assert [key_path("", "a"), key_path("a", "b-1_c"), key_path("a", "b c"), key_path("a", "")] == [
        "a",
        "a.b-1_c",
        'a."b c"',
        'a.""',
    ]


def test_only_a_near_word_is_proposed():
    assert near("latency_p95", ["latency_ms_p95", "bundle_mb"]) == " (did you mean 'latency_ms_p95'?)"
    assert near("zzz", ["latency_ms_p95"]) == ""


HEAVY = (
    "edgeml_runtime.contract edgeml_runtime.contract_parse edgeml_runtime.contract_rules "
    "difflib hashlib importlib.metadata logging numpy pathlib tempfile tomllib typing_extensions zipfile"
)


def test_reading_tensors_imports_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules)\n"
        "import types; package = types.ModuleType('edgeml_runtime'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['edgeml_runtime'] = package\n"
        "from edgeml_runtime.fields import FaultCollector\n"
        "from edgeml_runtime.tensors_parse import parse_inputs\n"
        "table = dict(name='x', dtype='int8', shape=[1], range=[0, 1], unit='V', source='probe')\n"
        "faults = FaultCollector()\n"
        "assert parse_inputs([table], faults)[0].shape == (1,) and not faults.faults\n"
        "print(' '.join(set(sys.modules) - before))"
    )
    folder = Path(fields.__file__).parent
    result = subprocess.run([sys.executable, "-S", "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert set(HEAVY.split()) & set(result.stdout.split()) == set()
    assert "edgeml_runtime.tensors_parse" in result.stdout.split()
