"""Measuring whole models in fresh processes: bundles and bare files, on real backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import BackendFailedError, InputError
from edgeml_runtime.manifest import ModelFormat
from edgeml_runtime.measure import worker as measure_worker
from edgeml_runtime.measure.bare import BareSignature, BareTensor, bare_format, describe_bare, random_array
from edgeml_runtime.measure.child import run_child
from edgeml_runtime.measure.cli import MeasureRequest, main, measure_model
from edgeml_runtime.measure.report import Measurement
from edgeml_runtime.measure.start import peak_rss_bytes, start_arguments
from edgeml_runtime.measure.subject import bundle_subject

MODELS = Path(__file__).parent / "data" / "models"
QUICK = {"seconds": 0.1, "starts": 0}


def test_every_variant_of_a_bundle_is_measured(bundle_of):
    path = bundle_of("scores")
    found = measure_model(MeasureRequest(path=str(path), threads=1, seconds=0.1, starts=1))
    assert found.auto_variant == "onnx-fp32"
    assert [variant.id for variant in found.variants] == ["onnx-fp32", "tflite-fp32"]
    for variant, backend in zip(found.variants, ("onnxruntime", "litert"), strict=True):
        assert variant.failure is None
        assert (variant.backend, variant.threads) == (backend, 1)
        assert variant.size_bytes == (MODELS / f"scores.{variant.id.partition('-')[0]}").stat().st_size
        (start,) = variant.starts
        assert min(start.import_ms, start.load_ms, start.first_predict_ms) > 0
        assert start.cold_start_ms == start.import_ms + start.load_ms + start.first_predict_ms
        assert start.peak_rss_bytes > 10_000_000
        assert len(variant.samples.all_ns) >= 1
        assert variant.samples.all_ns.min() > 0


def test_only_the_chosen_variants_are_measured(bundle_of):
    request = MeasureRequest(path=str(bundle_of("two")), variants=("tflite-fp32",), **QUICK)
    assert [variant.id for variant in measure_model(request).variants] == ["tflite-fp32"]


def test_a_bundle_is_measured_on_another_backend_where_its_golden_vectors_pass(scored_bundle):
    request = MeasureRequest(
        path=str(scored_bundle("tflite-fp32", "onnx-fp32")), backend="openvino", seconds=0.1, starts=1
    )
    found = measure_model(request)
    assert found.auto_variant == "onnx-fp32"
    unfit, good = found.variants
    assert "the backend openvino runs .onnx files, found .tflite" in unfit.failure
    assert (good.failure, good.backend, len(good.starts)) == (None, "openvino", 1)
    path = scored_bundle("onnx-fp32", off={"case-1": 0.5})
    (wrong,) = measure_model(replace(request, path=str(path))).variants
    assert (wrong.samples, wrong.starts) == (None, ())
    assert "1 of 3 golden cases fail" in wrong.failure


def test_a_bare_model_is_measured_on_another_backend(capsys):
    assert main(["model", str(MODELS / "two.onnx"), "--backend", "openvino", "--seconds", "0.1", "--starts", "1"]) == 0
    (variant,) = json.loads(capsys.readouterr().out)["variants"]
    assert (variant["backend"], variant["failure"], len(variant["starts"])) == ("openvino", None, 1)
    for name, message in (
        ("two.tflite", "the backend openvino runs .onnx files, found .tflite"),
        ("two.onnx", "litert"),
    ):
        backend = "litert" if name == "two.onnx" else "openvino"
        assert main(["model", str(MODELS / name), "--backend", backend]) == 2
        assert message in capsys.readouterr().err


def test_a_variant_that_cannot_be_loaded_is_reported_and_the_other_measured(bundle_of):
    path = bundle_of("scores", members={"variants/tflite-fp32.tflite": b"no model"})
    good, broken = measure_model(MeasureRequest(path=str(path), **QUICK)).variants
    assert (good.failure, broken.samples, broken.starts) == (None, None, ())
    assert "cannot load the model" in broken.failure


def test_a_variant_for_another_cpu_is_reported(bundle_of):
    path = bundle_of("scores", change={"onnx-fp32": {"requires_isa": ("of_the_future",)}})
    found = measure_model(MeasureRequest(path=str(path), **QUICK))
    assert found.auto_variant == "tflite-fp32"
    assert "of_the_future" in found.variants[0].failure


def test_when_no_variant_can_run_there_is_none_for_auto(bundle_of):
    change = {id_: {"min_backend_version": "999.0"} for id_ in ("onnx-fp32", "tflite-fp32")}
    found = measure_model(MeasureRequest(path=str(bundle_of("scores", change=change)), **QUICK))
    assert found.auto_variant is None
    assert all("999.0 or newer" in variant.failure for variant in found.variants)


def test_one_variant_that_ends_the_loop_does_not_take_the_other_along(bundle_of, monkeypatch):
    from edgeml_runtime.measure import cli as measure_cli
    from edgeml_runtime.measure.child import ChildFailure

    def child(module, arguments, *, limit_s):
        if module == "measure.worker" and arguments[0] == "latency" and "tflite-fp32" in arguments[1]:
            raise ChildFailure("the process was ended by signal SIGSEGV")
        return run_child(module, arguments, limit_s=limit_s)

    monkeypatch.setattr(measure_cli, "run_child", child)
    good, broken = measure_model(MeasureRequest(path=str(bundle_of("scores")), **QUICK)).variants
    assert good.samples is not None
    assert (broken.samples, broken.failure) == (None, "the process was ended by signal SIGSEGV")


def test_an_unknown_variant_is_refused(bundle_of):
    request = MeasureRequest(path=str(bundle_of("scores")), variants=("onnx-int4",))
    with pytest.raises(InputError, match="no variant onnx-int4; the bundle holds onnx-fp32, tflite-fp32"):
        measure_model(request)


@pytest.mark.parametrize("name", ["two.onnx", "two.tflite", "lookup.tflite"])
def test_a_bare_model_is_measured_on_inputs_of_its_own_description(name):
    (variant,) = measure_model(MeasureRequest(path=str(MODELS / name), **QUICK)).variants
    assert (variant.id, variant.failure) == (name, None)
    assert variant.samples.all_ns.min() > 0


SIGNATURES = [
    ("two.onnx", {"float32": (1, 4), "int32": (1, 2)}),
    ("two.tflite", {"float32": (1, 4), "int32": (1, 2)}),
    ("widen.onnx", {"int16": (1, 16)}),
    ("pixels.tflite", {"uint8": (1, 4, 4, 1)}),
    ("scores.ort", {"float32": (1, 16)}),
    ("batch.onnx", {"float32": (1, 16)}),
]


@pytest.mark.parametrize(("name", "expected"), SIGNATURES)
def test_a_bare_model_says_what_it_takes(model_bytes, name, expected):
    signature = describe_bare(name, model_bytes(name))
    assert {item.dtype: item.shape for item in signature.inputs} == expected
    assert BareSignature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


@pytest.mark.parametrize("name", ["broken.onnx", "broken.tflite"])
def test_a_broken_file_is_refused(tmp_path, name):
    with pytest.raises(BackendFailedError, match="cannot load the model"):
        describe_bare(name, b"no model")
    path = tmp_path / name
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match=f"{name}: cannot be measured: .* cannot load the model"):
        measure_model(MeasureRequest(path=str(path)))


@pytest.mark.parametrize("name", ["missing.onnx", "missing.edgeml"])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=name):
        measure_model(MeasureRequest(path=str(tmp_path / name)))


def test_a_file_of_another_kind_is_no_bare_model():
    assert bare_format("words-1.0.0.edgeml") is None
    assert bare_format("words.ORT") is ModelFormat.ORT
    with pytest.raises(InputError, match=r"expected a file that ends in \.onnx, \.ort or \.tflite"):
        describe_bare("words.bin", b"")


RANDOM = [
    ("uint8", None, 0, 255),
    ("int8", None, -128, 127),
    ("int16", (-5, 5), -5, 5),
    ("int64", None, 0, 1),
    ("bool", None, 0, 1),
    ("float32", None, -1, 1),
    ("float32", (2.0, 3.0), 2, 3),
    ("int32", (0.5, 2.5), 1, 2),  # whole values within limits that are not
]


@pytest.mark.parametrize(("dtype", "limits", "low", "high"), RANDOM)
def test_random_inputs_stay_within_their_limits_and_use_them(dtype, limits, low, high):
    array = random_array(dtype, (2000, 3), np.random.default_rng(0), limits)
    assert array.dtype == np.dtype(dtype)
    assert low <= array.min() <= low + (high - low) * 0.01
    assert high >= array.max() >= high - (high - low) * 0.01


def test_the_inputs_are_the_golden_ones_in_turn(bundle_of, pixels_golden, monkeypatch):
    from edgeml_runtime.model import Model

    seen = []
    predict = Model.predict
    monkeypatch.setattr(Model, "predict", lambda self, x: (seen.append(x["image"].sum()), predict(self, x))[1])
    path = bundle_of("pixels", golden=pixels_golden(("onnx-fp32", "tflite-fp32")))
    subject = bundle_subject(str(path), "onnx-fp32", 1)
    for _ in range(4):
        subject.run()
    subject.close()
    assert seen == [0, 1920, 0, 1920]


def test_a_call_asks_for_the_label_too(bundle_of):
    subject = bundle_subject(str(bundle_of("scores")), "onnx-fp32", 1)
    assert subject.run() in "abcdefghijklmnop"
    subject.close()


def test_memory_of_a_child_is_its_own():
    """``ru_maxrss`` would hand a large parent's memory down to the child."""
    ballast = np.ones(300_000_000, dtype=np.uint8)
    assert peak_rss_bytes() > ballast.nbytes
    signature = describe_bare("scores.tflite", (MODELS / "scores.tflite").read_bytes())
    words = start_arguments(str(MODELS / "scores.tflite"), "", 1, signature)
    assert run_child("measure.start", words, limit_s=60)["peak_rss_bytes"] < 250_000_000


