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
from edgeml_cli.render import render_bench, render_prediction, render_training, size_text
from edgeml_cli.render_baseline import span_text
from edgeml_cli.render_export import render_export, render_layers
from edgeml_devices.baseline import ALLOWANCES
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
    "unreadable": [f"signs [bold]/IMG_{number}.JPG: expected an encoded file" for number in range(12)],
}
COMPARED = {
    "advantage": 0.0075,
    "interval": {"low": -0.013, "high": 0.0277, "level": 0.95, "method": "agresti-min"},
    "n": 134,
    "beats": False,
}
BOOSTING = {
    "advantage": -0.0177,
    "interval": {"low": -0.0569, "high": 0.0218, "level": 0.95, "method": "agresti-min"},
    "n": 226,
    "beats": False,
}
CHOSEN = {
    "ranking": {
        "roc_auc": 0.99812,
        "interval": {"low": 0.9, "high": 1.0, "level": 0.95, "method": "bootstrap", "note": "few groups"},
        "n": 226,
    },
    "choice": {"kept": "linear model", "validation": COMPARED, "network": {"value": 0.86726}},
    "boosting": BOOSTING,
}
BEATEN = {"choice": {**CHOSEN["choice"], "kept": "network"}, "boosting": {**BOOSTING, "beats": True}}
VARIANT = {
    "id": "tflite-int8-dynamic",
    "bytes": 45_678,
    "weight_bytes": 12_345,
    "metric": {"name": "balanced_accuracy", "value": 0.9654},
    "paired_loss": {"drop": 0.0233},
    "worst_slice": {"name": "label=1", "drop": 0.0456},
    "parity": {"sqnr_db": 31.26},
    "operators": {"int8": 7, "float_inside": 3, "float_outside": 2},
    "float_layers": ["network.0", "network.12"],
    "search": [
        {"float_layers": [], "validation_loss": {"n": 500, "within": False}},
        {"float_layers": ["network.0"], "validation_loss": {"n": 500, "within": True}},
    ],
    "without_vnni": {"checked": True, "items": 14, "max_abs": 0.1, "tolerance": 0.2},
    "shipped": False,
    "reason": "lost 7 items, 2 allowed",
}
UNSCORED = {
    **VARIANT,
    "id": "onnx-int8",
    "metric": None,
    "paired_loss": None,
    "worst_slice": None,
    "parity": {"sqnr_db": None},
    "float_layers": [],
    "search": [{"float_layers": [], "validation_loss": {"n": 500, "within": False}}],
    "without_vnni": {"checked": False, "items": 0, "max_abs": 0.0, "tolerance": 0.2},
    "shipped": True,
    "reason": None,
}
EXPORT = {
    "variants": [VARIANT, UNSCORED],
    "preprocessing": [
        {"input": "image", "folded": "the value is the quantized input: scale 0.015625", "remaining": []},
        {"input": "sound", "folded": "nothing", "remaining": ["to", "div"]},
    ],
    "notes": ["the input 'x' [1] was matched by its position"],
    "choice": {
        "missing": ["onnx-int16x8"],
        "no_longer_required": ["tflite-fp32"],
        "dropped_budgets": ["host.latency_ms_p95 of tflite-int8"],
    },
    "bundle": None,
}
LONG = "network.features.17.conv.2"
PRECISIONS = {"onnx-fp32": "fp32", "tflite-fp32": "fp32", "tflite-int16x8": "int16x8", "onnx-int8-dynamic": "fp32"}
LAYER = {
    "path": LONG,
    "operator": "conv2d",
    "macs": 1_234_567,
    "weight_bytes": {"fp32": 40_000, "fp16": 20_000, "int8": 10_000},
    "sqnr_db": 34.56,
    "output_sqnr_db": None,
    "in_float_scope": False,
    "precisions": {**PRECISIONS, "onnx-int8-dynamic": "int8-dynamic"},
}
LAYERS = {
    "layers": [{**LAYER, "path": "", "macs": 640, "in_float_scope": True, "precisions": PRECISIONS}, LAYER],
    "measured_as": "tflite-int16x8",
    "alike": [["onnx-fp32", "tflite-fp32"], ["tflite-int16x8"], ["onnx-int8-dynamic"]],
}
FIGURE_KEYS = ("variant", "name", "then", "now", "ratio", "low", "high", "allowed", "verdict", "reason")
COUNTED = ("onnx-int8", "instructions", 50000.0, 50505.0, 1.0101, 1.0073, 1.0129, 1.005, "fail", "it grew")
BASELINE = {
    "file": "then.json",
    "hours_between": 30.0,
    "version": "1.0.0",
    "same_machine": False,
    "differences": ["another host"],
    "disturbed_then": None,
    "disturbed_now": None,
    "left_out": [],
    "reason": None,
    "figures": [dict(zip(FIGURE_KEYS, COUNTED, strict=True))],
}
MISMATCH = ("architecture aarch64 is needed, this machine is x86_64", "a second reason")
RATIO_KEYS = ("variant", "ratio", "low", "high", "processes", "verdict")
BENCH = {
    "device": "host",
    "provenance": "measured",
    "mismatch": [],
    "notes": ["the clock was not fixed"],
    "conditions": [
        {"other_share": share, "clock_mhz": 1500.0, "temperature_c": 61.2, "throttled": share > 0.1, "governor": None}
        for share in (0.02, 0.04, 0.12)
    ],
    "memory_limit_bytes": 416_000_000,
    "against": {
        "other": "old-1.0.0.edgeml",
        "tolerance": 0.05,
        "ratios": [
            dict(zip(RATIO_KEYS, ("onnx-int8", 1.1012, 1.0711, 1.1333, 6, "fail"), strict=True)),
            dict(zip(RATIO_KEYS, ("tflite-int8", 1.0, None, None, 3, "inconclusive"), strict=True)),
        ],
        "left_out": ["tflite-w8"],
    },
    "variants": [
        {
            "curve": [
                {"minutes": m, "p50": m, "p95": 2 * m, "clock_mhz": 900.0, "temperature_c": None, "throttled": m > 1}
                for m in (0.5, 1.5)
            ],
            "id": "onnx-int8",
            "latency_ms": {"min": 0.01, "p50": 0.0204, "p95": 0.0312, "p99": 12.34},
            "throughput_per_s": 48_000.0,
            "cold_start_ms": 123.4,
            "peak_rss_mb": 67.8,
            "threads": 2,
            "reason": None,
        },
        {
            "curve": [],
            "id": "tflite-int8",
            "latency_ms": {"min": None, "p50": None, "p95": None, "p99": None},
            "throughput_per_s": None,
            "cold_start_ms": None,
            "peak_rss_mb": None,
            "threads": None,
            "reason": "no backend [litert] here",
        },
    ],
    "further": [],
    "budgets": [
        {
            "name": "latency_ms_p95",
            "variant": "onnx-int8",
            "way": "onnx-int8/onnxruntime/2",
            "limit": 5.0,
            "value": 0.0312,
            "verdict": "pass",
            "reason": "",
        },
        {
            "name": "instructions",
            "variant": None,
            "way": None,
            "limit": 1e6,
            "value": None,
            "verdict": "not_measured",
            "reason": "not counted",
        },
    ],
}


