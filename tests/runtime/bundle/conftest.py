"""A small bundle and its parts, and a ZIP writer that can break every rule, for the tests of the format."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import zlib
from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract import (
    Contract,
    ExportRules,
    GateRules,
    MetricName,
    MetricSpec,
    SliceRules,
    Statistic,
    TargetKind,
    TargetSpec,
    TelemetryFeature,
)
from edgeml_runtime.golden import GoldenCase, GoldenSet, golden_members
from edgeml_runtime.histograms import feature_values, histogram, histograms_member
from edgeml_runtime.manifest import Manifest, ModelFormat, Variant
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a bundle is made from, and the bundle."""

    contract: Contract
    variants: tuple[Variant, ...]
    golden: GoldenSet
    members: dict[str, bytes]
    manifest: Manifest
    content: bytes


def make_contract() -> Contract:
    return Contract(
        name="door-bell",
        version="1.2.0",
        description="Hears whether the bell rings.",
        inputs=(
            InputSpec(
                name="waveform",
                dtype=DType.INT16,
                shape=(6,),
                range=(-32768, 32767),
                unit="PCM sample",
                source="microphone",
                loader=LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 8000}),
            ),
            InputSpec(
                name="pressure",
                dtype=DType.FLOAT32,
                shape=(2, 1),
                range=(0, 200),
                unit="kPa",
                source="sensor",
                allow_missing=True,
            ),
        ),
        outputs=(
            OutputSpec(name="logits", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.LOGITS),
            OutputSpec(name="scores", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.SCORES, labels=("no", "ja, ü")),
        ),
        target=TargetSpec(name="bell", kind=TargetKind.CLASSIFICATION),
        metric=MetricSpec(primary=MetricName.ACCURACY, floor=0.9),
        slices=SliceRules(),
        group=None,
        export=ExportRules(),
        gate=GateRules(),
        budgets=(),
        telemetry=(
            TelemetryFeature(
                name="input_rms", tensor="waveform", statistic=Statistic.RMS, edges=(0.0, 10.0, 100.0, 1000.0)
            ),
        ),
    )


def make_variant(id_: str) -> Variant:
    format_, _, precision = id_.partition("-")
    return Variant(
        id=id_,
        file=f"variants/{id_}.{format_}",
        format=ModelFormat(format_),
        precision=precision,
        backend={"onnx": "onnxruntime", "tflite": "litert"}[format_],
        min_backend_version="1.17",
        requires_isa=("avx512_vnni",) if id_ == "onnx-int8" else (),
        inputs={"waveform": "waveform:0", "pressure": "pressure:0"},
        outputs={"logits": "Identity", "scores": "Identity_1"},
        weight_bytes=40,
        metrics={"name": "accuracy", "value": 0.975, "n": 200, "slices": [{"name": "speaker=theo", "value": 0.9}]},
        parity={"max_abs": 1.5e-06, "of_std": None},
    )


def make_golden(variants: tuple[Variant, ...]) -> GoldenSet:
    rng = np.random.default_rng(7)

    def outputs() -> dict[str, np.ndarray]:
        return {name: rng.random(2, dtype=np.float32) for name in ("logits", "scores")}

    cases = tuple(
        GoldenCase(
            name=f"case-{number}",
            inputs={
                "waveform": rng.integers(-500, 500, 6).astype(np.int16),
                "pressure": np.array([[101.3], [np.nan]], np.float32),
            },
            expected={variant.id: outputs() for variant in variants},
            file="ring tone.wav" if number == 1 else None,
            file_input="waveform" if number == 1 else None,
        )
        for number in range(2)
    )
    tolerances = {variant.id: {"logits": 0.001, "scores": 0.0005} for variant in variants}
    return GoldenSet(cases=cases, tolerances=tolerances)


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Sample:
    contract = make_contract()
    variants = (make_variant("onnx-int8"), make_variant("onnx-fp32"))
    golden = make_golden(variants)
    waveforms = np.stack([case.inputs["waveform"] for case in golden.cases])
    members = {
        "variants/onnx-int8.onnx": b"int8 model",
        "variants/onnx-fp32.onnx": b"fp32 model" * 3,
        "card.md": b"# door-bell\n",
        "reference/histograms.json": histograms_member(
            histogram(feature, feature_values(feature, waveforms)) for feature in contract.telemetry
        ),
        **golden_members(golden, {"ring tone.wav": b"RIFF0000WAVE"}),
    }
    path = tmp_path_factory.mktemp("sample") / "door-bell-1.2.0.edgeml"
    manifest = write_bundle(path, contract=contract, variants=variants, members=members)
    return Sample(
        contract=contract,
        variants=variants,
        golden=golden,
        members=members,
        manifest=manifest,
        content=path.read_bytes(),
    )