def test_a_signature_travels_on_the_command_line():
    from edgeml_runtime.measure.start import _signature

    signature = BareSignature(
        inputs=(
            BareTensor(name="a b", dtype="float32", shape=(1, 2, 3)),
            BareTensor(name="scalar", dtype="int64", shape=()),
        ),
        outputs=("x", "y:0"),
    )
    assert _signature(start_arguments("m.onnx", "", None, signature)[4:]) == signature


def test_a_start_imports_no_more_than_an_application_does(bundle_of):
    """What the measuring itself needs must not count as part of the start."""
    code = (
        "import sys, time; from edgeml_runtime.measure import start as measure_start; "
        "_, call = measure_start._load_bundle(sys.argv[1], 'onnx-fp32', 1, None); call(); "
        "print(sorted(name for name in sys.modules if name.startswith('edgeml_runtime.measure')))"
    )
    command = [sys.executable, "-c", code, str(bundle_of("scores"))]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert printed.strip() == "['edgeml_runtime.measure', 'edgeml_runtime.measure.start']"


def test_the_command_prints_one_json_object(bundle_of):
    words = ["-m", "edgeml_runtime.measure", "model", str(bundle_of("scores")), "--variant", "onnx-fp32"]
    done = subprocess.run(
        [sys.executable, *words, "--threads", "1", "--seconds", "0.1", "--starts", "1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = Measurement.from_dict(json.loads(done.stdout))
    assert [variant.id for variant in found.variants] == ["onnx-fp32"]
    assert found.variants[0].samples.warmup_calls > 0
    assert json.loads(json.dumps(found.to_dict())) == json.loads(done.stdout)
    steps = [json.loads(line)["step"] for line in done.stderr.splitlines()]
    assert steps == ["cold start", "cold start", "latency"]


def test_the_command_prints_the_machine(capsys):
    assert main(["machine"]) == 0
    assert json.loads(capsys.readouterr().out)["cores"] >= 1


def test_the_command_answers_a_wrong_file_with_status_2(capsys, tmp_path):
    assert main(["model", str(tmp_path / "missing.onnx")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "missing.onnx" in captured.err


def test_modules_in_the_current_folder_do_not_reach_the_children(tmp_path, monkeypatch):
    for name in ("numpy.py", "json.py", "edgeml_runtime.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry))
    monkeypatch.chdir(tmp_path)
    (variant,) = measure_model(MeasureRequest(path=str(MODELS / "scores.onnx"), **QUICK)).variants
    assert variant.failure is None


def test_an_unexpected_error_of_a_job_is_an_answer(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "describe", "{}"])
    measure_worker.main(0)
    assert json.loads(capsys.readouterr().out) == {"error": "KeyError: 'path'"}
