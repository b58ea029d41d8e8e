"""What a bench says besides its figures: the machine meanwhile, latency over time, another model's speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render_against", "render_conditions"]

Report = Mapping[str, Any]

VERDICT_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "not_measured": "yellow"}
CURVE_ROWS = 12
BAR_WIDTH = 20


def render_conditions(console: Console, report: Report) -> None:
    """The machine while it measured, then one table per variant of a sustained bench.

    Args:
        console: Where to draw.
        report: The JSON form of a bench.
    """
    if report["conditions"]:
        console.print(_conditions_text(report), highlight=False)
        console.print()
    for variant in report["variants"]:
        if variant["curve"]:
            console.print(f"[bold]{escape(variant['id'])}[/] over time", highlight=False)
            console.print(_curve_table(variant["curve"]))


def render_against(console: Console, report: Report) -> None:
    """How the model compares with another one, where that was asked for.

    Args:
        console: Where to draw.
        report: The JSON form of a bench.
    """
    against = report.get("against")
    if against is None:
        return
    console.print(f"time ÷ that of {escape(against['other'])}", highlight=False)
    table = simple_table("variant", "ratio", "95 % interval", "processes", "<verdict")
    for row in against["ratios"]:
        interval = "–" if None in (row["low"], row["high"]) else f"{row['low']:.3f} – {row['high']:.3f}"
        style = VERDICT_STYLES[row["verdict"]]
        verdict = f"[{style}]{row['verdict']}[/]"
        table.add_row(escape(row["variant"]), f"{row['ratio']:.3f}", interval, str(row["processes"]), verdict)
    console.print(table)
    console.print(f"[dim]a slowdown of up to {against['tolerance']:.0%} passes[/]", highlight=False)
    if against["left_out"]:
        console.print(f"[yellow]not in the other one: {escape(', '.join(against['left_out']))}[/]", highlight=False)


def _conditions_text(report: Report) -> str:
    conditions = report["conditions"]
    parts = [f"{len(conditions)} process{'es' if len(conditions) > 1 else ''}"]
    if shares := _known(conditions, "other_share"):
        parts.append(f"other work {median(shares):.0%} of the cores")
    if clocks := _known(conditions, "clock_mhz"):
        parts.append(f"clock {min(clocks):,.0f} – {max(clocks):,.0f} MHz")
    if governors := sorted(set(_known(conditions, "governor"))):
        parts.append(f"governor {', '.join(governors)}")
    if temperatures := _known(conditions, "temperature_c"):
        parts.append(f"at most {max(temperatures):.0f} °C")
    if throttled := _known(conditions, "throttled"):
        parts.append("[yellow]throttled[/]" if any(throttled) else "not throttled")
    if report["memory_limit_bytes"] is not None:
        parts.append(f"within {report['memory_limit_bytes'] / 1e6:,.0f} MB of memory")
    return f"measured in {', '.join(parts)}"


def _known(conditions: Sequence[Report], key: str) -> list[Any]:
    return [one[key] for one in conditions if one[key] is not None]


def _curve_table(curve: Sequence[Report]) -> Table:
    """A row per moment, evenly spaced; the bar is the median beside the slowest moment's."""
    table = simple_table("minute", "p50 ms", "p95 ms", "MHz", "°C", "<")
    slowest = max(point["p50"] for point in curve)
    step = max(1, -(-len(curve) // CURVE_ROWS))
    for point in curve[::step]:
        bar = "█" * round(point["p50"] / slowest * BAR_WIDTH)
        table.add_row(
            f"{point['minutes']:.1f}",
            f"{point['p50']:.4g}",
            f"{point['p95']:.4g}",
            "–" if point["clock_mhz"] is None else f"{point['clock_mhz']:,.0f}",
            "–" if point["temperature_c"] is None else f"{point['temperature_c']:.0f}",
            f"{bar} [yellow]throttled[/]" if point["throttled"] else bar,
        )
    return table
