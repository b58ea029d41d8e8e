"""Benching on a backend other than the manifest's."""

from __future__ import annotations

import pytest

from edgeml_devices.against import common_variants, compare_speed
from edgeml_devices.bench import bench
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import BackendMissingError, InputError
from edgeml_runtime.manifest import ModelFormat

TFLITE = {"tflite-fp32": {"format": ModelFormat.TFLITE, "backend": "litert"}}


@pytest.fixture
def mixed_bundle(make_bundle, model_content):
    """One ONNX and one TFLite variant; the latter's file is never read."""

    def make(budgets=None):
        return make_bundle(budgets, variants={"tflite-fp32": b"no model", "onnx-fp32": model_content}, changes=TFLITE)

    return make


def test_only_variants_of_its_formats_are_measured_on_it(mixed_bundle, simulate, measured, samples):
    path = mixed_bundle({"host": {"latency_ms_p95": {"limit": 5.0, "backend": "openvino"}, "latency_ms_p50": 5.0}})
    variant = measured("onnx-fp32", samples([1.0] * 40), backend="openvino", backend_version="2026.4.1")
    target = simulate("pc", variant)
    report = bench(path, target=target, backend="openvino")
    assert target.requests[0].backend == "openvino"
    assert target.requests[0].variants == ("onnx-fp32",)
    assert {result.name.value: result.verdict for result in report.budgets} == {
        "latency_ms_p50": Verdict.NOT_MEASURED,
        "latency_ms_p95": Verdict.PASS,
    }
    assert (
        "onnx-fp32: ran on openvino 2026.4.1, where its golden vectors passed; its metrics are those of onnxruntime"
        in report.notes
    )


def test_without_one_every_variant_runs_on_its_own(mixed_bundle, simulate, measured, samples):
    target = simulate("pc", measured("onnx-fp32", samples([1.0] * 40)), measured("tflite-fp32", samples([1.0] * 40)))
    bench(mixed_bundle(), target=target)
    assert target.requests[0].backend is None
    assert target.requests[0].variants == ("tflite-fp32", "onnx-fp32")


def test_a_variant_that_is_named_is_tried_and_its_refusal_reported(make_bundle):
    report = bench(make_bundle(), backend="litert", variants=["onnx-fp32"], seconds=0.1, starts=1)
    assert "the backend litert runs .tflite files, found .onnx" in report.variants[0].reason
    assert report.exit_code == 4


@pytest.mark.parametrize(
    ("backend", "kind", "message"),
    [
        ("tensorrt", BackendMissingError, "no backend 'tensorrt'; it has litert, onnxruntime, openvino"),
        ("litert", InputError, r"the backend litert runs \.tflite files only; found onnx-fp32"),
    ],
)
def test_a_backend_that_is_none_or_runs_nothing(make_bundle, simulate, backend, kind, message):
    target = simulate("pc")
    with pytest.raises(kind, match=message):
        bench(make_bundle(), target=target, backend=backend)
    assert target.requests == []


def test_only_variants_of_its_formats_are_compared_on_it(mixed_bundle):
    path = mixed_bundle()
    assert common_variants(str(path), str(path), backend="openvino") == (("onnx-fp32",), ())
    assert common_variants(str(path), str(path)) == (("tflite-fp32", "onnx-fp32"), ())


def test_models_are_compared_on_it(make_bundle, model_file):
    found = compare_speed(make_bundle(), make_bundle(), backend="openvino", seconds=0.06, time_limit_s=1e-6)
    assert [ratio.variant for ratio in found.ratios] == ["onnx-fp32"]
    found = compare_speed(model_file(), model_file("b.onnx"), backend="openvino", seconds=0.06, time_limit_s=1e-6)
    assert 0.2 < found.ratios[0].ratio.value < 5
