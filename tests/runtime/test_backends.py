"""The backends on real model files."""

from __future__ import annotations

import importlib.machinery
import sys
import threading
import types

import numpy as np
import pytest

from edgeml_runtime.backends import BACKEND_FORMATS, BACKENDS, FORMAT_BACKENDS, installed_backend_version, load_backend
from edgeml_runtime.backends import onnxruntime as onnxruntime_backend
from edgeml_runtime.errors import BackendError, BackendFailedError, BackendMissingError
from edgeml_runtime.manifest import ModelFormat

SUFFIX = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite"}
TWO = {"inputs": ["left", "right"], "outputs": ["total", "probabilities"]}


@pytest.fixture(params=sorted(SUFFIX))
def name(request):
    return request.param


@pytest.fixture
def opened(model_bytes):
    """Load a model file into a backend."""

    def create(name, file, inputs, outputs, threads=None):
        content = model_bytes(f"{file}.{SUFFIX[name]}")
        return load_backend(name).create(content, input_names=inputs, output_names=outputs, threads=threads)

    return create


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def test_table():
    assert set(FORMAT_BACKENDS) == set(ModelFormat)
    assert set(BACKEND_FORMATS) == set(BACKENDS)
    assert all(form in BACKEND_FORMATS[backend] for form, backend in FORMAT_BACKENDS.items())
    for name in BACKENDS:
        assert load_backend(name).name == name
        version = installed_backend_version(name)
        assert version is not None
        assert version[0].isdigit()
        assert load_backend(name).installed_package() == load_backend(name).package


def test_unknown_backend():
    with pytest.raises(BackendMissingError, match="no backend 'tensorrt'; it has litert, onnxruntime, openvino;"):
        load_backend("tensorrt")


def test_tensors_are_found_by_name_in_any_order(opened, name):
    left, right = np.array([[1, 2, 3, 4]], np.float32), np.array([[10, 20]], np.int32)
    forward = opened(name, "two", ["left", "right"], ["total", "probabilities"])
    backward = opened(name, "two", ["right", "left"], ["probabilities", "total"])
    total, probabilities = forward.run([left, right])
    np.testing.assert_array_equal(total, left * 2 + 30)
    np.testing.assert_allclose(probabilities, softmax(left), rtol=1e-6)
    swapped = backward.run([right, left])
    np.testing.assert_array_equal(swapped[0], probabilities)
    np.testing.assert_array_equal(swapped[1], total)


def test_declared_tensors(opened, name):
    backend = opened(name, "two", TWO["inputs"], TWO["outputs"])
    assert [(t.name, t.dtype, t.shape) for t in backend.inputs] == [
        ("left", "float32", (1, 4)),
        ("right", "int32", (1, 2)),
    ]
    assert [(t.name, t.dtype, t.shape) for t in backend.outputs] == [
        ("total", "float32", (1, 4)),
        ("probabilities", "float32", (1, 4)),
    ]
    assert repr(backend.inputs[0]) == "'left' float32[1, 4]"


def test_tflite_tensors_by_their_own_names(opened, model_bytes):
    interpreter_class = __import__("edgeml_runtime.backends.litert", fromlist=["x"]).interpreter_class()
    interpreter = interpreter_class(model_content=model_bytes("scores.tflite"))
    inputs = [detail["name"] for detail in interpreter.get_input_details()]
    outputs = [detail["name"] for detail in interpreter.get_output_details()]
    assert inputs != ["features"]
    by_detail = opened("litert", "scores", inputs, outputs)
    by_signature = opened("litert", "scores", ["features"], ["probabilities"])
    x = np.linspace(0, 1, 16, dtype=np.float32)[None]
    np.testing.assert_array_equal(by_detail.run([x])[0], by_signature.run([x])[0])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["left", "wrong"], TWO["outputs"], "no input 'wrong'; its inputs are"),
        (TWO["inputs"], ["wrong"], "no output 'wrong'; its outputs are"),
        (["left"], TWO["outputs"], "takes the inputs .*, but the manifest names 'left'"),
    ],
)
def test_names_that_do_not_fit(opened, name, inputs, outputs, message):
    with pytest.raises(BackendFailedError, match=message):
        opened(name, "two", inputs, outputs)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_broken_file(name, content):
    with pytest.raises(BackendFailedError, match=rf"{name} [\d.]+ cannot load the model") as caught:
        load_backend(name).create(content, input_names=["x"], output_names=["y"], threads=None)
    assert caught.value.__cause__ is not None


def test_a_truncated_file(name, model_bytes):
    content = model_bytes(f"scores.{SUFFIX[name]}")
    with pytest.raises(BackendFailedError):
        load_backend(name).create(content[:-40], input_names=["x"], output_names=["y"], threads=None)


@pytest.mark.parametrize("name", ["litert", "onnxruntime"])
def test_a_failing_run_is_translated_and_the_next_one_works(opened, name):
    backend = opened(name, "lookup", ["row"], ["probabilities"])
    for _ in range(3):
        with pytest.raises(
            BackendFailedError, match=rf"{name} [\d.]+ failed while running the model: .*bounds"
        ) as caught:
            backend.run([np.array([[7]], np.int32)])
        assert caught.value.__cause__ is not None
        np.testing.assert_array_equal(backend.run([np.array([[2]], np.int32)])[0], [[0, 0, 1, 0]])


