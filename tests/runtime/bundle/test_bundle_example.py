"""The worked example of docs/bundle.md is a bundle, byte for byte, and stays readable."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.bundle import Bundle, Limits
from edgeml_runtime.golden import read_golden
from edgeml_runtime.histograms import Histogram, read_histograms

HERE = Path(__file__).parent
EXAMPLE = HERE / "data" / "format-1.edgeml"
TEXT = (HERE.parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
CHAPTER = TEXT[TEXT.index("## Worked example") :]


def content_of(kit, language, block):
    match language:
        case "json":
            return kit.canonical(json.loads(block))
        case "hex":
            return bytes.fromhex(block)
        case "text":
            return block.rstrip("\n").encode()
    raise AssertionError(language)


def test_members_shown_make_up_the_file(kit):
    shown = re.findall(r"\*\*`([^`]+)`\*\*[^\n]*\n\n```(\w+)\n(.*?)```", CHAPTER, re.DOTALL)
    members = [kit.raws()[0].__class__(name=name.encode(), data=content_of(kit, *rest)) for name, *rest in shown]
    assert kit.packed(members) == EXAMPLE.read_bytes()


def test_bytes_shown_are_where_the_text_says():
    content = EXAMPLE.read_bytes()
    shown = re.findall(r"at byte (\d+)[^\n]*\n\n```hex\n(.*?)```", CHAPTER, re.DOTALL)
    assert len(shown) == 4
    for at, block in shown:
        expected = bytes.fromhex(block)
        assert content[int(at) : int(at) + len(expected)] == expected


def test_size_and_hash_are_the_ones_stated():
    content = EXAMPLE.read_bytes()
    assert f"{len(content)} bytes, SHA-256\n`{hashlib.sha256(content).hexdigest()}`" in CHAPTER


def test_this_runtime_reads_it():
    with Bundle.open(EXAMPLE) as bundle:
        bundle.verify()
        golden = read_golden(bundle)
        histograms = read_histograms(bundle)
    np.testing.assert_array_equal(golden.cases[0].inputs["temperatures"], np.array([19.5, 20.5], np.float32))
    np.testing.assert_array_equal(golden.cases[0].expected["onnx-fp32"]["mean"], np.array([20.0], np.float32))
    assert golden.tolerances == {"onnx-fp32": {"mean": 0.001}}
    assert histograms == (Histogram(name="mean", edges=(0.0, 20.0), counts=(0, 1, 1), missing=1, n=3),)


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_limits_are_the_ones_stated(field):
    value = getattr(Limits(), field.name)
    shown = f"{value >> 20} MiB" if value >= 1 << 20 else str(value)
    assert f"| `{field.name}` | {shown} |" in TEXT


def test_keys_of_the_manifest_are_all_described():
    document = json.loads(re.search(r"\*\*`manifest.json`\*\*\n\n```json\n(.*?)```", CHAPTER, re.DOTALL).group(1))
    keys = {*document, *document["members"][0], *document["variants"][0]}
    assert [key for key in sorted(keys) if f"| `{key}` |" not in TEXT] == []
