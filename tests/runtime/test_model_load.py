"""Choosing a variant, and every way in which a bundle cannot run."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime import (
    BackendFailedError,
    BackendMissingError,
    BackendUnsuitableError,
    Bundle,
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleLimitError,
    InputError,
    Limits,
    Model,
)
from edgeml_runtime.backends.litert import LiteRTBackend
from edgeml_runtime.open_session import open_backend

MODELS = Path(__file__).parent / "data" / "models"
TFLITE_MODULES = ("ai_edge_litert", "tflite_runtime", "tensorflow")


def hide(monkeypatch, *modules):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("order", [("onnx-fp32", "tflite-fp32"), ("tflite-fp32", "onnx-fp32")])
def test_auto_takes_the_first_of_the_manifest(bundle_of, order):
    with Model.load(bundle_of("scores", *order)) as model:
        assert model.variant.id == order[0]


def test_what_a_model_says_of_itself(bundle_of):
    path = bundle_of("scores")
    with Model.load(path, variant="onnx-fp32", threads=2) as model:
        assert model.bundle_path == str(path)
        assert (model.backend_name, model.threads) == ("onnxruntime", 2)
        assert model.backend_version == sys.modules["onnxruntime"].__version__
        assert model.manifest.inputs[0].name == "x"
        assert repr(model) == f"Model(probe 1.0.0, onnx-fp32, onnxruntime {model.backend_version})"
    with Model.load(str(path)) as model:
        assert model.threads == 1


@pytest.mark.parametrize("variant", ["onnx-fp32", "tflite-fp32"])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_threads_change_nothing_but_speed(bundle_of, variant, threads):
    with Model.load(bundle_of("scores"), variant=variant, threads=threads) as model:
        assert model.predict(np.eye(16, dtype=np.float32)[5]).label == "f"


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", True])
def test_bad_threads(bundle_of, threads):
    with pytest.raises(InputError, match="threads: expected an integer of at least 1 or None, found"):
        Model.load(bundle_of("scores"), threads=threads)


def test_unknown_variant(bundle_of):
    with pytest.raises(InputError, match="has no variant 'onnx-int4'; it has onnx-fp32, tflite-fp32, or use 'auto'"):
        Model.load(bundle_of("scores"), variant="onnx-int4")


def test_auto_passes_over_a_backend_that_is_not_installed(bundle_of, monkeypatch):
    path = bundle_of("scores")
    hide(monkeypatch, "onnxruntime")
    with Model.load(path) as model:
        assert model.variant.id == "tflite-fp32"
    with pytest.raises(BackendMissingError, match=r"onnx-fp32: .*not installed.*: pip install onnxruntime$"):
        Model.load(path, variant="onnx-fp32")


def test_no_backend_at_all(bundle_of, monkeypatch):
    path = bundle_of("scores")
    hide(monkeypatch, "onnxruntime", *TFLITE_MODULES)
    with pytest.raises(BackendMissingError) as caught:
        Model.load(path)
    message = str(caught.value)
    assert "none of its 2 variants can run here" in message
    assert "onnx-fp32: needs the backend onnxruntime, which is not installed" in message
    assert "pip install onnxruntime" in message
    assert "tflite-fp32: needs the backend litert, which is not installed" in message
    assert "pip install ai-edge-litert" in message


def test_a_backend_that_does_not_load(bundle_of, monkeypatch, tmp_path):
    """As tflite_runtime 2.14 with numpy 2, which raises SystemError."""
    path = bundle_of("scores", "tflite-fp32")
    hide(monkeypatch, "ai_edge_litert")
    package = tmp_path / "site" / "tflite_runtime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "interpreter.py").write_text("raise SystemError('initialization failed')")
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(
        BackendMissingError, match=r"installed but does not load \(SystemError: initialization failed\)"
    ):
        Model.load(path)
    sys.modules.pop("tflite_runtime", None)


def fake_release(monkeypatch, version):
    real = sys.modules.get("onnxruntime") or __import__("onnxruntime")
    fake = types.ModuleType("onnxruntime")
    fake.__dict__.update(real.__dict__)
    fake.__spec__ = importlib.machinery.ModuleSpec("onnxruntime", None)
    fake.__version__ = version
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)


@pytest.mark.parametrize(
    ("needs", "has", "runs"),
    [
        ("1.17", "1.17", True),
        ("1.17", "1.17.0", True),
        ("1.17.0", "1.17", True),
        ("1.17.1", "1.17.0", False),
        ("1.9", "1.10", True),
        ("1.10", "1.9.9", False),
        ("2", "1.99", False),
        ("1.17", "1.18.0rc1", True),
        ("1.18", "1.18.0.dev20240101", True),
    ],
)
def test_oldest_release(bundle_of, monkeypatch, needs, has, runs):
    change = {"onnx-fp32": {"min_backend_version": needs}}
    path = bundle_of("scores", change=change)
    fake_release(monkeypatch, has)
    with Model.load(path) as model:
        assert model.variant.id == ("onnx-fp32" if runs else "tflite-fp32")
    if not runs:
        with pytest.raises(
            BackendUnsuitableError, match=rf"needs onnxruntime {needs} or newer, found {has}: pip install"
        ):
            Model.load(path, variant="onnx-fp32")


def test_a_cpu_feature_that_is_missing(bundle_of):
    path = bundle_of("scores", change={"onnx-fp32": {"requires_isa": ("quantum", "warp")}})
    with Model.load(path) as model:
        assert model.variant.id == "tflite-fp32"
    with pytest.raises(
        BackendUnsuitableError, match=r"onnx-fp32: needs the CPU features quantum, warp.*lacks quantum, warp"
    ):
        Model.load(path, variant="onnx-fp32")


def test_a_cpu_feature_that_is_there(bundle_of, monkeypatch):
    monkeypatch.setattr("edgeml_runtime.isa.cpu_features", lambda: frozenset({"warp", "other"}))
    path = bundle_of("scores", change={"onnx-fp32": {"requires_isa": ("warp",)}})
    with Model.load(path) as model:
        assert model.variant.id == "onnx-fp32"


def test_nothing_suits(bundle_of):
    change = {"onnx-fp32": {"requires_isa": ("quantum",)}, "tflite-fp32": {"min_backend_version": "999"}}
    with pytest.raises(BackendUnsuitableError, match=r"(?s)quantum.*needs litert 999 or newer"):
        Model.load(bundle_of("scores", change=change))


def test_a_backend_of_a_newer_runtime(bundle_of):
    path = bundle_of("scores", change={"onnx-fp32": {"backend": "nextgen"}})
    with Model.load(path) as model:
        assert model.variant.id == "tflite-fp32"
    with pytest.raises(BackendMissingError, match=r"no backend 'nextgen'.*update edgeml-runtime"):
        Model.load(path, variant="onnx-fp32")


@pytest.mark.parametrize("variant", ["onnx-fp32", "tflite-fp32"])
def test_a_broken_model_file(bundle_of, variant):
    file = f"variants/{variant}.{variant.partition('-')[0]}"
    path = bundle_of("scores", variant, members={file: b"not a model" * 9})
    with pytest.raises(BackendFailedError, match=rf"probe-1\.0\.0\.edgeml: {file}: .*cannot load the model"):
        Model.load(path)


@pytest.mark.parametrize("variant", ["onnx-fp32", "tflite-fp32"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": (8,)}, r"input 'x' is float32\[1, 8\] .*'features' float32\[1, 16\]"),
        ({"shape": (4, 4)}, r"input 'x' is float32\[1, 4, 4\]"),
        ({"dtype": "int16"}, r"input 'x' is int16\[1, 16\]"),
    ],
)
def test_a_model_file_that_contradicts_the_contract(bundle_of, kinds, variant, changed, message):
    kind = kinds["scores"]
    if "dtype" in changed:
        changed = {"dtype": type(kind.inputs[0].dtype)(changed["dtype"])}
    path = bundle_of(replace(kind, inputs=(replace(kind.inputs[0], **changed),)), variant)
    with pytest.raises(BundleFormatError, match=message):
        Model.load(path)


def test_outputs_that_contradict_the_contract(bundle_of, kinds):
    kind = kinds["scores"]
    output = replace(kind.outputs[0], shape=(15,), labels=kind.outputs[0].labels[:15])
    with pytest.raises(BundleFormatError, match=r"output 'scores' is float32\[1, 15\]"):
        Model.load(bundle_of(replace(kind, outputs=(output,))))


@pytest.mark.parametrize("variant", ["onnx-fp32", "tflite-fp32"])
def test_a_tensor_name_that_the_file_lacks(bundle_of, variant):
    path = bundle_of("scores", variant, change={variant: {"inputs": {"x": "nothing"}}})
    with pytest.raises(BackendFailedError, match="no input 'nothing'; its inputs are"):
        Model.load(path)


def test_bundles_that_must_not_be_used(bundle_of, tmp_path):
    path = bundle_of("scores")
    content = bytearray(path.read_bytes())
    with pytest.raises(BundleError, match="absent"):
        Model.load(tmp_path / "absent.edgeml")
    with pytest.raises(BundleLimitError):
        Model.load(path, limits=Limits(max_bundle_bytes=100))
    at = content.index((MODELS / "scores.onnx").read_bytes()) + 50
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=r"variants/onnx-fp32\.onnx was altered"):
        Model.load(path)
    path.write_bytes(content[:-50])
    with pytest.raises(BundleIntegrityError):
        Model.load(path)


def test_open_backend_for_scoring(bundle_of):
    with Bundle.open(bundle_of("two")) as bundle:
        for variant in (*bundle.manifest.variants, "onnx-fp32"):
            backend = open_backend(bundle, variant, threads=1)
            scores, total = backend.run([np.ones((1, 4), np.float32), np.ones((1, 2), np.int32)])
            np.testing.assert_array_equal(total, np.full((1, 4), 4))
            np.testing.assert_allclose(scores, np.full((1, 4), 0.25))
            backend.close()
        with pytest.raises(InputError, match="has no variant 'nothing'"):
            open_backend(bundle, "nothing")


def test_a_loaded_model_needs_its_file_no_more(bundle_of):
    path = bundle_of("scores")
    with Model.load(path) as model:
        path.unlink()
        assert model.predict(np.eye(16, dtype=np.float32)[5]).label == "f"


@pytest.mark.parametrize(
    ("refused", "advice"),
    [
        ({"ai-edge-litert": "its kernels differ"}, "use another variant$"),
        ({"tflite-runtime": "its kernels differ"}, None),
        ({"tflite-runtime": "too old", "ai-edge-litert": "its kernels differ"}, "use another variant$"),
    ],
    ids=["here", "elsewhere", "everywhere"],
)
def test_a_package_that_a_variant_is_wrong_with(bundle_of, refused, advice):
    path = bundle_of("scores", "tflite-fp32", "onnx-fp32", change={"tflite-fp32": {"refused_by": refused}})
    with Model.load(path) as model:
        assert model.variant.id == ("tflite-fp32" if advice is None else "onnx-fp32")
        assert model.manifest.variants[0].refused_by == refused
    if advice is not None:
        message = f"tflite-fp32: is known to be wrong with ai-edge-litert: its kernels differ; {advice}"
        with pytest.raises(BackendUnsuitableError, match=message):
            Model.load(path, variant="tflite-fp32")
        with Bundle.open(path) as bundle, pytest.raises(BackendUnsuitableError, match=message):
            open_backend(bundle, "tflite-fp32")


def test_the_package_to_install_instead(bundle_of, monkeypatch):
    change = {"tflite-fp32": {"refused_by": {"tflite-runtime": "dynamic ranges are wrong"}}}
    path = bundle_of("scores", "tflite-fp32", change=change)
    monkeypatch.setattr(LiteRTBackend, "installed_package", lambda: "tflite-runtime")
    message = "with tflite-runtime: dynamic ranges are wrong; pip install ai-edge-litert, or use another variant"
    for variant in ("auto", "tflite-fp32"):
        with pytest.raises(BackendUnsuitableError, match=message):
            Model.load(path, variant=variant)
