"""Results as JSON and as text."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from rich.console import Console

from edgeml_cli.output import json_text
from edgeml_cli.render import render_bench, render_export, render_prediction, render_training, size_text
from edgeml_runtime.contract import MetricName

INTERVAL = {"low": 0.9512, "high": 0.9876, "level": 0.95, "method": "Wilson"}
TRAINING = {
    "run_id": "0123456789abcdef",
    "split": "held-out speakers: theo [500 items]",
    "metric": {"name": "accuracy", "value": 0.97, "interval": INTERVAL, "n": 500},
    "baselines": [{"name": "majority class", "metric": "accuracy", "value": 0.1, "interval": INTERVAL, "n": 500}],
    "slices": [
        {"name": "label=1", "metric": "accuracy", "value": 1.0, "n": 5, "interval": INTERVAL, "too_small": True}
    ],
    "floor_met": False,
    "epochs": 12,
    "best_epoch": 9,
    "resumed_at": None,
}
VARIANT = {
    "id": "onnx-int8",
    "bytes": 45_678,
    "weight_bytes": 12_345,
    "metric": {"name": "accuracy", "value": 0.9654},
    "paired_loss": {"drop": 0.0233},
    "parity_max_abs": 1.2e-6,
    "shipped": False,
    "reason": "lost 7 items, 2 allowed",
}
BENCH = {
    "device": "host",
    "provenance": "measured",
    "mismatch": [],
    "notes": ["the clock was not fixed"],
    "variants": [
        {
            "id": "onnx-int8",
            "latency_ms": {"min": 0.01, "p50": 0.0204, "p95": 0.0312, "p99": 12.34},
            "throughput_per_s": 48_000.0,
            "cold_start_ms": 123.4,
            "peak_rss_mb": 67.8,
            "threads": 2,
            "reason": None,
        },
        {
            "id": "tflite-int8",
            "latency_ms": {"min": None, "p50": None, "p95": None, "p99": None},
            "throughput_per_s": None,
            "cold_start_ms": None,
            "peak_rss_mb": None,
            "threads": None,
            "reason": "no backend [litert] here",
        },
    ],
    "budgets": [
        {
            "name": "latency_ms_p95",
            "variant": "onnx-int8",
            "limit": 5.0,
            "value": 0.0312,
            "verdict": "pass",
            "reason": "",
        },
        {
            "name": "instructions",
            "variant": None,
            "limit": 1e6,
            "value": None,
            "verdict": "not_measured",
            "reason": "not counted",
        },
    ],
}


def drawn(render, report):
    stream = io.StringIO()
    render(Console(file=stream, width=80), report)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("render", "report", "shown"),
    [
        (
            render_training,
            TRAINING,
            ["held-out speakers: theo [500 items]", "0.9700", "majority class", "too few", "floor"],
        ),
        (
            render_export,
            {"variants": [VARIANT], "bundle": None},
            ["0.0233", "no bundle", "45.7 kB", "12.3 kB", "0.9654", "1.2e-06", "lost 7 items"],
        ),
        (
            render_bench,
            BENCH,
            [
                "0.020",
                "0.031",
                "12.3",
                "48,000",
                "123",
                "68",
                "pass",
                "not_measured",
                "–",
                "no backend [litert] here",
                "not counted",
                "clock",
            ],
        ),
        (
            render_prediction,
            {"source": "a.wav", "variant": "v", "scores": {"yes": 0.9, "no": 0.1}, "outputs": {}},
            ["a.wav", "yes  0.900", "no   0.100"],
        ),
        (
            render_prediction,
            {"source": "a.npy", "variant": "v", "scores": None, "outputs": {"watts": [1.5]}},
            ["watts: [1.5]"],
        ),
    ],
)
def test_every_figure_is_shown_at_80_columns(render, report, shown):
    text = drawn(render, report)
    assert [part for part in shown if part not in text] == []
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_json_of_what_reports_hold():
    report = {
        "path": Path("a/b"),
        "metric": MetricName.ACCURACY,
        "array": np.array([1.5, np.nan]),
        "number": np.float32(0.5),
        "nothing": float("inf"),
        "mapping": MappingProxyType({"a": (1, True, None)}),
    }
    assert json.loads(json_text(report)) == {
        "path": "a/b",
        "metric": "accuracy",
        "array": [1.5, None],
        "number": 0.5,
        "nothing": None,
        "mapping": {"a": [1, True, None]},
    }


def test_what_has_no_json_form_is_refused():
    with pytest.raises(TypeError, match="object has no JSON form"):
        json_text({"x": object()})


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_210_000, "3.2 MB")])
def test_sizes(size, text):
    assert size_text(size) == text
