"""What is particular to OpenVINO: float32 arithmetic, no telemetry, no pinned threads, its narrow integers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import edgeml_runtime
from edgeml_runtime import BackendFailedError, Model
from edgeml_runtime.backends import load_backend
from edgeml_runtime.manifest import InputEncoding

PACKAGE = Path(edgeml_runtime.__file__).parent


@pytest.fixture
def opened(model_bytes):
    def create(file, inputs, outputs, threads=None, **more):
        content = model_bytes(f"{file}.onnx")
        return load_backend("openvino").create(
            content, input_names=inputs, output_names=outputs, threads=threads, **more
        )

    return create


def test_sums_are_those_of_float32(opened, model_bytes):
    """The default is bfloat16 on CPUs that have it, which is off by a hundredth here."""
    x = np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32)
    expected = load_backend("onnxruntime").create(
        model_bytes("product.onnx"), input_names=["features"], output_names=["sums"], threads=1
    )
    found = opened("product", ["features"], ["sums"]).run([x])[0]
    np.testing.assert_allclose(found, expected.run([x])[0], atol=2e-5)


@pytest.mark.parametrize("threads", [None, 2])
def test_feeds_of_any_layout(opened, threads):
    backend = opened("two", ["left", "right"], ["total"], threads)
    left = np.array([[9, 1, 2, 3, 4, 9]], np.float32)[:, 1:5]
    right = np.array([[20, 10]], np.int32)[:, ::-1]
    left.setflags(write=False)
    np.testing.assert_array_equal(backend.run([left, right])[0], left * 2 + 30)


@pytest.mark.parametrize(
    ("file", "names"), [("echo", ("x", "x")), ("batch", ("features", "probabilities"))], ids=["fixed", "open"]
)
def test_outputs_and_inputs_share_no_memory(opened, file, names):
    backend = opened(file, [names[0]], [names[1]])
    x = np.zeros((1, 16), np.float32)
    x[0, 3] = 9
    first = backend.run([x])[0]
    kept = first.copy()
    x[:] = -1
    second = backend.run([x])[0]
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)
    second[:] = 7
    assert not np.array_equal(backend.run([x])[0], second)


def test_an_open_batch_takes_any_number_of_items_and_nothing_else(opened):
    backend = opened("batch", ["features"], ["probabilities"])
    assert backend.inputs[0].shape == backend.outputs[0].shape == (None, 16)
    for count in (3, 1, 5):
        assert backend.run([np.ones((count, 16), np.float32)])[0].shape == (count, 16)
    for wrong in (np.ones((2, 15), np.float32), np.ones((2, 16)), np.ones(16, np.float32)):
        with pytest.raises(BackendFailedError, match="failed while running the model"):
            backend.run([wrong])


def test_integers_that_it_narrows_are_refused(opened):
    with pytest.raises(BackendFailedError, match=r"openvino computes int64 in int32, .* 'count' int64\[1, 2\]; use"):
        opened("long", ["count"], ["next"])


def test_encoded_inputs_are_refused(opened):
    with pytest.raises(BackendFailedError, match="openvino takes no encoded inputs, found offset_binary"):
        opened("pixels", ["pixels"], ["probabilities"], encodings=[InputEncoding.OFFSET_BINARY])


def test_messages_are_those_of_the_library_without_its_source_lines():
    with pytest.raises(BackendFailedError) as caught:
        load_backend("openvino").declared(b"garbage")
    assert "Unable to read the model" in str(caught.value)
    assert ".cpp" not in str(caught.value)


SCRIPT = """
import json, os, sys
from pathlib import Path
reached = []
sys.addaudithook(lambda name, given: reached.append(name) if name.startswith("socket.connect") else None)
{before}
from edgeml_runtime import Model
import numpy as np
model = Model.load(sys.argv[1], backend="openvino")
label = model.predict(np.eye(16, dtype=np.float32)[5]).label
import openvino
print(json.dumps({{
    "label": label,
    "reached": reached,
    "telemetry": sorted(name for name in sys.modules if "telemetry" in name),
    "converter": "openvino.tools.ovc" in sys.modules,
    "left": sorted(str(path) for path in Path.home().rglob("*")),
}}))
"""


def load_in_a_process(path, home, before=""):
    env = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "HOME": str(home)}
    command = [sys.executable, "-c", SCRIPT.format(before=before), str(path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_nothing_is_reported_and_nothing_left_in_the_home_folder(scored_bundle, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    found = load_in_a_process(scored_bundle(), home)
    assert found == {"label": "f", "reached": [], "telemetry": [], "converter": False, "left": []}


def test_an_application_that_imported_it_before_keeps_its_own(scored_bundle, tmp_path):
    before = "sys.modules['openvino_telemetry'] = None\nimport openvino\nkept = openvino.convert_model"
    assert load_in_a_process(scored_bundle(), tmp_path / "none", before)["label"] == "f"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="asks Linux which cores a thread may use")
def test_the_calling_thread_is_not_pinned(opened):
    """Pinned, the runs of two processes would share the first core while others idle."""
    backend = opened("product", ["features"], ["sums"])
    x = np.ones((1, 64), np.float32)
    thread, allowed, seen, ended = threading.get_native_id(), os.sched_getaffinity(0), [], threading.Event()

    def watch():
        while not ended.wait(0.001):
            seen.append(os.sched_getaffinity(thread))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    while time.monotonic() - begun < 0.5:
        backend.run([x])
    ended.set()
    watcher.join()
    assert len(seen) > 20
    assert all(cores == allowed for cores in seen)


def test_a_model_on_it_predicts_batches(scored_bundle):
    items = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    with Model.load(scored_bundle()) as own, Model.load(scored_bundle(), backend="openvino") as other:
        found = other.predict_batch(items)
        for result, expected in zip(found, own.predict_batch(items), strict=True):
            assert result.label == expected.label
            np.testing.assert_allclose(result.outputs["scores"], expected.outputs["scores"], atol=1e-6)
