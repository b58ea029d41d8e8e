"""Small bundles around the model files in ``data/models`` (``data/make_models.py`` makes those)."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

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
    TargetKind,
    TargetSpec,
)
from edgeml_runtime.golden import GoldenCase, GoldenSet, golden_members
from edgeml_runtime.manifest import ModelFormat, Variant
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec

MODELS = Path(__file__).parent / "data" / "models"

BACKEND_OF = {"onnx": "onnxruntime", "ort": "onnxruntime", "tflite": "litert"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A contract's tensors and what they are called in the model file."""

    file: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    tensors: dict[str, str]


def make_input(name, dtype, shape, range_, **more):
    return InputSpec(name=name, dtype=DType(dtype), shape=shape, range=range_, unit="V", source="probe", **more)


def make_output(name, shape, *, labels=(), role=None):
    role = role or (OutputRole.SCORES if labels else OutputRole.VALUE)
    return OutputSpec(name=name, dtype=DType.FLOAT32, shape=shape, role=role, labels=labels)


def letters(count):
    return tuple("abcdefghijklmnop"[:count])


KINDS = {
    "scores": Kind(
        file="scores",
        inputs=(make_input("x", "float32", (16,), (-10, 10)),),
        outputs=(make_output("scores", (16,), labels=letters(16)),),
        tensors={"x": "features", "scores": "probabilities"},
    ),
    "widen": Kind(
        file="widen",
        inputs=(make_input("x", "int16", (16,), (-32768, 32767)),),
        outputs=(make_output("scores", (16,), labels=letters(16)),),
        tensors={"x": "samples", "scores": "wide"},
    ),
    "values": Kind(
        file="widen",
        inputs=(make_input("x", "int16", (16,), (-100, 100)),),
        outputs=(make_output("wide", (16,)),),
        tensors={"x": "samples", "wide": "wide"},
    ),
    "two": Kind(
        file="two",
        inputs=(
            make_input("pressure", "float32", (4,), (-100, 100), allow_missing=True),
            make_input("counts", "int32", (2,), (0, 1000)),
        ),
        outputs=(make_output("scores", (4,), labels=letters(4)), make_output("total", (4,))),
        tensors={"pressure": "left", "counts": "right", "scores": "probabilities", "total": "total"},
    ),
    "lookup": Kind(
        file="lookup",
        inputs=(make_input("row", "int32", (1,), (0, 1000)),),
        outputs=(make_output("scores", (4,), labels=letters(4)),),
        tensors={"row": "row", "scores": "probabilities"},
    ),
    "pixels": Kind(
        file="pixels",
        inputs=(
            make_input("image", "uint8", (4, 4, 1), (0, 255), loader=LoaderSpec(name="image", version=1, options={})),
        ),
        outputs=(make_output("scores", (4,), labels=letters(4)),),
        tensors={"image": "pixels", "scores": "probabilities"},
    ),
    "mixed": Kind(
        file="mixed",
        inputs=(make_input("a", "uint8", (4,), (0, 255)), make_input("b", "int32", (4,), (-1000, 1000))),
        outputs=(make_output("total", (4,)), make_output("same", (4,))),
        tensors={"a": "left", "b": "right", "total": "total", "same": "same"},
    ),
}
KINDS["signed"] = replace(KINDS["pixels"], file="signed")
KINDS["batch"] = replace(KINDS["scores"], file="batch")
KINDS["half_open"] = replace(KINDS["scores"], file="half_open")
KINDS["first_only"] = replace(KINDS["scores"], file="first_only")


def make_contract(kind):
    return Contract(
        name="probe",
        version="1.0.0",
        description="For tests.",
        inputs=kind.inputs,
        outputs=kind.outputs,
        target=TargetSpec(name="letter", kind=TargetKind.CLASSIFICATION),
        metric=MetricSpec(primary=MetricName.ACCURACY, floor=0.5),
        slices=SliceRules(),
        group=None,
        export=ExportRules(),
        gate=GateRules(),
        budgets=(),
        telemetry=(),
    )


