"""The view of a comparison with an earlier bench: figures, then what the comparison is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_bench import VERDICT_STYLES
from edgeml_cli.render_table import simple_table
from edgeml_devices.reports.words import figure_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["render_baseline", "span_text"]

Report = Mapping[str, Any]

_SHORT = {
    "latency_ms_p50": "p50 ms",
    "latency_ms_p95": "p95 ms",
    "throughput_per_s": "calls/s",
    "cold_start_ms": "start ms",
    "peak_rss_mb": "RSS MB",
    "bundle_mb": "file MB",
    "instructions": "instructions",
}


def render_baseline(console: Console, report: Report) -> None:
    """How the model compares with an earlier bench, where that was asked for.

    Args:
        console: Where to draw.
        report: The JSON form of a bench.
    """
    baseline = report.get("baseline")
    if baseline is None:
        return
    console.print(f"beside {escape(baseline['file'])}{_when(baseline)}", highlight=False)
    if baseline["reason"]:
        console.print(f"[yellow]not compared: {escape(baseline['reason'])}[/]", highlight=False)
        return
    for text in baseline["differences"]:
        console.print(f"  [yellow]{escape(text)}[/]", highlight=False)
    for when in ("then", "now"):
        if (disturbed := baseline[f"disturbed_{when}"]) is not None:
            console.print(f"  [yellow]{escape(disturbed)} {when}[/]", highlight=False)
    _tables(console, baseline["figures"])
    counted = any(row["name"] == "instructions" for row in baseline["figures"])
    if counted or baseline["same_machine"]:
        for reason in dict.fromkeys(row["reason"] for row in baseline["figures"] if row["reason"]):
            console.print(f"[yellow]{escape(reason)}[/]", highlight=False)
    else:
        console.print("[yellow]another machine: times and memory are not compared[/]", highlight=False)
    if baseline["left_out"]:
        console.print(f"[yellow]not in the earlier one: {escape(', '.join(baseline['left_out']))}[/]", highlight=False)
    stronger = "" if counted else "; --against OTHER finds a slowdown of 10 %"
    console.print(f"[dim]two benches of one file may differ by what is allowed{stronger}[/]", highlight=False)


def _tables(console: Console, rows: list[Report]) -> None:
    """A table for the file, and one for each variant."""
    for name in dict.fromkeys(row["variant"] for row in rows):
        if name is not None:
            console.print(f"[bold]{escape(name)}[/]", highlight=False)
        table = simple_table("<", "then", "now", "ratio", "95 % interval", "allowed", "<verdict")
        for row in rows:
            if row["variant"] == name:
                table.add_row(*_cells(row))
        console.print(table)


def _cells(row: Report) -> tuple[str, ...]:
    digits = 3 if row["name"] == "instructions" else 2
    low, high = (f"{row[key]:.{digits}f}" if row[key] is not None else "" for key in ("low", "high"))
    exact = row["ratio"] is None or row["variant"] is None
    return (
        _SHORT[row["name"]],
        *("–" if row[key] is None else figure_text(row[key]) for key in ("then", "now")),
        "–" if row["ratio"] is None else f"{row['ratio']:.3f}",
        "–" if exact else f"{low} – {high}",
        f"{row['allowed']:.{digits}f}",
        f"[{VERDICT_STYLES[row['verdict']]}]{row['verdict']}[/]",
    )


def _when(baseline: Report) -> str:
    """How long ago, and of which version, as far as it is known."""
    hours, version = baseline["hours_between"], baseline["version"]
    parts = [f"version {version}"] if version else []
    if hours is not None:
        parts.append(f"{span_text(hours)} before")
    return f" ({escape(', '.join(parts))})" if parts else ""


def span_text(hours: float) -> str:
    """Hours in words, in the unit in which they are a handful."""
    minutes = round(hours * 60)
    if abs(hours) >= 48:
        return f"{hours / 24:.0f} days"
    if abs(hours) >= 2:
        return f"{hours:.0f} hours"
    return "less than a minute" if minutes == 0 else f"{minutes} minute{'' if abs(minutes) == 1 else 's'}"
