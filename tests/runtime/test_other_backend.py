"""Running a variant on a backend that the bundle's metrics were not obtained with."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgeml_runtime import (
    BackendFailedError,
    BackendMissingError,
    BackendUnsuitableError,
    Bundle,
    BundleIntegrityError,
    Model,
)
from edgeml_runtime.backends.openvino import OpenVinoBackend
from edgeml_runtime.golden import GOLDEN_DATA
from edgeml_runtime.open_session import open_backend, select_variant

IDS = ("tflite-fp32", "onnx-fp32")


@pytest.fixture
def closings(monkeypatch):
    """How often a model in OpenVINO was closed."""
    closed = []
    close = OpenVinoBackend.close
    monkeypatch.setattr(OpenVinoBackend, "close", lambda backend: (closed.append(backend), close(backend))[1])
    return closed


def test_it_runs_once_the_golden_vectors_have_passed(scored_bundle):
    path = scored_bundle(*IDS)
    with Model.load(path, variant="onnx-fp32", backend="openvino") as model:
        assert (model.variant.id, model.variant.backend) == ("onnx-fp32", "onnxruntime")
        assert model.backend_name == "openvino"
        assert model.backend_version == OpenVinoBackend.installed_version()
        assert repr(model) == f"Model(probe 1.0.0, onnx-fp32, openvino {model.backend_version})"
        assert model.predict(np.eye(16, dtype=np.float32)[5]).label == "f"
        report = model.self_test()
    assert report.passed
    assert report.backend == f"openvino {OpenVinoBackend.installed_version()}"


def test_the_default_is_the_manifest_s_own(scored_bundle):
    path = scored_bundle(*IDS)
    for backend in (None, "litert"):
        with Model.load(path, backend=backend) as model:
            assert (model.variant.id, model.backend_name) == ("tflite-fp32", "litert")


def test_auto_with_a_backend_is_the_first_variant_that_it_runs(scored_bundle):
    with Model.load(scored_bundle(*IDS), backend="openvino") as model:
        assert model.variant.id == "onnx-fp32"
    with Bundle.open(scored_bundle(*IDS)) as bundle:
        assert select_variant(bundle).id == "tflite-fp32"
        assert select_variant(bundle, backend="onnxruntime").id == "onnx-fp32"


def test_auto_never_picks_another_backend(scored_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendMissingError, match="pip install onnxruntime"):
        Model.load(scored_bundle("onnx-fp32"))
    with Model.load(scored_bundle("onnx-fp32"), backend="openvino") as model:
        assert model.backend_name == "openvino"


def test_outputs_beyond_the_tolerance_refuse_it_and_name_the_worst_case(scored_bundle, closings):
    path = scored_bundle("onnx-fp32", off={"case-1": 0.25, "case-2": 0.5})
    with pytest.raises(BackendUnsuitableError) as caught:
        Model.load(path, backend="openvino")
    assert str(caught.value) == (
        f"{path}: onnx-fp32: was scored with onnxruntime, and openvino {OpenVinoBackend.installed_version()} gives "
        "other outputs: 2 of 3 golden cases fail, the worst is 'case-2': output 'scores' is off by 0.5, expected at "
        "most 1e-05; use onnxruntime, or another variant"
    )
    assert len(closings) == 1
    with Model.load(path) as model:
        assert not model.self_test().passed


def test_a_tolerance_of_zero(scored_bundle):
    with pytest.raises(BackendUnsuitableError, match=r"the worst is 'case-0': output 'scores' is off by 0\.1, .* 0;"):
        Model.load(scored_bundle("onnx-fp32", off={"case-0": 0.1}, tolerance=0.0), backend="openvino")


def test_a_case_that_cannot_be_run(scored_bundle, monkeypatch, closings):
    create = OpenVinoBackend.create.__func__

    def failing(cls, *given, **named):
        backend = create(cls, *given, **named)

        def run(feeds):
            raise BackendFailedError("openvino failed while running the model: no")

        backend.run = run
        return backend

    monkeypatch.setattr(OpenVinoBackend, "create", classmethod(failing))
    with pytest.raises(BackendUnsuitableError, match=r"golden case 'case-0' cannot be run: .*; use onnxruntime, which"):
        Model.load(scored_bundle("onnx-fp32"), backend="openvino")
    assert len(closings) == 1


def test_without_golden_vectors_only_the_manifest_s_own_is_used(bundle_of):
    path = bundle_of("scores", "onnx-fp32")
    with pytest.raises(BackendUnsuitableError, match="the bundle has no golden vectors to show that openvino"):
        Model.load(path, backend="openvino")
    Model.load(path, backend="onnxruntime").close()


def test_altered_golden_vectors(scored_bundle):
    path = scored_bundle("onnx-fp32")
    with Bundle.open(path) as bundle:
        data = bundle.read(GOLDEN_DATA)
    content = path.read_bytes()
    path.write_bytes(content.replace(data, bytes(len(data))))
    with pytest.raises(BundleIntegrityError):
        Model.load(path, backend="openvino")


@pytest.mark.parametrize(
    ("change", "backend", "kind", "message"),
    [
        ({}, "tensorrt", BackendMissingError, "this runtime has no backend 'tensorrt'; it has litert, onnxruntime, op"),
        (
            {},
            "litert",
            BackendUnsuitableError,
            r"onnx-fp32: the backend litert runs \.tflite files, found \.onnx, which onnxruntime or openvino runs",
        ),
        ({"refused_by": {"openvino": "sums in int4"}}, "openvino", BackendUnsuitableError, "wrong with openvino: sums"),
        ({"requires_isa": ("sve9",)}, "openvino", BackendUnsuitableError, "needs the CPU features sve9"),
    ],
    ids=["unknown", "format", "refused", "isa"],
)
@pytest.mark.parametrize("variant", ["onnx-fp32", "auto"])
def test_refusals(scored_bundle, change, backend, kind, message, variant):
    path = scored_bundle("onnx-fp32", change={"onnx-fp32": change})
    with pytest.raises(kind, match=message):
        Model.load(path, variant=variant, backend=backend)


def test_the_oldest_release_is_that_of_the_manifest_s_backend(scored_bundle):
    path = scored_bundle("onnx-fp32", change={"onnx-fp32": {"min_backend_version": "9999.0"}})
    with pytest.raises(BackendUnsuitableError, match="needs onnxruntime 9999"):
        Model.load(path, backend="onnxruntime")
    Model.load(path, backend="openvino").close()


def test_not_installed(scored_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendMissingError, match=r"onnx-fp32: .* openvino, which is not installed .*: pip install op"):
        Model.load(scored_bundle("onnx-fp32"), variant="onnx-fp32", backend="openvino")


def test_open_backend_checks_as_well(scored_bundle):
    with Bundle.open(scored_bundle("onnx-fp32", off={"case-1": 1.0})) as bundle:
        with pytest.raises(BackendUnsuitableError, match="golden cases fail"):
            open_backend(bundle, "onnx-fp32", backend="openvino")
        open_backend(bundle, "onnx-fp32").close()