@pytest.fixture
def bundle_file(sample, tmp_path):
    """A fresh copy of the sample bundle, to be changed at will."""
    path = tmp_path / "door-bell-1.2.0.edgeml"
    path.write_bytes(sample.content)
    return path


@dataclass(frozen=True, kw_only=True)
class RawMember:
    """One member with everything that its two headers can say; None means the right value."""

    name: bytes
    data: bytes
    crc: int | None = None
    size: int | None = None
    stored: int | None = None
    offset: int | None = None
    method: int = 0
    flags: int = 0
    needed: int = 10
    made_by: int = 20
    time: int = 0
    date: int = 0x21
    attributes: int = 0
    local_name: bytes | None = None
    local_extra: bytes = b""
    central_extra: bytes = b""
    comment: bytes = b""
    in_directory: bool = True


@dataclass(frozen=True, kw_only=True)
class RawEnd:
    """The end of central directory record; None means the right value."""

    disk: int = 0
    count: int | None = None
    total: int | None = None
    size: int | None = None
    offset: int | None = None
    comment: bytes = b""


def given(value, right):
    return right if value is None else value


def pack(members: list[RawMember], end: RawEnd, gap: bytes = b"", before_end: bytes = b"") -> bytes:
    """Write a ZIP file; ``gap`` goes behind the first member, ``before_end`` in front of the last record."""
    body, directory = b"", b""
    for number, raw in enumerate(members):
        size = given(raw.size, len(raw.data))
        crc, stored = given(raw.crc, zlib.crc32(raw.data)), given(raw.stored, size)
        common = struct.pack("<5H3I", raw.needed, raw.flags, raw.method, raw.time, raw.date, crc, stored, size)
        lengths = struct.pack("<5H", len(raw.name), len(raw.central_extra), len(raw.comment), 0, 0)
        if raw.in_directory:
            directory += b"PK\1\2" + struct.pack("<H", raw.made_by) + common + lengths
            directory += struct.pack("<2I", raw.attributes, given(raw.offset, len(body)))
            directory += raw.name + raw.central_extra + raw.comment
        name = given(raw.local_name, raw.name)
        body += b"PK\3\4" + common + struct.pack("<2H", len(name), len(raw.local_extra)) + name + raw.local_extra
        body += raw.data + (gap if number == 0 else b"")
    count = sum(raw.in_directory for raw in members)
    record = struct.pack("<4s4H", b"PK\5\6", end.disk, 0, given(end.count, count), given(end.total, count))
    record += struct.pack("<2I", given(end.size, len(directory)), given(end.offset, len(body)))
    return body + directory + before_end + record + struct.pack("<H", len(end.comment)) + end.comment


class Kit:
    """The parts of the sample bundle, and ways to put them together wrongly."""

    def __init__(self, sample: Sample) -> None:
        self.content = sample.content
        self.manifest = json.loads(sample.content[43 : sample.content.index(b"PK\3\4", 4)])
        self.json = self.canonical(self.manifest)
        self._others = [RawMember(name=name.encode(), data=data) for name, data in sorted(sample.members.items())]

    @staticmethod
    def canonical(value: object) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def raws(self, manifest: bytes | None = None) -> list[RawMember]:
        """The members as they should be, but for the bytes of the manifest."""
        return [RawMember(name=b"manifest.json", data=given(manifest, self.json)), *self._others]

    def packed(self, members: list[RawMember] | None = None, *, gap=b"", before_end=b"", **end) -> bytes:
        """These members with fields of the end record changed."""
        return pack(given(members, self.raws()), RawEnd(**end), gap, before_end)

    def with_first(self, **fields) -> bytes:
        """The bundle with fields of ``manifest.json`` changed."""
        first, *others = self.raws()
        return self.packed([replace(first, **fields), *others])

    def with_last(self, **fields) -> bytes:
        """The bundle with fields of its last member changed."""
        *others, last = self.raws()
        return self.packed([*others, replace(last, **fields)])

    def text(self, manifest: bytes) -> bytes:
        """The bundle with these bytes as its manifest."""
        return self.packed(self.raws(manifest))

    def edited(self, edit) -> bytes:
        """The bundle with a changed manifest, in canonical JSON and with the right contract hash."""
        document = copy.deepcopy(self.manifest)
        edit(document)
        if "contract" in document:
            document["contract_sha256"] = hashlib.sha256(self.canonical(document["contract"])).hexdigest()
        return self.text(self.canonical(document))


@pytest.fixture(scope="session")
def kit(sample) -> Kit:
    return Kit(sample)
