"""Hostile and broken bundles: each gets the error it deserves.

Each attack is made from the good bundle by ``Kit`` (conftest.py), whose own ZIP writer can break every rule by itself.
To add an attack, add a line with ``attack``.
"""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleLimitError,
    BundleVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True)
class Attack:
    name: str
    error: type[BundleError]
    message: str
    build: Callable[[Any], bytes]


ATTACKS: list[Attack] = []


def attack(name: str, error: type[BundleError], message: str, build: Callable[[Any], bytes]) -> None:
    ATTACKS.append(Attack(name=name, error=error, message=message, build=build))


FORMAT, INTEGRITY, LIMIT, VERSION = BundleFormatError, BundleIntegrityError, BundleLimitError, BundleVersionError

# The file as a whole
attack("empty", INTEGRITY, "truncated: expected at least 30", lambda kit: b"")
attack("text", FORMAT, "not a bundle", lambda kit: b"hello, world" * 9)
attack("only the first bytes", INTEGRITY, "truncated", lambda kit: kit.content[:3])
attack("truncated in the manifest", INTEGRITY, "truncated", lambda kit: kit.content[:500])
attack("truncated in a member", INTEGRITY, "truncated, or bytes were appended", lambda kit: kit.content[:-600])
attack("without its last byte", INTEGRITY, "truncated, or bytes were appended", lambda kit: kit.content[:-1])
attack("a byte too many", INTEGRITY, "truncated, or bytes were appended", lambda kit: kit.content + b"\0")
attack("a program in front", FORMAT, "not a bundle", lambda kit: b"#!/bin/sh\n" + kit.content)
attack("two bundles", INTEGRITY, "bytes are missing or were added", lambda kit: kit.content + kit.content)

# The end of central directory record
attack("comment", INTEGRITY, "truncated, or bytes were appended", lambda kit: kit.packed(comment=b"hi"))
attack("second disk", FORMAT, "must name one disk", lambda kit: kit.packed(disk=1))
attack("counts differ", FORMAT, "must name one disk", lambda kit: kit.packed(total=3))
attack("no members", FORMAT, "at least one", lambda kit: kit.packed(count=0, total=0))
attack("too few counted", FORMAT, "bytes follow", lambda kit: kit.packed(count=2, total=2))
attack("too many counted", FORMAT, "header 8 .* missing", lambda kit: kit.packed(count=9, total=9))
attack("60000 members", LIMIT, "60000 members; at most", lambda kit: kit.packed(count=60000, total=60000))
attack("ZIP64 count", FORMAT, "ZIP64", lambda kit: kit.packed(count=0xFFFF, total=0xFFFF))
attack("ZIP64 offset", FORMAT, "ZIP64", lambda kit: kit.packed(offset=0xFFFFFFFF))
attack("directory too far", INTEGRITY, "bytes are missing", lambda kit: kit.packed(offset=0xFFFFFFF0))
attack("directory too large", INTEGRITY, "bytes are missing", lambda kit: kit.packed(size=0xFFFFFFF0))
attack(
    "bytes in front of the end",
    INTEGRITY,
    "bytes are missing",
    lambda kit: kit.packed(before_end=b"PK\6\6" + bytes(52)),
)

