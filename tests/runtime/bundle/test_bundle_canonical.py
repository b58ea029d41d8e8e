"""Canonical JSON and its digest."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest

from edgeml_runtime import canonical
from edgeml_runtime.canonical import MAX_DEPTH, canonical_json, parse_json, require_canonical, sha256_hex, take
from edgeml_runtime.errors import BundleFormatError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        ({"é": 1, "z": 2, "Z": 3}, '{"Z":3,"z":2,"é":1}'),
        ('\u2028\x7f\x1f\n"\\/😀', '"\u2028\x7f\\u001f\\n\\"\\\\/😀"'),
        (
            [0.1, 1.0, -0.0, 1e22, 1e16, 123456789012345.6, 1e-5, 5e-324],
            "[0.1,1.0,-0.0,1e+22,1e+16,123456789012345.6,1e-05,5e-324]",
        ),
        ([0, -1, 2**70], "[0,-1,1180591620717411303424]"),
    ],
)
def test_spelling_as_the_specification_fixes_it(value, text):
    assert canonical_json(value) == text.encode()
    parsed = parse_json(text.encode(), "x")
    assert parsed == value
    require_canonical(parsed, text.encode(), "x")


@pytest.mark.parametrize("text", [b"1.00", b"1E5", b'"\\u0041"', b'"\\/"', b"[1, 2]", b"-0", b'{"b":1,"a":2}', b"1e5"])
def test_other_spellings_are_refused(text):
    with pytest.raises(BundleFormatError, match="x: not canonical JSON: at byte"):
        require_canonical(parse_json(text, "x"), text, "x")


@pytest.mark.parametrize(
    "text",
    ['["[[[", "\\"]]][[["]', '{"a":"' + "[" * 99 + '"}', "[" * MAX_DEPTH + "]" * MAX_DEPTH, '"\\\\"', '["\\\\\\"["]'],
)
def test_brackets_are_counted_outside_of_strings_only(text):
    assert parse_json(text.encode(), "x") == json.loads(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '["\\\\",', '[{"\\"":'])
def test_one_level_too_many_is_refused_before_the_parser_runs(opening, monkeypatch):
    monkeypatch.setattr(canonical, "_DECODER", None)
    with pytest.raises(BundleFormatError, match="nested more than 32 levels"):
        parse_json((opening * (MAX_DEPTH + 1)).encode(), "x")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000, 1 << 20, (1 << 20) + 1])
@pytest.mark.parametrize("loaded", [True, False], ids=["hashlib loaded", "hashlib not loaded"])
def test_digest_is_sha256_by_either_way(size, loaded, monkeypatch):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    expected = hashlib.sha256(data).hexdigest()
    if not loaded:
        monkeypatch.delitem(sys.modules, "hashlib")
    assert sha256_hex(data) == expected


def test_digest_without_pythons_own_hash(monkeypatch):
    monkeypatch.setattr(canonical, "_builtin_sha256", None)
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("value", "kind"), [(True, int), (1.0, int), ("1", int), (True, float), (None, dict), ([], dict)]
)
def test_take_knows_json_kinds_apart(value, kind):
    with pytest.raises(BundleFormatError, match="x: key: expected "):
        take({"key": value}, "key", kind, "x")


def test_take_accepts_an_integer_as_a_number():
    assert take({"key": 3}, "key", float, "x") == 3