def make_variant(kind, variant_id):
    format_, _, precision = variant_id.partition("-")
    return Variant(
        id=variant_id,
        file=f"variants/{variant_id}.{format_}",
        format=ModelFormat(format_),
        precision=precision,
        backend=BACKEND_OF[format_],
        min_backend_version="1.0",
        requires_isa=(),
        inputs={spec.name: kind.tensors[spec.name] for spec in kind.inputs},
        outputs={spec.name: kind.tensors[spec.name] for spec in kind.outputs},
        weight_bytes=0,
        metrics={},
        parity={},
    )


@pytest.fixture(scope="session")
def kinds():
    """Name → the tensors of a contract and of the model file behind it."""
    return KINDS


@pytest.fixture(scope="session")
def model_bytes():
    """Content of a model file by its name, such as ``"scores.onnx"``."""
    return lambda name: (MODELS / name).read_bytes()


@pytest.fixture
def eager_threads():
    """Threads that take turns as often as they can, so that what is not thread-safe shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def bundle_of(tmp_path):
    """Write a bundle of one kind; variants and members can be changed before."""

    def write(kind, *ids, change=None, members=None, golden=None, contract=None):
        kind = KINDS[kind] if isinstance(kind, str) else kind
        ids = ids or ("onnx-fp32", "tflite-fp32")
        variants = [make_variant(kind, variant_id) for variant_id in ids]
        if change:
            variants = [replace(variant, **change.get(variant.id, {})) for variant in variants]
        contents = {variant.file: (MODELS / f"{kind.file}.{variant.format.value}").read_bytes() for variant in variants}
        contents |= golden or {}
        contents |= members or {}
        path = tmp_path / "probe-1.0.0.edgeml"
        write_bundle(path, contract=contract or make_contract(kind), variants=variants, members=contents)
        return path

    return write


@pytest.fixture
def pixels_golden():
    """Golden members for the kind ``pixels``: two cases, the second one with a PNG file."""

    def make(ids, *, expected=None, file=None, tolerance=1e-6):
        images = [np.zeros((4, 4, 1), np.uint8), (np.arange(16, dtype=np.uint8) * 16).reshape(4, 4, 1)]
        cases = []
        for number, image in enumerate(images):
            rows = image.astype(np.float32).reshape(4, 4).sum(axis=-1) / 255
            scores = np.exp(rows) / np.exp(rows).sum()
            given = expected if expected is not None and number == 1 else scores
            cases.append(
                GoldenCase(
                    name=f"case-{number}",
                    inputs={"image": image},
                    expected={variant: {"scores": given.astype(np.float32)} for variant in ids},
                    file="ramp.png" if number == 1 and file is not None else None,
                    file_input="image" if number == 1 and file is not None else None,
                )
            )
        golden = GoldenSet(cases=tuple(cases), tolerances={variant: {"scores": tolerance} for variant in ids})
        return golden_members(golden, {"ramp.png": file} if file is not None else {})

    return make


@pytest.fixture
def scored_bundle(bundle_of):
    """Write a bundle of the kind ``scores`` with three golden cases; ``off`` moves what a case expects."""

    def write(*ids, off=None, tolerance=1e-5, change=None):
        ids = ids or ("onnx-fp32",)
        cases = []
        for number in range(3):
            x = np.linspace(-1, number, 16, dtype=np.float32)
            scores = np.exp(x) / np.exp(x).sum()
            scores[0] += (off or {}).get(f"case-{number}", 0)
            cases.append(
                GoldenCase(
                    name=f"case-{number}",
                    inputs={"x": x},
                    expected={variant: {"scores": scores.astype(np.float32)} for variant in ids},
                )
            )
        golden = GoldenSet(cases=tuple(cases), tolerances={variant: {"scores": tolerance} for variant in ids})
        return bundle_of("scores", *ids, golden=golden_members(golden, {}), change=change)

    return write
