"""``edgeml bench --recommend``: a real one, its file, what it says, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgeml_cli.bench_recommend import render_recommendation
from edgeml_runtime import Model
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.golden import GoldenCase, GoldenSet, golden_members
from edgeml_runtime.manifest import ModelFormat, Variant

MODELS = Path(__file__).resolve().parents[1] / "runtime" / "data" / "models"
SHORT = ("--threads", "1", "--seconds", "0.3", "--time-limit", "0.001")


@pytest.fixture
def score_bundle(tmp_path):
    """Two variants of a softmax, with golden vectors."""
    contract = {
        "model": {"name": "probe", "version": "1.0.0", "description": "Softmax."},
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": [16], "range": [-10, 10], "unit": "V", "source": "probe"}
        ],
        "outputs": [
            {"name": "scores", "role": "scores", "dtype": "float32", "shape": [16], "labels": list("abcdefghijklmnop")}
        ],
        "target": {"name": "letter", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.5},
    }
    variants = [
        Variant(
            id=f"{kind.value}-fp32",
            file=f"variants/model.{kind.value}",
            format=kind,
            precision="fp32",
            backend=backend,
            min_backend_version="1.0",
            requires_isa=(),
            inputs={"x": "features"},
            outputs={"scores": "probabilities"},
            weight_bytes=0,
            metrics={},
            parity={},
        )
        for kind, backend in ((ModelFormat.ONNX, "onnxruntime"), (ModelFormat.TFLITE, "litert"))
    ]
    x = np.linspace(-1, 1, 16).astype(np.float32)
    scores = (np.exp(x) / np.exp(x).sum()).astype(np.float32)
    case = GoldenCase(name="case", inputs={"x": x}, expected={one.id: {"scores": scores} for one in variants})
    golden = GoldenSet(cases=(case,), tolerances={one.id: {"scores": 1e-5} for one in variants})
    members = {one.file: (MODELS / f"scores.{one.format.value}").read_bytes() for one in variants}
    path = tmp_path / "probe-1.0.0.edgeml"
    parsed = parse_contract(contract, source="edgeml.toml")
    write_bundle(path, contract=parsed, variants=variants, members=members | golden_members(golden, {}))
    return path


def test_one_is_recommended_stored_and_loaded(edgeml, score_bundle, tmp_path):
    file = tmp_path / "choice.json"
    outcome = edgeml("bench", score_bundle, "--recommend", "--store-in", file, "--json", *SHORT)
    report = outcome.json()
    # One or two processes are no evidence between two ways; a quick look may already have left only one.
    assert (outcome.code, report["verdict"]) in {(4, "inconclusive"), (0, "pass")}
    assert (report["stored"], report["chosen"]["threads"]) == (str(file), 1)
    assert {row["backend"] for row in report["candidates"]} == {"onnxruntime", "litert", "openvino"}
    (entry,) = json.loads(file.read_text(encoding="utf-8"))["entries"]
    assert entry["choice"] == report["chosen"]
    with Model.load(score_bundle, variant="tuned", threads=1, tuned_path=file) as model:
        assert (model.variant.id, model.backend_name) == (report["chosen"]["variant"], report["chosen"]["backend"])
    assert json.loads(file.read_text(encoding="utf-8"))["entries"] == [entry], "it was measured again"


def test_another_device_is_not_measured(edgeml, score_bundle):
    outcome = edgeml("bench", score_bundle, "--recommend", "--device", "raspberry-pi-4b", "--store")
    assert outcome.code == 4
    assert "cortex-a72" in outcome.stdout
    assert "stored" not in outcome.stdout


REFUSED = [
    (("--store",), "add --recommend"),
    (("--recommend", "--sustained", "1"), "leave --against and --sustained out"),
    (("--recommend", "--on", "local", "--on", "ssh://pi"), "name one --on"),
    (("--recommend", "--store", "--variant", "onnx-fp32"), "leave --variant out"),
    (("--recommend", "--variant", "onnx-int4"), "no variant onnx-int4"),
    (("--recommend", "--backend", "tpu"), "no backend 'tpu'"),
    (("--recommend", "--device", "toaster"), "toaster"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(edgeml, score_bundle, words, message):
    outcome = edgeml("bench", score_bundle, *words)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert message in " ".join(outcome.stderr.split())


def row(variant, backend, threads, standing, *, p50=1.0, ratio=None, reason=""):
    return {
        "variant": variant,
        "backend": backend,
        "threads": threads,
        "standing": standing,
        "reason": reason,
        "metric": None if standing == "not_run" else 0.9654,
        "latency_ms": {"p50": p50, "p95": p50, "p99": p50},
        "ratio": ratio,
    }


REPORT = {
    "device": "host",
    "provenance": "measured",
    "mismatch": [],
    "verdict": "inconclusive",
    "chosen": {"variant": "onnx-int8", "backend": "onnxruntime", "threads": 2},
    "ranked_by": "p95",
    "metric": "accuracy",
    "candidates": [
        row("onnx-int8", "onnxruntime", 2, "chosen"),
        row(
            "onnx-int8", "openvino", 1, "alike", ratio={"value": 1.02, "low": 0.9, "high": 1.2}, reason="cannot be told"
        ),
        row("onnx-fp32", "onnxruntime", 1, "slower", ratio={"value": 3.21, "low": None, "high": None}, reason="slow"),
        row("onnx-w8", "onnxruntime", 1, "below_quality", p50=None, reason="misses the [floor]"),
        *(row("tflite-int8", "litert", count, "not_run", p50=None, reason="is not installed") for count in (1, 2)),
    ],
    "budgets": [
        {
            "name": "latency_ms_p95",
            "variant": "onnx-int8",
            "limit": 1.0,
            "value": 1.0,
            "verdict": "inconclusive",
            "reason": "the limit lies within",
        }
    ],
    "notes": ["the machine was busy"],
    "lost": "the cable was pulled",
    "left": ["/tmp/edgeml-x"],
    "stored": "/data/x.edgeml.tuned.json",
}


def shown(**changes):
    console = Console(file=io.StringIO(), width=80, highlight=False)
    render_recommendation(console, report=REPORT | changes)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines if "Model.load(path" not in line)
    return " ".join(" ".join(lines).split())


SAID = [
    "use onnx-int8 on onnxruntime with 2 threads",
    'Model.load(path, variant="onnx-int8", backend="onnxruntime", threads=2)',
    "verdict: inconclusive, the best guess",
    "× 1.02 alike",
    "× 3.21",
    "onnx-int8 on openvino, 1 thread: cannot be told",
    "onnx-w8 on onnxruntime, 1 thread: below the contract's quality: misses the [floor]",
    "tflite-int8 on litert, 1 thread and 1 more: cannot run: is not installed",
    "latency_ms_p95: the limit lies within",
    "lost: the cable was pulled",
    "could not be removed there: /tmp/edgeml-x",
    "stored in /data/x.edgeml.tuned.json",
]


@pytest.mark.parametrize("words", SAID)
def test_a_person_is_told(words):
    assert words in shown()


def test_a_person_is_told_that_none_will_do():
    text = shown(chosen=None, verdict="fail", budgets=[], stored=None, lost=None)
    assert "none of the ways to run it will do verdict: fail" in text
    assert "stored" not in text


def test_a_person_is_told_where_to_ask_when_the_machine_is_not_the_device():
    text = shown(mismatch=["another architecture"])
    assert "another architecture" in text
    assert "on the device itself (--on ssh://user@host)" in text