# Members as ZIP knows them
attack("gap", FORMAT, "neither overlap nor leave gaps", lambda kit: kit.packed(gap=b"hidden"))
attack("overlap", FORMAT, "neither overlap nor leave gaps", lambda kit: kit.with_last(offset=0))
attack("hidden member", FORMAT, "neither overlap|directory begins", lambda kit: kit.with_last(in_directory=False))
attack("compressed", FORMAT, r"onnx is compressed \(method 8\)", lambda kit: kit.with_last(method=8))
attack("compressed manifest", FORMAT, r"manifest\.json is compressed", lambda kit: kit.with_first(method=8))
attack("encrypted", FORMAT, "is encrypted", lambda kit: kit.with_last(flags=1))
attack("encrypted manifest", FORMAT, "is encrypted", lambda kit: kit.with_first(flags=1))
attack("sizes behind the data", FORMAT, "behind the data", lambda kit: kit.with_last(flags=8))
attack(
    "UTF-8 flag", FORMAT, r"the central header of variants/onnx-int8\.onnx must", lambda kit: kit.with_last(flags=0x800)
)
attack("two sizes", FORMAT, "must be equal", lambda kit: kit.with_last(stored=3))
attack("dated", FORMAT, "date", lambda kit: kit.with_last(date=0x5555))
attack("dated manifest", FORMAT, "date", lambda kit: kit.with_first(time=1))
attack("symbolic link", FORMAT, "attributes", lambda kit: kit.with_last(attributes=0o120777 << 16, made_by=0x314))
attack("newer ZIP", FORMAT, "versions", lambda kit: kit.with_last(needed=45))
attack("extra field", FORMAT, "extra field", lambda kit: kit.with_last(central_extra=bytes(4)))
attack("member comment", FORMAT, "comment", lambda kit: kit.with_last(comment=b"hi"))
attack("local extra field", FORMAT, "directory begins at|local header", lambda kit: kit.with_last(local_extra=bytes(4)))
attack(
    "two names", FORMAT, "local header .* contradicts", lambda kit: kit.with_last(local_name=b"variants/onnx-int9.onnx")
)
attack("larger than the file", FORMAT, "members end at", lambda kit: kit.with_last(size=10_000_000))
attack("2 GB member", LIMIT, "2147483648 bytes; at most", lambda kit: kit.with_last(size=1 << 31))
attack("4 GB manifest", LIMIT, "4294967280 bytes; at most", lambda kit: kit.with_first(size=0xFFFFFFF0))
attack("wrong CRC-32", INTEGRITY, "CRC-32", lambda kit: kit.with_last(crc=1))
attack("wrong CRC-32 of the manifest", INTEGRITY, "CRC-32", lambda kit: kit.with_first(crc=1))
attack("altered", INTEGRITY, "SHA-256", lambda kit: kit.with_last(data=b"int8 m0del"))
attack(
    "manifest not first", FORMAT, "the first member is b'card", lambda kit: kit.packed(kit.raws()[1:] + kit.raws()[:1])
)
attack(
    "not sorted", FORMAT, "then the other members by name", lambda kit: kit.packed(kit.raws()[:1] + kit.raws()[:0:-1])
)
attack("twice", FORMAT, "twice", lambda kit: kit.packed([*kit.raws(), kit.raws()[-1]]))
attack("second manifest", FORMAT, "twice", lambda kit: kit.with_last(name=b"manifest.json"))
attack("twice but for case", FORMAT, "twice", lambda kit: kit.with_last(name=b"VARIANTS/onnx-fp32.onnx"))

# Names
for title, name, message in [
    ("absolute", b"/etc/passwd", "is absolute"),
    ("parent", b"variants/../../x", "begins or ends with a dot"),
    ("only parent", b"..", "begins or ends with a dot"),
    ("here", b"./x", "begins or ends with a dot"),
    ("hidden", b"variants/.profile", "begins or ends with a dot"),
    ("dot at the end", b"card.md.", "begins or ends with a dot"),
    ("backslash", b"variants\\x.onnx", "characters other than"),
    ("drive", b"C:/x", "characters other than"),
    ("stream", b"card.md:x", "characters other than"),
    ("NUL", b"card.md\0.onnx", "characters other than"),
    ("line feed", b"card\n.md", "characters other than"),
    ("space", b"card .md", "characters other than"),
    ("not UTF-8", b"card\xff.md", "characters other than"),
    ("composed", "kärt.md".encode(), "characters other than"),
    ("folder", b"variants/", "ends in '/'"),
    ("empty segment", b"variants//x", "'//'"),
    ("no name", b"", "has 0 bytes"),
    ("long", b"x" * 201, "has 201 bytes"),
    ("Windows device", b"variants/NUL.onnx", "device on Windows"),
    ("Windows port", b"com1", "device on Windows"),
]:
    attack(f"name: {title}", FORMAT, f"the member name b.*{message}", lambda kit, name=name: kit.with_last(name=name))

# Format versions
attack("version 2", VERSION, "reads format 1; the bundle is format 2: update", lambda kit: kit.edited(version(2)))
attack("version 0", FORMAT, "format_version: expected 1, found 0", lambda kit: kit.edited(version(0)))
attack(
    "version as text", FORMAT, "format_version: expected an integer, found '1'", lambda kit: kit.edited(version("1"))
)
attack(
    "version as boolean",
    FORMAT,
    "format_version: expected an integer, found True",
    lambda kit: kit.edited(version(True)),
)
attack(
    "version 3 in a structure of its own",
    VERSION,
    "the bundle is format 3",
    lambda kit: (
        kit.packed(kit.raws(b'{ "format_version": 3, "format": "edgeml-bundle" }')[:1]) + b"another way to end a file"
    ),
)


def version(value: object) -> Callable[[dict], object]:
    return lambda document: document.update(format_version=value)


