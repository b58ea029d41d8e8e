"""A tiny bundle that really runs, simulated machines, and a target that answers without measuring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgeml_devices.conditions import Conditions
from edgeml_devices.profile_files import load_profile
from edgeml_runtime.backends import load_backend
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.golden import GoldenCase, GoldenSet, golden_members
from edgeml_runtime.histograms import feature_values, histogram, histograms_member
from edgeml_runtime.machine import Machine
from edgeml_runtime.manifest import ModelFormat, Variant
from edgeml_runtime.measure.loop import Samples
from edgeml_runtime.measure.report import Measurement, Start, VariantMeasurement

MACHINES = {
    "pi 4": Machine(
        arch="aarch64",
        cpu="cortex-a72",
        board="Raspberry Pi 4 Model B Rev 1.4",
        cores=4,
        isa=("asimd", "crc32"),
        memory_bytes=3_976_000_000,
        clock_mhz=1800.0,
    ),
    "pi 5": Machine(
        arch="aarch64",
        cpu="cortex-a76",
        board="Raspberry Pi 5 Model B Rev 1.0",
        cores=4,
        isa=("asimd", "dotprod", "fp16"),
        memory_bytes=8_440_000_000,
        clock_mhz=2400.0,
    ),
    "pc": Machine(
        arch="x86_64",
        cpu="Intel(R) Core(TM) i5-8500",
        board=None,
        cores=6,
        isa=("avx2", "fma", "sse4_2"),
        memory_bytes=16_600_000_000,
        clock_mhz=4100.0,
    ),
}


@pytest.fixture
def machines():
    return dict(MACHINES)


@pytest.fixture
def pi_4():
    return load_profile("raspberry-pi-4b")


def contract_data(budgets=None):
    """A contract for the tiny model; ``budgets`` is the file's table."""
    return {
        "model": {"name": "tiny", "version": "1.0.0", "description": "Softmax of four numbers."},
        "inputs": [
            {
                "name": "x",
                "dtype": "float32",
                "shape": [4],
                "range": [-10.0, 10.0],
                "unit": "V",
                "source": "converter",
            }
        ],
        "outputs": [
            {"name": "scores", "role": "scores", "dtype": "float32", "shape": [4], "labels": ["a", "b", "c", "d"]}
        ],
        "target": {"name": "letter", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.5},
        "budgets": budgets or {},
    }


