"""The table of operators and the roofline in words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeml_cli.render_operators import fold_rows, render_operators


def row(number, **changes):
    values = {"type": "Conv", "precision": "float32", "time_ms": number / 1e3, "share": 0.01, "macs": 10**number}
    return {"name": f"conv {number}", "gmac_per_s": 1.25, "calls": 1, "bytes": 9, "kernel": None} | values | changes


def profile(*rows, **changes):
    values = {
        "variant": "onnx-fp32",
        "reason": None,
        "profiler": "onnxruntime 1.32.0, session profiler",
        "resolution_us": 1.0,
        "threads": 1,
        "runs": 400,
        "plain_ms": 0.023,
        "profiled_ms": 0.085,
        "operators_ms": 0.038,
        "notes": [],
        "rows": list(rows),
    }
    return values | changes


def roofline(**changes):
    point = {"name": "conv 3", "of_roof": 0.5, "bound": "arithmetic"}
    model = {"variant": "onnx-fp32", "points": [point], "least_ms": 0.0115, "of_roof": 0.5, "bound": "bandwidth"}
    values = {"threads": 1, "bandwidth_gb_per_s": 23.4, "peaks_gmac_per_s": {"float32": 49.6, "int8": 216.0}}
    return values | {"noisy": False, "too_low": False, "models": [model | changes]}


def drawn(report, width=80):
    out = io.StringIO()
    render_operators(Console(file=out, width=width), report)
    return out.getvalue()


def test_the_slowest_stay_in_the_order_of_execution_and_the_rest_is_summed_up():
    rows = [row(number % 7 + 1) for number in range(40)]
    shown, rest = fold_rows(rows, 5)
    assert [one["time_ms"] for one in shown] == [0.007] * 5
    assert len(rest) == 35
    assert fold_rows(rows[:6], 5) == (rows[:6], [])  # no rest of one


def test_a_profile():
    text = drawn({"operators": [profile(row(3), row(0, macs=0, gmac_per_s=None))], "roofline": roofline()})
    assert "Conv      float32  3.0     1%   1 k    1.25   50%  MACs" in text
    assert "< 1" in text
    assert "operators together 38.0 µs; a run takes 85.0 µs with the profiler and 23.0 µs" in text
    assert "at the roof it would take 11.5 µs: without the profiler it is at 50% of the roof" in " ".join(text.split())
    assert "roof: 49.6 GMAC/s in float32, 216 GMAC/s in int8, 23.4 GB/s" in text


def test_long_names_and_many_operators_fit_80_columns():
    rows = [row(number % 7 + 1, type="QLinearGlobalAveragePool") for number in range(40)]
    text = drawn({"operators": [profile(*rows)], "roofline": None})
    assert "28 others" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "float32" in text


def test_only_the_names_wrap():
    slow = {"precision": "float32", "time_ms": 123.4567, "share": 1.0, "gmac_per_s": 0.0123, "macs": 123_000_000}
    rows = [row(number, type="Fully Connected (NC, QS8, QC8W) GEMM", **slow) for number in (3, 4)]
    text = drawn({"operators": [profile(*rows)], "roofline": roofline()})
    assert "operator                 in              µs  share   MACs  GMAC/s  roof  limit" in text
    assert "Fully Connected (NC,     float32  123,456.7   100%  123 M  0.0123   50%  MACs" in text
    assert "QS8, QC8W) GEMM" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"operators": [profile(reason="ended by signal [SIGSEGV]")], "roofline": None}, "ended by signal [SIGSEGV]"),
        ({"operators": [profile(row(1, macs=None))], "roofline": roofline(least_ms=None)}, "cannot be told"),
        ({"operators": [profile(row(1))], "roofline": roofline() | {"too_low": True}}, "the true roof is higher"),
        ({"operators": [profile(row(1))], "roofline": roofline() | {"noisy": True}}, "The machine was busy"),
    ],
)
def test_what_cannot_be_told(report, words):
    assert words in " ".join(drawn(report).split())


def test_nothing_is_said_where_nothing_was_asked():
    assert drawn({"operators": None, "roofline": None}) == ""
    assert drawn({}) == ""


@pytest.mark.parametrize("others", [["--recommend"], ["--runner", "FILE", "--on", "adb://x"]])
def test_what_does_not_go_together(edgeml, tmp_path, others):
    file = tmp_path / "m.onnx"
    file.write_bytes(b"")
    done = edgeml("bench", file, "--profile", *(file if word == "FILE" else word for word in others))
    assert done.code == 2
    assert "--profile" in done.stderr