# The manifest as JSON
attack("JSON not UTF-8", FORMAT, "not UTF-8: byte 0xff at 1", lambda kit: kit.text(b"{\xff}"))
attack("byte order mark", FORMAT, "not JSON", lambda kit: kit.text(b"\xef\xbb\xbf" + kit.json))
attack("no JSON", FORMAT, "not JSON", lambda kit: kit.text(b"name = 'x'"))
attack("empty manifest", FORMAT, "not JSON", lambda kit: kit.text(b""))
attack("more behind it", FORMAT, "not JSON: Extra data", lambda kit: kit.text(kit.json + b"{}"))
attack("a list", FORMAT, "expected an object with", lambda kit: kit.text(b"[]"))
attack("another format", FORMAT, "not a bundle", lambda kit: kit.text(b'{"format":"zip","format_version":1}'))
attack("white space", FORMAT, "not canonical JSON: at byte 1", lambda kit: kit.text(json.dumps(kit.manifest).encode()))
attack("newline at the end", FORMAT, "not canonical JSON", lambda kit: kit.text(kit.json + b"\n"))
attack("a key twice", FORMAT, "'format' is given twice", lambda kit: kit.text(b'{"format":1,' + kit.json[1:]))
attack("NaN", FORMAT, "NaN is not allowed", lambda kit: kit.edited(metric(float("nan"))))
attack("infinity", FORMAT, "Infinity is not allowed", lambda kit: kit.edited(metric(float("inf"))))
attack("1e999", FORMAT, "1e999 is too large", lambda kit: kit.text(kit.json.replace(b"0.975", b"1e999")))
attack(
    "5000 digits",
    FORMAT,
    "not JSON",
    lambda kit: kit.text(kit.json.replace(b":40}", b":" + b"4" * 5000 + b"}")),
)
attack(
    "half a surrogate",
    FORMAT,
    "well-formed Unicode",
    lambda kit: kit.text(kit.json.replace(b"ja,", b"\\ud800")),
)
attack(
    "nested", FORMAT, "nested more than 32 levels deep", lambda kit: kit.edited(metric(json.loads("[" * 29 + "]" * 29)))
)
attack("nested a million times", FORMAT, "nested more than 32", lambda kit: kit.text(b"[" * 1_000_000))
attack("nested behind a quote", FORMAT, "nested more than 32", lambda kit: kit.text(b'{"a\\"":' + b"[" * 1_000_000))


def metric(value: object) -> Callable[[dict], object]:
    return lambda document: document["variants"][0]["metrics"].update(value=value)


# The manifest as data
def put(*path: str | int, value: object) -> Callable[[dict], object]:
    def edit(document: dict) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = value

    return edit


def drop(*path: str | int) -> Callable[[dict], object]:
    def edit(document: dict) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        del document[last]

    return edit


def first_variant_twice(document: dict) -> None:
    document["variants"].append(document["variants"][0])


def first_member_twice(document: dict) -> None:
    document["members"].insert(0, document["members"][0])