@pytest.mark.parametrize(
    "feeds",
    [
        [np.zeros((1, 15), np.float32)],
        [np.zeros((1, 1), np.float32)],
        [np.zeros(16, np.float32)],
        [np.zeros((1, 16), np.float64)],
        [],
        [np.zeros((1, 16), np.float32)] * 2,
    ],
    ids=["size", "broadcast", "rank", "dtype", "none", "two"],
)
@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["plain", "bound"])
def test_feeds_that_do_not_fit_never_give_a_result(opened, monkeypatch, name, feeds, limit):
    monkeypatch.setattr(onnxruntime_backend, "_BOUND_BYTES", limit)
    backend = opened(name, "scores", ["features"], ["probabilities"])
    with pytest.raises(BackendFailedError):
        backend.run(feeds)
    assert backend.run([np.zeros((1, 16), np.float32)])[0].shape == (1, 16)


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["plain", "bound"])
def test_outputs_and_inputs_share_no_memory(opened, model_bytes, monkeypatch, limit):
    monkeypatch.setattr(onnxruntime_backend, "_BOUND_BYTES", limit)
    backend = opened("onnxruntime", "echo", ["x"], ["x"])
    x = np.arange(16, dtype=np.float32)[None]
    first = backend.run([x])[0]
    x[:] = -1
    second = backend.run([x + 5])[0]
    np.testing.assert_array_equal(first, np.arange(16, dtype=np.float32)[None])
    np.testing.assert_array_equal(second, np.full((1, 16), 4, np.float32))


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["plain", "bound"])
@pytest.mark.parametrize("threads", [None, 2])
def test_bound_and_plain_runs_agree(opened, monkeypatch, limit, threads):
    monkeypatch.setattr(onnxruntime_backend, "_BOUND_BYTES", limit)
    backend = opened("onnxruntime", "two", TWO["inputs"], TWO["outputs"], threads=threads)
    left = np.array([[9, 1, 2, 3, 4, 9]], np.float32)[:, 1:5]
    right = np.array([[20, 10]], np.int32)[:, ::-1]
    left.setflags(write=False)
    total, probabilities = backend.run([left, right])
    np.testing.assert_array_equal(total, left * 2 + 30)
    np.testing.assert_allclose(probabilities, softmax(left), rtol=1e-6)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize(
    ("file", "inputs", "output"), [("widen", ["samples"], "wide"), ("two", TWO["inputs"], "total")]
)
def test_several_threads_at_once(opened, name, file, inputs, output):
    backend = opened(name, file, inputs, [output])
    wrong = []

    def work(number):
        feeds = [np.full(tensor.shape, number, tensor.dtype) for tensor in backend.inputs]
        expected = backend_alone[number]
        results = [backend.run(feeds)[0] for _ in range(500)]
        wrong.extend(number for result in results if not np.array_equal(result, expected))

    backend_alone = {
        number: backend.run([np.full(tensor.shape, number, tensor.dtype) for tensor in backend.inputs])[0]
        for number in range(8)
    }
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({array.tobytes() for array in backend_alone.values()}) == 8
    assert wrong == []


def test_a_bound_run_that_is_busy_falls_back_to_a_plain_one(opened, monkeypatch):
    monkeypatch.setattr(onnxruntime_backend, "allocate_lock", BusyLock)
    backend = opened("onnxruntime", "scores", ["features"], ["probabilities"])
    x = np.linspace(-1, 1, 16, dtype=np.float32)[None]
    np.testing.assert_allclose(backend.run([x])[0], softmax(x), rtol=1e-6)


class BusyLock:
    """A lock that another thread always holds."""

    def acquire(self, blocking):
        assert not blocking
        return False

    def release(self):
        raise AssertionError("released a lock that was not acquired")


def test_closed(opened, name):
    backend = opened(name, "scores", ["features"], ["probabilities"])
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match=r"closed; load it again with Model\.load"):
        backend.run([np.zeros((1, 16), np.float32)])


def hide(monkeypatch, *modules):
    for module in modules:
        for loaded in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, module, None)


def test_not_installed(monkeypatch):
    hide(monkeypatch, "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "tensorflow")
    assert installed_backend_version("onnxruntime") is None
    assert installed_backend_version("openvino") is None
    assert installed_backend_version("litert") is None


def test_tflite_runtime_stands_in(monkeypatch, model_bytes):
    from ai_edge_litert.interpreter import Interpreter as Real

    created = []

    class Interpreter(Real):
        def __init__(self, **options):
            created.append(options["num_threads"])
            super().__init__(**options)

    Interpreter.__module__ = "tflite_runtime.interpreter"
    for module in ("tflite_runtime", "tflite_runtime.interpreter"):
        fake = types.ModuleType(module)
        fake.__spec__ = importlib.machinery.ModuleSpec(module, None)
        fake.__version__ = "2.14.0"
        fake.Interpreter = Interpreter
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert installed_backend_version("litert") == "2.14.0"
    assert load_backend("litert").installed_package() == "tflite-runtime"
    backend = load_backend("litert").create(
        model_bytes("scores.tflite"), input_names=["features"], output_names=["probabilities"], threads=3
    )
    assert (backend.version, created) == ("2.14.0", [3])
