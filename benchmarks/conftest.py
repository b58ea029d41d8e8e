"""Bundles for the benchmarks: one-node models of the runtime's tests, those of ``bundles.py``, any ``--bundle``.

The scripts of this folder import one another by their bare names, as Python does for a script; the tests do as well.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
from edgeml_runtime.manifest import ModelFormat, Variant
from edgeml_runtime.measure.subject import bundle_subject
from edgeml_runtime.tensors import DType, InputSpec, OutputRole, OutputSpec

sys.path.insert(0, str(Path(__file__).parent))
bundles = importlib.import_module("bundles")

MODELS = Path(__file__).parent.parent / "tests" / "runtime" / "data" / "models"
LABELS = tuple("abcdefghijklmnop")
BACKENDS = {ModelFormat.ONNX: "onnxruntime", ModelFormat.TFLITE: "litert"}


@dataclass(frozen=True, kw_only=True)
class OneNode:
    """A model of one node with 16 values in and out, in both formats."""

    file: str
    dtype: DType
    range: tuple[float, float]
    input_tensor: str
    output_tensor: str


ONE_NODE = {
    "float32": OneNode(
        file="scores",
        dtype=DType.FLOAT32,
        range=(-10, 10),
        input_tensor="features",
        output_tensor="probabilities",
    ),
    "int16 of full range": OneNode(
        file="widen",
        dtype=DType.INT16,
        range=(-32768, 32767),
        input_tensor="samples",
        output_tensor="wide",
    ),
}


def pytest_addoption(parser):
    parser.addoption(
        "--bundle", action="append", default=[], help="also measure this bundle, which has golden vectors; repeatable"
    )
    parser.addoption("--bar", action="store_true", help="fail where our path misses its bar beside the peers")


def _contract(model: OneNode) -> Contract:
    x = InputSpec(name="x", dtype=model.dtype, shape=(16,), range=model.range, unit="V", source="probe")
    scores = OutputSpec(name="scores", dtype=DType.FLOAT32, shape=(16,), role=OutputRole.SCORES, labels=LABELS)
    return Contract(
        name="one-node",
        version="1.0.0",
        description="One node.",
        inputs=(x,),
        outputs=(scores,),
        target=TargetSpec(name="letter", kind=TargetKind.CLASSIFICATION),
        metric=MetricSpec(primary=MetricName.ACCURACY, floor=0.5),
        slices=SliceRules(),
        group=None,
        export=ExportRules(),
        gate=GateRules(),
        budgets=(),
        telemetry=(),
    )


def _variant(model: OneNode, model_format: ModelFormat) -> Variant:
    return Variant(
        id=f"{model_format.value}-fp32",
        file=f"variants/{model_format.value}-fp32.{model_format.value}",
        format=model_format,
        precision="fp32",
        backend=BACKENDS[model_format],
        min_backend_version="1.0",
        requires_isa=(),
        inputs={"x": model.input_tensor},
        outputs={"scores": model.output_tensor},
        weight_bytes=0,
        metrics={},
        parity={},
    )


@pytest.fixture(scope="session")
def one_node(tmp_path_factory):
    """Name → path of a bundle with a model of one node in both formats."""
    paths = {}
    for name, model in ONE_NODE.items():
        variants = [_variant(model, model_format) for model_format in BACKENDS]
        members = {v.file: (MODELS / f"{model.file}.{v.format.value}").read_bytes() for v in variants}
        paths[name] = tmp_path_factory.mktemp("one-node") / "one-node-1.0.0.edgeml"
        write_bundle(paths[name], contract=_contract(model), variants=variants, members=members)
    return paths


@pytest.fixture(scope="session")
def made_bundle():
    """Name of a template or of a network of the zoo → its bundle, made on first use and kept in ``.build/bench``."""

    def make(name):
        reference = bundles.REFERENCES.get(name)
        if reference is not None and reference.data is not None and not reference.data.is_dir():
            pytest.skip(f"needs the data of {name}; runs where {reference.variable} names their folder")
        path = bundles.bundle_path(name)
        if not path.is_file():
            command = [sys.executable, bundles.__file__, name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert path.is_file(), f"{name} could not be made: {done.stderr[-2000:]}"
        return path

    return make


@pytest.fixture
def time_prediction(benchmark):
    """Times ``Model.predict(x).label`` of one variant on its golden inputs in turn: checks, backend, label."""

    def time_it(path, variant):
        subject = bundle_subject(str(path), variant, threads=1)
        benchmark.group = path.name
        benchmark.extra_info.update(
            variant=variant, backend=subject.backend, backend_version=subject.backend_version, threads=subject.threads
        )
        try:
            benchmark(subject.run)
        finally:
            subject.close()

    return time_it


@pytest.fixture(scope="session")
def given_bundles(request):
    """Paths given with ``--bundle``."""
    return [Path(path) for path in request.config.getoption("--bundle")]


@pytest.fixture
def show(capsys):
    """Print a line although pytest captures output."""

    def write(line):
        with capsys.disabled():
            print(line)

    return write
