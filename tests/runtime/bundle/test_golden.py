"""Golden vectors: what is written is read back exactly, and what breaks the specification is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeml_runtime.bundle import Bundle, Limits
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.canonical import canonical_json
from edgeml_runtime.errors import BundleError, BundleFormatError, BundleLimitError, InputError
from edgeml_runtime.golden import GOLDEN_DATA, GOLDEN_FILES, GOLDEN_INDEX, golden_members, read_golden

FILES = {"ring tone.wav": b"RIFF0000WAVE"}


def reread(sample, tmp_path, limits=None, **members):
    path = tmp_path / "x.edgeml"
    members = {name: data for name, data in {**sample.members, **members}.items() if data is not None}
    write_bundle(path, contract=sample.contract, variants=sample.variants, members=members)
    with Bundle.open(path, limits=limits) as bundle:
        return read_golden(bundle)


def test_round_trip(sample, tmp_path):
    golden = reread(sample, tmp_path)
    assert golden.tolerances == sample.golden.tolerances
    assert [case.name for case in golden.cases] == ["case-0", "case-1"]
    for case, original in zip(golden.cases, sample.golden.cases, strict=True):
        for tensors, originals in [
            (case.inputs, original.inputs),
            *((case.expected[id_], original.expected[id_]) for id_ in original.expected),
        ]:
            assert tensors.keys() == originals.keys()
            for name, tensor in tensors.items():
                assert tensor.dtype == originals[name].dtype
                assert tensor.dtype.isnative
                np.testing.assert_array_equal(tensor, originals[name])
                with pytest.raises(ValueError, match="read-only"):
                    tensor[...] = 0


def test_file_of_a_case_keeps_its_content_under_a_portable_name(sample, bundle_file):
    with Bundle.open(bundle_file) as bundle:
        case = read_golden(bundle).cases[1]
        assert (case.file, case.file_input) == ("ring_tone.wav", "waveform")
        assert bundle.read(GOLDEN_FILES + case.file) == FILES["ring tone.wav"]


def test_layout_is_the_one_of_the_specification(sample):
    index = json.loads(sample.members[GOLDEN_INDEX])
    data = sample.members[GOLDEN_DATA]
    case = sample.golden.cases[1]
    place = index["cases"][1]["inputs"]["waveform"]
    assert place["dtype"] == "int16"
    assert place["shape"] == [6]
    raw = data[place["offset"] : place["offset"] + place["size_bytes"]]
    assert raw == b"".join(int(value).to_bytes(2, "little", signed=True) for value in case.inputs["waveform"])
    assert index["cases"][0]["inputs"]["pressure"]["offset"] == 0
    assert index["data_bytes"] == len(data)


@pytest.mark.parametrize(
    "twist",
    [
        lambda tensor: tensor.astype(tensor.dtype.newbyteorder(">")),
        lambda tensor: np.repeat(tensor, 2, axis=0)[::2],
        np.asfortranarray,
    ],
    ids=["big-endian", "strided", "Fortran order"],
)
def test_memory_layout_of_the_tensors_leaves_the_bytes_alone(sample, twist):
    cases = [
        replace(case, inputs={name: twist(tensor) for name, tensor in case.inputs.items()})
        for case in sample.golden.cases
    ]
    members = golden_members(replace(sample.golden, cases=tuple(cases)), FILES)
    assert members == {name: data for name, data in sample.members.items() if name.startswith("golden/")}


def test_file_names_stay_apart_and_become_portable(sample):
    names = ["a b.wav", "a_b.wav", "A_B.wav", "NUL.wav", "..", "ü.wav", "dir/x.wav", "y" * 300 + ".wav", ".hidden"]
    cases = tuple(
        replace(sample.golden.cases[1], name=f"case-{number}", file=name) for number, name in enumerate(names)
    )
    members = golden_members(replace(sample.golden, cases=cases), {name: name.encode() for name in names})
    index = json.loads(members[GOLDEN_INDEX])
    stored = [case["file"]["name"] for case in index["cases"]]
    assert len({name.lower() for name in stored}) == len(names)
    assert [members[GOLDEN_FILES + name] for name in stored] == [name.encode() for name in names]
    write_names = {GOLDEN_FILES + name: b"" for name in stored}
    assert write_names.keys() == {name for name in members if name.startswith(GOLDEN_FILES)}


def test_portable_names_are_names_a_bundle_holds(sample, tmp_path):
    names = ["NUL", "..", "con.wav", "x.", "/abs", "C:\\x.wav"]
    cases = tuple(replace(sample.golden.cases[1], name=name, file=name) for name in names)
    members = golden_members(replace(sample.golden, cases=cases), dict.fromkeys(names, b"RIFF"))
    others = {name: data for name, data in sample.members.items() if not name.startswith("golden/")}
    path = tmp_path / "x.edgeml"
    write_bundle(path, contract=sample.contract, variants=sample.variants, members={**others, **members})
    with Bundle.open(path) as bundle:
        assert len(read_golden(bundle).cases) == len(names)


def with_case(golden, **fields):
    return replace(golden, cases=(golden.cases[0], replace(golden.cases[1], **fields)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: replace(g, cases=()), "at least one case"),
        (lambda g: replace(g, cases=(g.cases[1], g.cases[1])), "a name of its own"),
        (lambda g: with_case(g, inputs={}), "expected the inputs"),
        (lambda g: with_case(g, expected={}), "expected the outputs of the tolerances"),
        (lambda g: with_case(g, file_input=None), "must be given together"),
        (lambda g: with_case(g, file="none.wav"), "content of 'none.wav'"),
        (lambda g: with_case(g, file_input="none"), "the input 'none' is missing"),
        (lambda g: with_case(g, file=None, file_input=None), "no case uses the files ring tone.wav"),
        (lambda g: with_case(g, inputs={n: t.astype(np.float64) for n, t in g.cases[1].inputs.items()}), "is float64"),
        (
            lambda g: with_case(
                g, expected={v: {n: t * np.nan for n, t in o.items()} for v, o in g.cases[1].expected.items()}
            ),
            "holds NaN or an infinity",
        ),
        (lambda g: replace(g, tolerances={v: dict.fromkeys(t, -1.0) for v, t in g.tolerances.items()}), "tolerance"),
        (lambda g: replace(g, tolerances={v: dict.fromkeys(t, np.nan) for v, t in g.tolerances.items()}), "tolerance"),
    ],
)
def test_what_cannot_be_a_golden_set_is_not_encoded(sample, change, message):
    with pytest.raises(InputError, match=message):
        golden_members(change(sample.golden), FILES)


def put(value, *path):
    def edit(index):
        *way, last = path
        for step in way:
            index = index[step]
        index[last] = value

    return edit


def drop(*path):
    def edit(index):
        *way, last = path
        for step in way:
            index = index[step]
        del index[last]

    return edit


FIRST = ("cases", 0, "inputs", "pressure")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put(2, "version"), "version: expected 1, found 2"),
        (put([], "cases"), "0 cases; expected 1 to"),
        (drop("cases"), "the key 'cases' is missing"),
        (put(3, "cases", 0), r"cases\[0\]: expected an object"),
        (put([3], "cases", 0), r"cases\[0\]: expected an object"),
        (put("case-1", "cases", 0, "name"), "the names of the cases must differ"),
        (drop("cases", 0, "inputs", "waveform"), "inputs: expected an object with the keys"),
        (put(4, "cases", 0, "inputs"), "inputs: expected an object"),
        (put(1, *FIRST, "offset"), "'offset': 0.* found .*'offset': 1"),
        (put(-8, *FIRST, "offset"), "found .*'offset': -8"),
        (put(1 << 60, *FIRST, "size_bytes"), "found"),
        (put([1 << 40, 1 << 40], *FIRST, "shape"), "found"),
        (put([2], *FIRST, "shape"), "found"),
        (put("object", *FIRST, "dtype"), "found .*'dtype': 'object'"),
        (put(True, *FIRST, "offset"), "offset: expected an integer"),
        (put(7, "data_bytes"), "the tensors take"),
        (drop("cases", 1), "the tensors take"),
        (drop("cases", 0, "expected", "onnx-fp32"), "one entry for each of"),
        (drop("cases", 0, "expected", "onnx-fp32", "logits"), "with the keys"),
        (drop("cases", 0, "file"), "the key 'file' is missing"),
        (put("x.wav", "cases", 0, "file"), "file: expected an object"),
        (put("../../card.md", "cases", 1, "file", "name"), r"expected a member 'golden/files/../../card\.md'"),
        (put("pressure", "cases", 1, "file", "input"), "an input with a loader, found 'pressure'"),
        (drop("tolerances", "onnx-int8"), "tolerances: expected an entry for each"),
        (drop("tolerances", "onnx-int8", "logits"), "onnx-int8: expected the keys"),
        (put(-0.1, "tolerances", "onnx-int8", "logits"), "must not be negative"),
        (put("0.1", "tolerances", "onnx-int8", "logits"), "logits: expected a number"),
    ],
)
def test_index_that_breaks_the_specification(sample, tmp_path, edit, message):
    index = json.loads(sample.members[GOLDEN_INDEX])
    edit(index)
    with pytest.raises(BundleError, match=message):
        reread(sample, tmp_path, **{GOLDEN_INDEX: canonical_json(index)})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({GOLDEN_INDEX: None}, r"expected a member 'golden/index\.json'"),
        ({GOLDEN_DATA: None}, r"expected a member 'golden/data\.bin'"),
        ({GOLDEN_DATA: b"short"}, r"reaches beyond the 5 bytes of golden/data\.bin"),
        ({GOLDEN_INDEX: b"[" * 99}, "nested more than 32"),
        ({GOLDEN_INDEX: b'{"version": 1}'}, "not canonical JSON"),
        ({GOLDEN_INDEX: b"[]"}, "expected an object"),
    ],
)
def test_members_that_break_the_specification(sample, tmp_path, members, message):
    with pytest.raises(BundleFormatError, match=message):
        reread(sample, tmp_path, **members)


def test_bytes_behind_the_last_tensor_are_refused(sample, tmp_path):
    with pytest.raises(BundleFormatError, match="the tensors take"):
        reread(sample, tmp_path, **{GOLDEN_DATA: sample.members[GOLDEN_DATA] + b"\0"})


def test_nan_is_refused_where_the_contract_allows_no_missing_values(sample, tmp_path):
    data = bytearray(sample.members[GOLDEN_DATA])
    place = json.loads(sample.members[GOLDEN_INDEX])["cases"][0]["expected"]["onnx-fp32"]["logits"]
    data[place["offset"] : place["offset"] + 4] = np.float32(np.nan).tobytes()
    with pytest.raises(BundleFormatError, match=r"logits: holds NaN"):
        reread(sample, tmp_path, **{GOLDEN_DATA: bytes(data)})


@pytest.mark.parametrize("limits", [Limits(max_golden_bytes=10), Limits(max_golden_cases=1)])
def test_limits_are_kept(sample, tmp_path, limits):
    with pytest.raises(BundleLimitError, match=r"at most|10 are allowed|2 cases; expected 1 to 1"):
        reread(sample, tmp_path, limits=limits)
