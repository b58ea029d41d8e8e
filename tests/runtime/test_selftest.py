"""Golden vectors on the device."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from edgeml_runtime import BackendError, BundleError, BundleFormatError, BundleIntegrityError, Model
from edgeml_runtime.selftest import compare_output

IDS = ("onnx-fp32", "tflite-fp32")
RAMP = (np.arange(16, dtype=np.uint8) * 16).reshape(4, 4)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(params=IDS)
def variant(request):
    return request.param


def test_passes(bundle_of, pixels_golden, variant):
    path = bundle_of("pixels", golden=pixels_golden(IDS, file=png(RAMP)))
    with Model.load(path, variant=variant) as model:
        report = model.self_test()
        assert report.passed
        assert report.variant == variant
        assert report.backend == f"{model.backend_name} {model.backend_version}"
        assert [case.name for case in report.cases] == ["case-0", "case-1"]
        assert [case.file for case in report.cases] == [None, "ramp.png"]
        for case in report.cases:
            assert case.outputs[0].name == "scores"
            assert case.outputs[0].max_abs_difference <= case.outputs[0].tolerance == 1e-6
        assert model.predict(RAMP[..., None]).label == "d"


def test_a_wrong_output_fails_with_its_difference(bundle_of, pixels_golden, variant):
    wrong = np.array([1, 0, 0, 0])
    path = bundle_of("pixels", golden=pixels_golden(IDS, expected=wrong))
    with Model.load(path, variant=variant) as model:
        found = model.predict(RAMP[..., None]).outputs["scores"]
        report = model.self_test()
    assert not report.passed
    assert [case.passed for case in report.cases] == [True, False]
    assert report.cases[1].outputs[0].max_abs_difference == pytest.approx(np.abs(found - wrong).max(), rel=1e-6)
    assert report.cases[1].failure is None


def test_a_wider_tolerance_passes(bundle_of, pixels_golden):
    path = bundle_of("pixels", golden=pixels_golden(IDS, expected=np.array([1, 0, 0, 0]), tolerance=1.0))
    with Model.load(path) as model:
        assert model.self_test().passed


def test_a_file_that_decodes_to_something_else(bundle_of, pixels_golden):
    path = bundle_of("pixels", golden=pixels_golden(IDS, file=png(RAMP[::-1].copy())))
    with Model.load(path) as model:
        report = model.self_test()
    assert not report.passed
    assert report.cases[1].failure == "file ramp.png: decodes to another tensor than the golden input 'image'"
    assert report.cases[1].outputs[0].passed


def test_a_file_that_does_not_decode(bundle_of, pixels_golden):
    path = bundle_of("pixels", golden=pixels_golden(IDS, file=png(RAMP)[:40]))
    with Model.load(path) as model:
        report = model.self_test()
    assert not report.passed
    assert report.cases[1].failure.startswith("file ramp.png: ")


def test_a_loader_that_is_not_installed_is_told_and_does_not_fail(bundle_of, pixels_golden, monkeypatch):
    path = bundle_of("pixels", golden=pixels_golden(IDS, file=png(RAMP)))
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with Model.load(path) as model:
        report = model.self_test()
    assert report.passed
    assert report.cases[1].not_checked.startswith("file ramp.png: ")
    assert report.cases[0].not_checked is None


def test_a_backend_that_fails_is_a_failed_case(bundle_of, pixels_golden, monkeypatch):
    from edgeml_runtime.errors import BackendFailedError

    path = bundle_of("pixels", golden=pixels_golden(IDS))
    with Model.load(path) as model:

        def fail(feeds):
            raise BackendFailedError("out of memory")

        monkeypatch.setattr(model._backend, "run", fail)
        report = model.self_test()
    assert not report.passed
    assert [case.failure for case in report.cases] == ["predict: out of memory"] * 2
    assert report.cases[0].outputs == ()


def test_report_as_json(bundle_of, pixels_golden):
    path = bundle_of("pixels", golden=pixels_golden(IDS, expected=np.array([1, 0, 0, 0])))
    with Model.load(path) as model:
        report = json.loads(json.dumps(model.self_test().to_dict(), allow_nan=False))
    assert (report["passed"], report["variant"]) == (False, "onnx-fp32")
    assert [case["passed"] for case in report["cases"]] == [True, False]
    assert set(report["cases"][0]) == {"name", "passed", "file", "failure", "not_checked", "outputs"}
    assert set(report["cases"][0]["outputs"][0]) == {"name", "max_abs_difference", "tolerance", "passed"}


def test_closed(bundle_of, pixels_golden):
    model = Model.load(bundle_of("pixels", golden=pixels_golden(IDS)))
    model.close()
    with pytest.raises(BackendError, match="closed"):
        model.self_test()


def test_a_bundle_that_was_replaced_or_removed(bundle_of, pixels_golden):
    path = bundle_of("pixels", golden=pixels_golden(IDS))
    with Model.load(path) as model:
        bundle_of("pixels", golden=pixels_golden(IDS, tolerance=0.5))
        with pytest.raises(BundleIntegrityError, match="was replaced since the model was loaded"):
            model.self_test()
        path.unlink()
        with pytest.raises(BundleError, match="cannot be opened"):
            model.self_test()


def test_the_working_directory_may_change(bundle_of, pixels_golden, monkeypatch, tmp_path):
    path = bundle_of("pixels", golden=pixels_golden(IDS))
    monkeypatch.chdir(path.parent)
    with Model.load(path.name) as model:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert model.self_test().passed


def test_a_bundle_without_golden_vectors(bundle_of):
    with Model.load(bundle_of("pixels")) as model, pytest.raises(BundleFormatError, match=r"golden/index\.json"):
        model.self_test()


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        (np.array([1.0, 2.5]), np.array([1.0, 2.0]), 0.5),
        (np.array([0], np.uint8), np.array([255], np.uint8), 255.0),
        (np.array([-128], np.int8), np.array([127], np.int8), 255.0),
        (np.array([np.nan, 1.0]), np.array([1.0, 1.0]), float("inf")),
        (np.array([np.inf]), np.array([1.0]), float("inf")),
        (np.zeros(2), np.zeros(3), float("inf")),
        (np.zeros(2, np.float32), np.zeros(2), float("inf")),
    ],
)
def test_difference(found, expected, difference):
    outcome = compare_output("y", found, expected, 0.5)
    assert outcome.max_abs_difference == difference
    assert outcome.passed == (difference <= 0.5)