def tiny_onnx(batch=1):
    """Softmax over float32[batch, 4]; a text instead of a number leaves the dimension open."""
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["scores"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_variant(id_, **changes):
    values = {
        "id": id_,
        "file": f"variants/{id_}.onnx",
        "format": ModelFormat.ONNX,
        "precision": id_.partition("-")[2],
        "backend": "onnxruntime",
        "min_backend_version": "1.17",
        "requires_isa": (),
        "inputs": {"x": "x"},
        "outputs": {"scores": "scores"},
        "weight_bytes": 0,
        "metrics": {},
        "parity": {},
    }
    return Variant(**{**values, **changes})


@pytest.fixture
def make_bundle(tmp_path):
    """Writes a bundle with the given budgets and variants (id → content of the model file)."""

    def make(budgets=None, variants=None, changes=None):
        contract = parse_contract(contract_data(budgets), source="edgeml.toml")
        models = variants or {"onnx-fp32": tiny_onnx()}
        rng = np.random.default_rng(0)
        items = rng.uniform(-1, 1, (3, 4)).astype(np.float32)
        backend = load_backend("onnxruntime").create(tiny_onnx(), input_names=["x"], output_names=["scores"], threads=1)
        expected = [backend.run([item[None]])[0][0] for item in items]
        cases = tuple(
            GoldenCase(name=f"case-{number}", inputs={"x": item}, expected={id_: {"scores": scores} for id_ in models})
            for number, (item, scores) in enumerate(zip(items, expected, strict=True))
        )
        golden = GoldenSet(cases=cases, tolerances={id_: {"scores": 1e-4} for id_ in models})
        path = tmp_path / "tiny-1.0.0.edgeml"
        write_bundle(
            path,
            contract=contract,
            variants=[make_variant(id_, **(changes or {}).get(id_, {})) for id_ in models],
            members={
                "card.md": b"# tiny\n",
                "reference/histograms.json": histograms_member(
                    histogram(feature, feature_values(feature, items)) for feature in contract.telemetry
                ),
                **golden_members(golden, {}),
                **{f"variants/{id_}.onnx": content for id_, content in models.items()},
            },
        )
        return path

    return make


def make_samples(times_ms, rounds=10):
    """The given times over and over, as that many equal rounds."""
    times = np.array([round(value * 1e6) for value in times_ms], dtype=np.int64)
    return Samples(rounds_ns=(times,) * rounds, warmup_calls=20, steady=True)


def make_measured(id_, samples, *, starts_ms=(10.0,) * 6, rss_mb=(50.0,) * 6, threads=1, **changes):
    starts = tuple(
        Start(import_ms=total * 0.5, load_ms=total * 0.4, first_predict_ms=total * 0.1, peak_rss_bytes=round(rss * 1e6))
        for total, rss in zip(starts_ms, rss_mb, strict=True)
    )
    values = {
        "id": id_,
        "size_bytes": 1000,
        "backend": "onnxruntime",
        "backend_version": "1.32.0",
        "threads": threads,
        "samples": samples,
        "starts": starts,
    }
    return VariantMeasurement(**{**values, **changes})


class SimulatedWatch:
    """Sees the conditions it is given."""

    def __init__(self, conditions):
        self.conditions = conditions

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class SimulatedTarget:
    """A machine that measures what it is told; remembers the requests."""

    def __init__(self, machine, variants=(), auto_variant=None):
        self.machine = machine
        self.variants = tuple(variants)
        self.auto_variant = auto_variant
        self.conditions = Conditions(other_share=0.01)
        self.requests = []

    def probe(self):
        return self.machine

    def watch(self):
        return SimulatedWatch(self.conditions)

    def limit_memory(self, memory_bytes):
        return None

    def measure(self, request, *, variants, limit=None, progress):
        self.requests.append(request)
        measured = tuple(item for item in self.variants if request.variants is None or item.id in request.variants)
        assert len(measured) == variants
        return Measurement(machine=self.machine, auto_variant=self.auto_variant, variants=measured)


@pytest.fixture
def simulate():
    """Builds a :class:`SimulatedTarget` on a named machine."""

    def build(machine, *variants, auto_variant=None):
        auto = auto_variant or (variants[0].id if variants else None)
        return SimulatedTarget(MACHINES[machine], variants, auto)

    return build


@pytest.fixture
def samples():
    return make_samples


@pytest.fixture
def measured():
    return make_measured


@pytest.fixture
def model_content():
    return tiny_onnx()


@pytest.fixture
def model_file(tmp_path):
    """Writes the tiny model as a bare file; the batch dimension stays open."""

    def write(name="tiny.onnx", content=None):
        path = tmp_path / name
        path.write_bytes(tiny_onnx("batch") if content is None else content)
        return path

    return write


def _make_python(folder, packages):
    """A Python with these packages only."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in packages:
        installed = Path(package.__file__).parent
        for entry in installed.parent.glob(f"{installed.name}*"):
            (site / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def make_python():
    """Makes a Python with some packages only."""
    return _make_python


@pytest.fixture(scope="session")
def device_python(tmp_path_factory):
    """A Python with numpy and ONNX Runtime, and nothing of edgeml."""
    return _make_python(tmp_path_factory.mktemp("python") / "device", [np, onnxruntime])


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """A Python without any package."""
    return _make_python(tmp_path_factory.mktemp("python") / "bare", [])


@pytest.fixture(scope="session")
def numpy_python(tmp_path_factory):
    """A Python with numpy and no backend."""
    return _make_python(tmp_path_factory.mktemp("python") / "numpy", [np])
