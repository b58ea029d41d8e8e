"""``edgeml train --teacher``, ``--slim``, ``--slim-to``, and ``edgeml compare``, as a user calls them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeml_cli.main import main
from edgeml_cli.render_compare import render_comparison
from edgeml_cli.render_lineage import lineage_text

ONE = ("--set", "train.epochs=1")


def rendered(render, report):
    console = Console(file=io.StringIO(), width=80, color_system=None)
    render(console, report)
    return console.file.getvalue()


def metric(value):
    interval = {"low": value - 0.01, "high": value + 0.01, "level": 0.95, "method": "wilson"}
    return {"name": "accuracy", "value": value, "interval": interval, "n": 450}


COMPARISON = {
    "split": "by [machine]",
    "variant": "tflite-int8",
    "runs": [
        {
            "run_id": "a" * 32,
            "made": "from scratch",
            "metric": metric(0.98),
            "better": None,
            "interval": None,
            "parameters": 1_234_567,
            "macs": 12_345_678,
            "shipped": {
                "bytes": 123_456,
                "bundle_bytes": 1_234_567,
                "metric": 0.97,
                "latency_us": 123.4,
                "ratio": 1.0,
            },
        },
        {
            "run_id": "b" * 32,
            "made": "slimmed aaaaaaaa to 0.5, taught by wide:cccccccc",
            "metric": metric(0.97),
            "better": -0.01,
            "interval": {"low": -0.02, "high": 0.005, "level": 0.95, "method": "agresti-min"},
            "parameters": 123,
            "macs": 456,
            "shipped": None,
        },
        {
            "run_id": "d" * 32,
            "made": "from scratch",
            "metric": metric(0.97),
            "better": -0.01,
            "interval": {"low": -0.02, "high": 0.005, "level": 0.95, "method": "agresti-min"},
            "parameters": 123,
            "macs": 456,
            "shipped": {"bytes": 12, "bundle_bytes": 34, "metric": 0.9, "latency_us": None, "ratio": None},
        },
    ],
    "notes": ["bbbbbbbb was not exported: edgeml export PROJECT --run bbbbbbbb"],
}


def test_runs_side_by_side_fit_eighty_columns():
    text = rendered(render_comparison, COMPARISON)

    assert all(len(line) <= 80 for line in text.splitlines())
    for words in (
        "by [machine]",
        "-0.0100",
        "-0.020 – +0.005",
        "1,234,567",
        "12,345,678",
        "123.5 kB",
        "1.2 MB",
        "123.4",
    ):
        assert words in text
    assert "wide:cccccccc" in text
    assert COMPARISON["notes"][0] in text


def test_runs_without_a_bundle_have_dashes():
    text = rendered(render_comparison, {**COMPARISON, "variant": None, "runs": [COMPARISON["runs"][1]] * 2})

    assert "timed" not in text
    assert "–" in text


def test_what_a_training_built_on():
    report = {
        "parameters": 40,
        "teacher": {"run_id": "c" * 32, "project": "wide", "parameters": 1000},
        "slimming": {
            "run_id": "a" * 32,
            "profile": "raspberry-pi-5",
            "keep": 0.4375,
            "layers": [{"path": "network.0", "before": 16, "after": 8}],
            "left_alone": {"network.4": "they are the model's outputs"},
            "parameters_before": 100,
            "steps": [],
            "not_judged": {"latency_ms_p95": "this machine is not a raspberry-pi-5"},
        },
    }

    assert lineage_text(report).splitlines() == [
        "teacher: run wide:cccccccc, 1,000 parameters",
        "slimmed: run aaaaaaaa to 0.438 of its channels for the budgets of raspberry-pi-5, 100 → 40 parameters",
        "  network.0: 16 → 8 channels",
        "  network.4 stays: they are the model's outputs",
        "[yellow]not judged: latency_ms_p95: this machine is not a raspberry-pi-5[/]",
    ]
    assert lineage_text({"teacher": None, "slimming": None}) == ""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Handwritten digits, a narrow network trained for one epoch."""
    folder = tmp_path_factory.mktemp("projects") / "digits"
    assert main(["init", str(folder), "--template", "handwritten-digits"]) == 0
    assert main(["train", str(folder), *ONE, "--set", "data.width=8", "--json"]) == 0
    return folder


def test_train_slim_and_compare(edgeml, project):
    student = edgeml("train", project, *ONE, "--set", "data.width=8", "--set", "train.seed=1", "--json").json()
    slim = edgeml("train", project, *ONE, "--teacher", student["run_id"][:8], "--slim", student["run_id"][:8])
    compared = edgeml("compare", project, student["run_id"], slim.stdout.split("run ")[-1][:8], "--json")

    assert slim.code == 0
    assert "network.0: 8 → 4 channels" in slim.stdout
    assert f"teacher: run {student['run_id'][:8]}" in slim.stdout
    rows = compared.json()["runs"]
    assert rows[0]["made"] == "from scratch"
    assert rows[1]["made"] == f"slimmed {student['run_id'][:8]} to 0.5, taught by {student['run_id'][:8]}"
    assert rows[1]["parameters"] < rows[0]["parameters"]
    shown = edgeml("compare", project)
    assert shown.code == 0
    assert "was not exported" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--slim-to", "pi"), "known are host, imx8m-quad"),
        (("train", "--slim-to", "raspberry-pi-5"), "expected [budgets.raspberry-pi-5] to slim to"),
        (("train", "--slim", "0000"), "exactly one finished run whose id begins with 0000"),
        (("train", "--teacher", "0000"), "exactly one finished run whose id begins with 0000"),
        (("train", "--teacher", "no/where"), "no edgeml.toml in no/where"),
        (("compare", "0000", "1111"), "exactly one finished run whose id begins with 0000"),
    ],
)
def test_bad_words_are_answered(edgeml, project, arguments, message):
    outcome = edgeml(arguments[0], project, *arguments[1:])

    assert outcome.code == 2
    assert message in " ".join(outcome.stderr.split())
