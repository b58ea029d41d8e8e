"""The whole way by the real command: what a new user does, and what stands at the end of each step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeml_runtime import Model
from edgeml_train.project import Project

VARIANTS = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"}


def test_train_reports_what_programs_rely_on(way: Any) -> None:
    report = way.train.json()
    assert report["metric"]["name"] == "accuracy"
    assert report["metric"]["value"] > 0.9
    assert report["metric"]["value"] >= report["baseline"]["value"]
    assert report["run_id"]
    assert report["split"]
    assert report["slices"]


def test_export_ships_every_variant_scored(way: Any) -> None:
    report = way.export.json()
    assert Path(report["bundle"]).is_absolute()
    assert {variant["id"] for variant in report["variants"]} == VARIANTS
    for variant in report["variants"]:
        assert variant["shipped"], variant
        assert variant["bytes"] > variant["weight_bytes"] > 0
        assert variant["metric"]["name"] == "accuracy"
        assert variant["parity_max_abs"] >= 0


def test_what_was_evaluated_is_what_runs(way: Any) -> None:
    test = Project.open(way.project, ()).task.splits().test
    images = next(iter(test.inputs.values()))
    for variant in way.export.json()["variants"]:
        with Model.load(way.bundle, variant=variant["id"]) as model:
            results = model.predict_batch(images)
            labels = next(output.labels for output in model.manifest.outputs if output.labels)
            assert model.self_test().passed
        right = [
            labels.index(str(result.label)) == target for result, target in zip(results, test.targets, strict=True)
        ]
        assert np.mean(right) == pytest.approx(variant["metric"]["value"], abs=1e-12), variant["id"]


def test_inspect_shows_what_was_exported(way: Any, edgeml: Any, tmp_path: Path) -> None:
    report = edgeml("inspect", str(way.bundle), "--json", cwd=tmp_path).json()
    assert (report["name"], report["version"]) == ("digits", "1.0.0")
    assert {variant["id"] for variant in report["variants"]} == VARIANTS
    read = edgeml("inspect", str(way.bundle), cwd=tmp_path)
    assert read.code == 0
    assert all(variant in read.stdout for variant in VARIANTS)


def test_bench_reports_what_programs_rely_on(way: Any, edgeml: Any, tmp_path: Path) -> None:
    short = ("--seconds", "1", "--time-limit", "1")  # one process: more of them would tell the same things
    done = edgeml("bench", str(way.bundle), "--device", "host", *short, "--json", cwd=tmp_path)
    assert done.code in (0, 1, 4), done.stderr
    report = done.json()
    assert (report["device"], report["provenance"]) == ("host", "measured")
    assert {variant["id"] for variant in report["variants"]} == VARIANTS
    for variant in report["variants"]:
        latency = variant["latency_ms"]
        assert 0 < latency["min"] <= latency["p50"] <= latency["p95"] <= latency["p99"]
        assert all(variant[key] > 0 for key in ("throughput_per_s", "cold_start_ms", "peak_rss_mb", "threads"))
    assert {budget["name"] for budget in report["budgets"]} >= {"latency_ms_p95", "bundle_mb"}
    assert all({"name", "variant", "limit", "value", "verdict"} <= set(budget) for budget in report["budgets"])


def test_another_device_is_not_measured_here(way: Any, edgeml: Any, tmp_path: Path) -> None:
    contract = way.project / "edgeml.toml"
    assert "raspberry-pi-4b" not in contract.read_text(encoding="utf-8")
    done = edgeml("bench", str(way.bundle), "--device", "raspberry-pi-4b", "--seconds", "1", "--json", cwd=tmp_path)
    assert done.code == 4, done.stderr
    assert done.json()["provenance"] != "measured"


def test_predict_reads_a_file(way: Any, edgeml: Any, tmp_path: Path) -> None:
    test = Project.open(way.project, ()).task.splits().test
    np.save(tmp_path / "digit.npy", next(iter(test.inputs.values()))[0])
    done = edgeml("predict", str(way.bundle), "digit.npy", "--json", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert done.json()["label"] == str(test.targets[0])


@pytest.mark.long  # the export room proves it in the default run, on a small network
def test_two_exports_of_one_run_are_the_same_bytes(way: Any, edgeml: Any, tmp_path: Path) -> None:
    again = edgeml("export", str(way.project), "--json", cwd=tmp_path)
    assert again.code == 0, again.stderr
    assert Path(again.json()["bundle"]).read_bytes() == way.bundle.read_bytes()


def test_an_application_needs_the_runtime_alone(way: Any) -> None:
    program = (
        "import sys; from edgeml_runtime import Model\n"
        f"model = Model.load({str(way.bundle)!r})\n"
        "spec = model.manifest.inputs[0]\n"
        "import numpy; print(model.predict(numpy.zeros(spec.shape, spec.dtype.value)).label)\n"
        "heavy = {'torch', 'onnx', 'mlflow', 'pydantic', 'pandas'}\n"
        "heavy |= {'edgeml_train', 'edgeml_export', 'edgeml_evaluate'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in set("0123456789")
