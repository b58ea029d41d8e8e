"""Runs side by side, 80 columns wide, from the JSON form of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render import size_text, value_text
from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render_comparison"]

Report = Mapping[str, Any]

_ID = 8


def render_comparison(console: Console, report: Report) -> None:
    """Quality first, then cost."""
    runs, metric = report["runs"], report["runs"][0]["metric"]
    console.print(f"split: [bold]{escape(report['split'])}[/], {metric['n']} test items\n")
    console.print(_quality_table(runs, metric["name"]))
    console.print(_cost_table(runs, report["variant"]))
    for note in report["notes"]:
        console.print(f"[dim]{escape(note)}[/]", soft_wrap=True)


def _quality_table(runs: list[Report], metric: str) -> Table:
    table = simple_table("run", "<made", metric, "95 % interval", "better", "95 % interval")
    for run in runs:
        interval, difference = run["metric"]["interval"], run["interval"]
        table.add_row(
            run["run_id"][:_ID],
            escape(run["made"]),
            value_text(run["metric"]["value"]),
            f"{interval['low']:.3f} – {interval['high']:.3f}",
            "–" if run["better"] is None else f"{run['better']:+.4f}",
            "–" if difference is None else f"{difference['low']:+.3f} – {difference['high']:+.3f}",
        )
    return table


def _cost_table(runs: list[Report], variant: str | None) -> Table:
    title = f"{variant}, timed in turns with one thread" if variant else None
    table = simple_table("run", "parameters", "MACs", "file", "bundle", "metric", "µs", "ratio", title=title)
    for run in runs:
        shipped = run["shipped"]
        figures = ["–"] * 5
        if shipped:
            figures = [size_text(shipped["bytes"]), size_text(shipped["bundle_bytes"]), value_text(shipped["metric"])]
            figures.append("–" if shipped["latency_us"] is None else f"{shipped['latency_us']:.1f}")
            figures.append("–" if shipped["ratio"] is None else f"{shipped['ratio']:.2f}")
        table.add_row(run["run_id"][:_ID], f"{run['parameters']:,}", f"{run['macs']:,}", *figures)
    return table
