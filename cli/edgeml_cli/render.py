"""Tables of results for a person, 80 columns wide, from the JSON form of each report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_alarms import render_alarms
from edgeml_cli.render_baseline import render_baseline
from edgeml_cli.render_bench import VERDICT_STYLES, render_against, render_conditions
from edgeml_cli.render_choice import choice_text, ranking_text
from edgeml_cli.render_instructions import render_instructions
from edgeml_cli.render_lineage import lineage_text
from edgeml_cli.render_operators import render_operators
from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "budget_table",
    "fast_text",
    "milliseconds",
    "render_bench",
    "render_prediction",
    "render_training",
    "rounded",
    "size_text",
    "slice_table",
    "value_text",
]

Report = Mapping[str, Any]

TOP_SCORES = 5
NAMED_FILES = 5
BAR_WIDTH = 30
NOT_THE_DEVICE = (
    "so nothing was timed: bench on the device itself (--on ssh://user@host or adb://serial), or count instructions on "
    "an emulated one (--on emulator)"
)


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
    if report.get("fast"):
        console.print(fast_text(report["fast"]) + "\n", highlight=False)
    if report["unreadable"]:
        console.print(_unreadable_text(report["unreadable"]), soft_wrap=True, highlight=False)
    table = simple_table("model", name, "95 % interval")
    for baseline in report["baselines"]:
        table.add_row(baseline["name"], value_text(baseline["value"]), _interval(baseline))
    table.add_row("[bold]model[/]", f"[bold]{value_text(metric['value'])}[/]", _interval(metric))
    console.print(table)
    if report["slices"]:
        console.print(slice_table(report["slices"], name))
    if report.get("anomaly"):
        render_alarms(console, report["anomaly"])
    if report.get("ranking"):
        console.print(ranking_text(report["ranking"]) + "\n", highlight=False)
    if lineage := lineage_text(report):
        console.print(lineage + "\n", highlight=False)
    if verdict := choice_text(report):
        console.print(verdict + "\n", highlight=False)
    if not report["floor_met"]:
        console.print(f"[yellow]{name} misses the contract's floor (metric.floor).[/]\n")
    if report["epochs"] == 0:
        console.print(f"run {report['run_id']}, nothing trained: the weights are those of network() in task.py")
        return
    resumed = f", resumed at {report['resumed_at']}" if report["resumed_at"] else ""
    console.print(f"run {report['run_id']}, {report['epochs']} epochs, best was {report['best_epoch']}{resumed}")


def fast_text(fast: Report) -> str:
    """What a fast run set, and what its figures are worth.

    Args:
        fast: The ``fast`` of a training's JSON form.
    """
    origin = "edgeml.toml has no \\[fast] table, so it is" if fast["default"] else "\\[fast] of edgeml.toml sets"
    settings = escape(", ".join(fast["overrides"])) or "no more than the project's own settings"
    return (
        f"[yellow]A fast run:[/] {origin} {settings}. The figures show that the project works, not how good the model "
        "gets."
    )


def _unreadable_text(unreadable: list[str]) -> str:
    """What is missing from the data, the first few by name."""
    lines = [f"[yellow]left out of the data because it cannot be used: {len(unreadable)}[/]"]
    lines += [f"  {escape(message)}" for message in unreadable[:NAMED_FILES]]
    if len(unreadable) > NAMED_FILES:
        lines.append(f"  and {len(unreadable) - NAMED_FILES} more; --json names all of them")
    return "\n".join(lines) + "\n"


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
    if mismatch and not any(variant.get("emulated") for variant in report["variants"]):
        console.print(f"[dim]{NOT_THE_DEVICE}[/]", highlight=False)
    render_instructions(console, report)
    if any(variant["threads"] and not variant.get("emulated") for variant in report["variants"]):
        console.print()
        console.print(_speed_table([*report["variants"], *report["further"]]))
    render_conditions(console, report)
    if report["budgets"]:
        console.print(budget_table(report["budgets"]))
    render_against(console, report)
    render_baseline(console, report)
    render_operators(console, report)
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
            escape(variant.get("way", variant["id"])),
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
        limit, value = (_figure_text(budget["name"], budget[key]) for key in ("limit", "value"))
        style = VERDICT_STYLES.get(verdict, "default")
        name = budget.get("way") or budget["variant"] or "–"
        table.add_row(budget["name"], escape(name), limit, value, f"[{style}]{verdict}[/]")
    return table


def _figure_text(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if name == "instructions" else f"{value:.4g}"


def render_prediction(console: Console, report: Report) -> None:
    """The label with its score, and the best few; or the plain outputs where there are no labels."""
    console.print(f"{escape(report['source'])}  [dim]({report['variant']})[/]\n")
    if report["alarm"] is not None:
        style, verdict = ("bold red", "alarm") if report["alarm"] else ("green", "no alarm")
        console.print(f"  [{style}]{verdict}[/]  {report['score']:.3f} of the threshold")
        return
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
