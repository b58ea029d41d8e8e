"""``edgeml train --qat``: options that do not go together, and the table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeml_cli.render_qat import render_qat


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "abc"], "add --qat"),
        (["--qat", "--fast"], "--fast: shapes a float run"),
        (["--qat", "--teacher", "abc", "--slim", "abc"], "--teacher, --slim: shapes a float run"),
    ],
)
def test_options_that_contradict_each_other(options, message, tmp_path, edgeml):
    outcome = edgeml("train", tmp_path, *options)
    assert outcome.code == 2
    assert message in " ".join(outcome.stderr.split())


def row(stage, model, value, drop=None, *, lost=0, within=True, off=None):
    loss = None if drop is None else {"drop": drop, "lost": lost, "gained": 1, "within": within}
    return {"stage": stage, "model": model, "metric": metric(value), "loss": loss, "simulation_rms": off}


def metric(value):
    return {"name": "accuracy", "value": value, "n": 408}


def shown(**changes):
    report = {
        "run_id": "aaaa",
        "parent_run_id": "bbbb",
        "split": "by student",
        "rows": [
            row("float", "PyTorch", 0.98),
            row("post_training", "onnx-int8", 0.13, 0.85, lost=348, within=False),
            row("post_training", "tflite-int8", 0.98, 0.0001),
            row("quantization_aware", "onnx-int8", 0.87, 0.11, lost=49, within=False, off=0.143),
        ],
        "won_back": {"onnx-int8": 0.8673, "tflite-int8": -16.3},
        "epochs": 10,
        "best_epoch": 9,
        "resumed_at": None,
        "ranges": 29,
    }
    stream = io.StringIO()
    render_qat(Console(file=stream, width=80, force_terminal=False), report | changes)
    return stream.getvalue()


def test_the_table_and_what_was_won_back():
    text = shown()
    lines = {tuple(line.split()[:2]): line.split() for line in text.splitlines() if line.strip()}
    assert lines["post-training", "onnx-int8"][2:] == ["0.1300", "0.8500", "348", "1", "–"]
    assert lines["quantization-aware", "onnx-int8"][2:] == ["0.8700", "0.1100", "49", "1", "0.143"]
    assert "onnx-int8: 87% of the post-training loss won back" in text
    assert "tflite-int8: post-training int8 keeps the contract's promise already" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "best was 9" in text


def test_a_training_that_did_not_help_says_so():
    assert "none was better than the start, which is kept" in shown(best_epoch=0)
