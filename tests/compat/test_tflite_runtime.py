"""Every shipped TFLite variant in tflite-runtime 2.14, in an environment of its own (``make tflite-test`` makes it).

tflite-runtime needs numpy < 2, so a child process runs the bundle there. What it answers is compared with what
ai-edge-litert answers here.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeml_export import KNOWN_VARIANTS, export_bundle
from edgeml_runtime import Model
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.golden import read_golden
from edgeml_runtime.manifest import ModelFormat

TESTS = Path(__file__).resolve().parents[1]
THERE = TESTS.parent / ".venv-tflite" / "bin" / "python"
PACKAGE = "tflite-runtime"

pytestmark = pytest.mark.skipif(not THERE.exists(), reason="no .venv-tflite: make tflite-test makes it, on Python 3.11")

VARIANTS = [spec.id for spec in KNOWN_VARIANTS.values() if spec.format is ModelFormat.TFLITE]


def load_module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A small model, trained for a moment, in every variant of TFLite there is."""
    tiny = load_module("tiny_model", TESTS / "export" / "tiny_model.py")
    train, test = tiny.make_items(160, seed=1), tiny.make_items(101, seed=2)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = tiny.TinyFused()
    waveforms, targets = torch.from_numpy(train.inputs["waveform"]), torch.from_numpy(train.targets)
    model.features.fit(waveforms)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(waveforms)["logits"], targets).backward()
        optimizer.step()
    data = tiny.contract_data()
    data["export"] = {"variants": VARIANTS, "required": VARIANTS}
    path = tmp_path_factory.mktemp("compat") / "tiny-1.0.0.edgeml"
    report = export_bundle(
        model, contract=parse_contract(data, source="test"), calibration=train, test=test, out=path, card="# tiny\n"
    )
    assert report.ok, [variant.reason for variant in report.variants]
    return SimpleNamespace(path=path, items=test.inputs["waveform"])


@pytest.fixture(scope="module")
def there(bundle, tmp_path_factory):
    """What the environment of tflite-runtime answers to the bundle."""
    folder = tmp_path_factory.mktemp("there")
    np.savez(folder / "items.npz", waveform=bundle.items)
    command = [THERE, Path(__file__).with_name("run_bundle.py"), bundle.path, folder / "items.npz", folder, *VARIANTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, **json.loads(done.stdout))


def variant_of(bundle, variant_id):
    with Bundle.open(bundle.path) as opened:
        return next(variant for variant in opened.manifest.variants if variant.id == variant_id)


def test_it_is_tflite_runtime(there):
    assert (there.package, there.version) == (PACKAGE, "2.14.0")


def answers(bundle, there, variant_id):
    """Outputs on the test items, here and there: output → [n, *shape]."""
    variant = variant_of(bundle, variant_id)
    with Model.load(bundle.path, variant=variant.id) as model:
        results = [result.outputs for result in model.predict_batch(bundle.items)]
    with np.load(there.folder / f"{variant_id}.npz") as found:
        return {name: np.stack([result[name] for result in results]) for name in results[0]}, dict(found)


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_a_variant_gives_the_same_answers_there_or_is_refused_with_a_reason(bundle, there, variant_id):
    answer, reason = there.variants[variant_id], variant_of(bundle, variant_id).refused_by.get(PACKAGE)
    if reason is not None:
        message = f"{variant_id}: is known to be wrong with {PACKAGE}: {reason}; pip install ai-edge-litert"
        assert message in answer["error"]
        return
    assert answer["passed"], answer
    here, found = answers(bundle, there, variant_id)
    with Bundle.open(bundle.path) as opened:
        tolerances = read_golden(opened).tolerances[variant_id]
    for name, tolerance in tolerances.items():
        assert np.abs(found[name] - here[name]).max() <= tolerance
    assert (found["logits"].argmax(axis=1) == here["logits"].argmax(axis=1)).all()


def test_only_dynamic_ranges_are_refused_and_they_are_wrong(bundle, there):
    refused = [variant_id for variant_id in VARIANTS if PACKAGE in variant_of(bundle, variant_id).refused_by]
    assert refused == ["tflite-int8-dynamic"]
    here, found = answers(bundle, there, "tflite-int8-dynamic")
    assert (found["logits"].argmax(axis=1) == here["logits"].argmax(axis=1)).mean() < 0.8


def test_encoded_inputs_work_there():
    """The runtime's own tests of them, on the interpreter of tflite-runtime; ONNX Runtime is not installed there."""
    command = [THERE, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / "runtime" / "test_model_encoded.py"]
    done = subprocess.run([*command, "-k", "not encodes_nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 passed, 1 deselected" in done.stdout