@pytest.mark.parametrize("name", ALLOWANCES)
def test_every_figure_that_is_compared_with_an_earlier_one_can_be_shown(name):
    figures = [{**BASELINE["figures"][0], "name": name.value}]
    assert "50,505" in drawn(render_bench, BENCH | {"baseline": BASELINE | {"figures": figures}})


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
            [
                *("held-out speakers: theo [500 items]", "0.9700", "majority class", "too few", "floor"),
                *("cannot be used: 12", "signs [bold]/IMG_4.JPG: expected an encoded file", "and 7 more"),
            ],
        ),
        (
            render_training,
            TRAINING | CHOSEN,
            [
                "ROC AUC 0.9981, 95 % interval 0.900 – 1.000 (few groups)",
                "The network does not beat the linear model beyond noise, the linear model is kept: +0.0075 accuracy,",
                "95 % interval -0.0130 – +0.0277, over 134 items of the validation split.",
                "The network's accuracy on the test split would be 0.8673.",
                "Gradient boosting, which has no graph to export, does not beat the model beyond noise: -0.0177",
            ],
        ),
        (
            render_training,
            TRAINING | {"epochs": 0, "fast": {"overrides": ["train.epochs=0"], "default": False}},
            ["A fast run: [fast] of edgeml.toml sets train.epochs=0.", "nothing trained: the weights are those of"],
        ),
        (
            render_training,
            TRAINING | BEATEN,
            [
                "The network beats the linear model, the network is kept: +0.0075 accuracy",
                "Gradient boosting beats the model: -0.0177 accuracy, 95 % interval -0.0569 – +0.0218, over 226 items",
                "items of the test split. It has no graph to export;",
            ],
        ),
        (
            render_export,
            EXPORT,
            [
                "balanced",
                "0.0233",
                "0.0456",
                "31.3",
                "exact",
                "no bundle",
                "45.7 kB",
                "12.3 kB",
                "0.9654",
                "lost 7 items",
                "7 operators in int8, 3 kept in float",
                "2 in float though no scope says so",
                "keeps network.0, network.12 in float (2 tried on 500 validation items)",
                "as good on an x86 without VNNI (emulated, 14 items)",
                "apt-get install qemu-user",
                "scale 0.015625; left before the first layer: nothing",
                "left before the first layer: to, div",
                "skipped, because the format lacks it: onnx-int16x8",
                "not exported this time: tflite-fp32",
                "host.latency_ms_p95 of tflite-int8",
                "'x' [1] was matched",
            ],
        ),
        (
            render_layers,
            LAYERS,
            [LONG, "conv2d", "1.23 M", "640", "40.0 kB", "10.0 kB", "34.6", "(34.6)", "–", "int8-dynamic", "int16x8"],
        ),
        (
            render_layers,
            {"layers": []},
            ["no layers to explain"],
        ),
        (
            render_bench,
            BENCH | {"baseline": BASELINE},
            [
                *("beside then.json (version 1.0.0, 30 hours before)", "another host", "instructions", "50,505"),
                *("1.010", "1.007 – 1.013", "1.005", "it grew"),
            ],
        ),
        (
            render_bench,
            BENCH | {"mismatch": MISMATCH},
            [*MISMATCH, "so nothing was timed: bench on the device itself (--on ssh://", "(--on emulator)"],
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
                "onnx-int8/onnxruntime/2",
                "not_measured",
                "–",
                "measured in 3 processes, other work 4% of the cores, clock 1,500 – 1,500 MHz",
                "at most 61 °C, throttled, within 416 MB of memory",
                "onnx-int8 over time",
                "time ÷ that of old-1.0.0.edgeml",
                "onnx-int8 1.101 1.071 – 1.133 6 fail",
                "tflite-int8 1.000 – 3 inconclusive",
                "a slowdown of up to 5% passes",
                "not in the other one: tflite-w8",
                "1.5 1.5 3 900",
                "no backend [litert] here",
                "not counted",
                "clock",
            ],
        ),
        (
            render_prediction,
            {"source": "a.wav", "variant": "v", "scores": {"yes": 0.9, "no": 0.1}, "alarm": None, "outputs": {}},
            ["a.wav", "yes  0.900", "no   0.100"],
        ),
        (
            render_prediction,
            {"source": "a.npy", "variant": "v", "scores": None, "alarm": None, "outputs": {"watts": [1.5]}},
            ["watts: [1.5]"],
        ),
    ],
)
def test_every_figure_is_shown_at_80_columns(render, report, shown):
    text = drawn(render, report)
    words = " ".join(text.split())
    assert [part for part in shown if part not in text and part not in words] == []
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("check", [None, {"checked": True, "items": 9, "max_abs": 0.3, "tolerance": 0.2}])
def test_a_variant_that_fails_without_vnni_is_not_praised(check):
    assert "VNNI" not in drawn(render_export, {**EXPORT, "variants": [{**VARIANT, "without_vnni": check}]})


@pytest.mark.parametrize(("width", "tables"), [(54, 3), (70, 2), (120, 1)])
def test_precisions_are_split_into_tables_that_fit(width, tables):
    stream = io.StringIO()
    render_layers(Console(file=stream, width=width), LAYERS)
    _, _, precisions = stream.getvalue().partition("export.float_scopes")
    assert precisions.count(LONG) == tables
    assert precisions.count("int8-dynamic") == 2
    assert max(len(line.rstrip()) for line in precisions.splitlines()) <= width


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


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.005, "less than a minute"),
        (1 / 60, "1 minute"),
        (1.5, "90 minutes"),
        (-1 / 60, "-1 minute"),
        (30, "30 hours"),
        (60, "2 days"),
    ],
)
def test_spans(hours, text):
    assert span_text(hours) == text
