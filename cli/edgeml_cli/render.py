"""Tables of results for a person, 80 columns wide, from the JSON form of each report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "budget_table",
    "milliseconds",
    "render_bench",
    "render_prediction",
    "render_training",
    "rounded",
    "simple_table",
    "size_text",
    "slice_table",
    "value_text",
]

Report = Mapping[str, Any]

VERDICT_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "not_measured": "yellow"}
TOP_SCORES = 5
BAR_WIDTH = 30


def simple_table(*columns: str, title: str | None = None) -> Table:
    """A table whose first column is text and whose others are figures.

    Args:
        columns: Headings; a ``<`` in front makes a later column text too.
        title: Line above it.
    """
    table = Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, collapse_padding=True
    )
    for index, heading in enumerate(columns):
        left = index == 0 or heading.startswith("<")
        table.add_column(
            heading.removeprefix("<"), justify="left" if left else "right", overflow="fold", no_wrap=index == 0
        )
    return table


def size_text(size_bytes: int) -> str:
    """A size as people write it: ``812 B``, ``45.1 kB``, ``3.2 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:.1f} MB"


def render_training(console: Console, report: Report) -> None:
    """Baselines, model and slices of one training."""
    metric = report["metric"]
    name = metric["name"]
    console.print(f"split: [bold]{escape(report['split'])}[/], {metric['n']} test items\n")
    table = simple_table("model", name, "95 % interval")
    for baseline in report["baselines"]:
        table.add_row(baseline["name"], value_text(baseline["value"]), _interval(baseline))
    table.add_row("[bold]model[/]", f"[bold]{value_text(metric['value'])}[/]", _interval(metric))
    console.print(table)
    if report["slices"]:
        console.print(slice_table(report["slices"], name))
    if not report["floor_met"]:
        console.print(f"[yellow]{name} misses the contract's floor (metric.floor).[/]\n")
    resumed = f", resumed at {report['resumed_at']}" if report["resumed_at"] else ""
    console.print(f"run {report['run_id']}, {report['epochs']} epochs, best was {report['best_epoch']}{resumed}")


def slice_table(slices: list[Report], metric: str) -> Table:
    """The metric on every slice.

    Args:
        slices: JSON forms of slice results.
        metric: Heading of the figures.
    """
    table = simple_table("slice", metric, "95 % interval", "items", "<")
    for part in slices:
        table.add_row(
            escape(part["name"]),
            value_text(part["value"]),
            _interval(part),
            str(part["n"]),
            "[dim]too few to judge[/]" if part["too_small"] else "",
        )
    return table


def render_bench(console: Console, report: Report) -> None:
    """Latency, cold start and memory of each variant, then the budgets, then what else a reader should know."""
    mismatch = report["mismatch"]
    console.print(f"device: [bold]{escape(report['device'])}[/], {report['provenance']}")
    for reason in mismatch:
        console.print(f"  [yellow]{escape(reason)}[/]")
    if any(variant["threads"] for variant in report["variants"]):
        console.print()
        console.print(_speed_table(report["variants"]))
    if report["budgets"]:
        console.print(budget_table(report["budgets"]))
    for entry in (*report["variants"], *report["budgets"]):
        if entry["reason"] and not mismatch:
            console.print(f"[yellow]{escape(entry.get('id') or entry['name'])}:[/] {escape(entry['reason'])}")
    for text in report["notes"]:
        if not mismatch or mismatch[0] not in text:
            console.print(f"[dim]{escape(text)}[/]")


def _speed_table(variants: list[Report]) -> Table:
    table = simple_table("variant", "p50 ms", "p95 ms", "p99 ms", "calls/s", "start ms", "RSS MB", "threads")
    for variant in variants:
        latency = variant["latency_ms"]
        table.add_row(
            escape(variant["id"]),
            *(milliseconds(latency[key]) for key in ("p50", "p95", "p99")),
            rounded(variant["throughput_per_s"]),
            rounded(variant["cold_start_ms"]),
            rounded(variant["peak_rss_mb"]),
            "–" if variant["threads"] is None else str(variant["threads"]),
        )
    return table


def budget_table(budgets: list[Report]) -> Table:
    """Limit, value and verdict of every budget.

    Args:
        budgets: The ``budgets`` of a bench's JSON form.
    """
    table = simple_table("budget", "<variant", "limit", "value", "<verdict")
    for budget in budgets:
        verdict = budget["verdict"]
        value = "–" if budget["value"] is None else f"{budget['value']:.4g}"
        style = VERDICT_STYLES.get(verdict, "default")
        table.add_row(budget["name"], budget["variant"] or "–", f"{budget['limit']:g}", value, f"[{style}]{verdict}[/]")
    return table


def render_prediction(console: Console, report: Report) -> None:
    """The label with its score, and the best few; or the plain outputs where there are no labels."""
    console.print(f"{escape(report['source'])}  [dim]({report['variant']})[/]\n")
    if report["scores"] is None:
        for name, values in report["outputs"].items():
            console.print(f"  {name}: {values}")
        return
    best = sorted(report["scores"].items(), key=lambda item: item[1], reverse=True)[:TOP_SCORES]
    width = max(len(label) for label, _ in best)
    for index, (label, score) in enumerate(best):
        style = "bold" if index == 0 else "dim"
        bar = "█" * round(score * BAR_WIDTH)
        console.print(f"  [{style}]{escape(label.ljust(width))}  {score:.3f}  {bar}[/]")


def value_text(value: float) -> str:
    """A metric to four places."""
    return f"{value:.4f}"


def _interval(entry: Report) -> str:
    interval = entry["interval"]
    return f"{interval['low']:.3f} – {interval['high']:.3f}"


def milliseconds(value: float | None) -> str:
    """A latency to three places, or a dash where it was not measured."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def rounded(value: float | None) -> str:
    """A figure without decimals, or a dash where it was not measured."""
    return "–" if value is None else f"{value:,.0f}"