for title, message, edit in [
    *(
        (f"no {key}", f"the key '{key}' is missing", drop(key))
        for key in ("contract", "members", "variants", "version")
    ),
    *(
        (f"no {key} of a variant", rf"variants\[1\]: the key '{key}' is missing", drop("variants", 1, key))
        for key in ("id", "file", "requires_isa", "inputs", "weight_bytes", "metrics", "parity")
    ),
    ("members no list", "members: expected a list, found {}", put("members", value={})),
    ("member no object", r"members\[0\]: expected an object, found 3", put("members", 0, value=3)),
    ("size as boolean", "size_bytes: expected an integer, found True", put("members", 0, "size_bytes", value=True)),
    ("size as float", "size_bytes: expected an integer, found 12.0", put("members", 0, "size_bytes", value=12.0)),
    ("size negative", "size_bytes: expected at least 0, found -1", put("members", 0, "size_bytes", value=-1)),
    ("hash short", "64 lower-case hex digits", put("members", 0, "sha256", value="00")),
    ("hash upper case", "64 lower-case hex digits", put("members", 0, "sha256", value="A" * 64)),
    ("empty list of variants", "at least one", put("variants", value=[])),
    ("variant twice", "each with an id of its own", first_variant_twice),
    ("id of another", "id: expected FORMAT-PRECISION", put("variants", 0, "id", value="onnx-fp64")),
    ("precision empty", "precision: expected a-z", put("variants", 0, "precision", value="")),
    ("unknown model format", "format: expected one of onnx, ort, tflite", put("variants", 0, "format", value="pickle")),
    ("file unlisted", "its file '../x' is no member", put("variants", 0, "file", value="../x")),
    ("backend no text", "backend: expected a string", put("variants", 0, "backend", value=None)),
    ("backend version", "numbers joined by dots", put("variants", 0, "min_backend_version", value="1.x")),
    ("ISA no text", "requires_isa: expected strings", put("variants", 0, "requires_isa", value=[1])),
    (
        "encoding unknown",
        "input_encodings: expected offset_binary, found 'hex': update edgeml-runtime",
        put("variants", 0, "input_encodings", value={"waveform": "hex"}),
    ),
    ("encoding no text", "waveform: expected a string", put("variants", 0, "input_encodings", value={"waveform": 1})),
    ("encodings no object", "input_encodings: expected an object", put("variants", 0, "input_encodings", value=[])),
    (
        "encoding of an int16 input",
        r"onnx-int8: input_encodings: expected uint8 inputs of the contract, \[\], found \['waveform'\]",
        put("variants", 0, "input_encodings", value={"waveform": "offset_binary"}),
    ),
    ("refusal no object", "refused_by: expected an object", put("variants", 0, "refused_by", value=["onnxruntime"])),
    (
        "refusal no text",
        "onnxruntime: expected a string",
        put("variants", 0, "refused_by", value={"onnxruntime": None}),
    ),
    ("input unknown", "inputs: expected the contract's", put("variants", 0, "inputs", "more", value="x")),
    ("output missing", "outputs: expected the contract's", drop("variants", 0, "outputs", "scores")),
    ("tensor name no text", "logits: expected a string", put("variants", 0, "outputs", "logits", value=0)),
    ("other name", "name is 'x', but contract.model.name", put("name", value="x")),
    ("other version", "version is '9.9.9', but contract", put("version", value="9.9.9")),
    ("contract no object", "contract: expected an object", put("contract", value=[])),
    ("contract empty", "the key 'inputs' is missing", put("contract", value={})),
    (
        "contract input broken",
        "inputs.0..dtype: expected one of uint8",
        put("contract", "inputs", 0, "dtype", value="str"),
    ),
    (
        "contract input shape",
        "inputs.0..shape: expected",
        put("contract", "inputs", 0, "shape", value=[1 << 40, 1 << 40]),
    ),
    ("contract input no table", r"inputs.0.: expected a table", put("contract", "inputs", 0, value="waveform")),
    ("contract without inputs", "inputs: expected 1 to 256, found 0", put("contract", "inputs", value=[])),
    (
        "contract with many outputs",
        "outputs: expected 1 to 256, found 9999",
        put("contract", "outputs", value=[{}] * 9999),
    ),
    ("contract label missing", "labels: expected 2 labels", drop("contract", "outputs", 1, "labels")),
    ("member unlisted", "not listed: card.md", drop("members", 0)),
    ("member missing", "missing: a.md; not listed: card.md", put("members", 0, "name", value="a.md")),
    ("member listed twice", "must list each member once", first_member_twice),
    ("size of another", r"is \('card.md', 11\)", put("members", 0, "size_bytes", value=11)),
]:
    attack(f"manifest: {title}", FORMAT, message, lambda kit, edit=edit: kit.edited(edit))

attack(
    "manifest: contract altered",
    FORMAT,
    "but the contract hashes to",
    lambda kit: kit.text(kit.json.replace(b"Hears whether", b"Knows whether")),
)
attack(
    "manifest: hash of another content",
    INTEGRITY,
    r"card\.md was altered: expected SHA-256 0+, found",
    lambda kit: kit.edited(put("members", 0, "sha256", value="0" * 64)),
)


def open_and_verify(path):
    with Bundle.open(path) as bundle:
        bundle.verify()


def test_a_writer_of_another_make_gives_the_same_bytes(sample, kit):
    assert kit.packed() == sample.content


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.name)
def test_attack_is_refused(case, kit, tmp_path):
    path = tmp_path / "hostile.edgeml"
    path.write_bytes(case.build(kit))
    tracemalloc.start()
    try:
        with pytest.raises(BundleError, match=case.message) as caught:
            open_and_verify(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(caught.value) is case.error
    assert str(path) in str(caught.value)
    assert peak_bytes < 30 * path.stat().st_size + 100_000


def test_attacks_have_names_of_their_own():
    assert len({case.name for case in ATTACKS}) == len(ATTACKS)


def test_keys_of_a_later_minor_addition_are_ignored(sample, kit, tmp_path):
    path = tmp_path / "newer.edgeml"
    path.write_bytes(kit.edited(lambda document: document.update(x_note="new", zone={"a": [1]})))
    with Bundle.open(path) as bundle:
        assert bundle.manifest == sample.manifest
