"""A model by its operators: the slowest ones in a table, the others summed up, and how near they are to the roof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["fold_rows", "render_operators"]

Report = Mapping[str, Any]

ROWS = 12
_BOUNDS = {
    "arithmetic": ("MACs", "the rate of multiply-accumulates"),
    "bandwidth": ("memory", "the bandwidth of the memory"),
}
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def render_operators(console: Console, report: Report) -> None:
    """Every variant that was profiled, then the roofline of the machine, where that was asked for.

    Args:
        console: Where to draw.
        report: The JSON form of a bench.
    """
    roofline = report.get("roofline")
    models = {} if roofline is None else {model["variant"]: model for model in roofline["models"]}
    for profile in report.get("operators") or ():
        console.print(f"[bold]{escape(profile['variant'])}[/] by operator", highlight=False)
        if profile["reason"] is not None:
            console.print(f"  [yellow]{escape(profile['reason'])}[/]\n", highlight=False)
            continue
        console.print(_where(profile), style="dim", highlight=False)
        console.print(_table(profile, models.get(profile["variant"])))
        console.print(_sum_text(profile), highlight=False)
        if profile["variant"] in models:
            console.print(_roof_text(models[profile["variant"]]), highlight=False)
        for note in profile["notes"]:
            console.print(f"[dim]{escape(note)}[/]", highlight=False)
        console.print()
    if roofline is not None:
        console.print(_ceilings_text(roofline) + "\n", highlight=False)


def fold_rows(rows: Sequence[Report], most: int = ROWS) -> tuple[list[Report], list[Report]]:
    """The operators that take longest, in the order of execution, and the others.

    Args:
        rows: All of them.
        most: How many to show; one more is shown rather than a rest of one.

    Returns:
        Both.
    """
    if len(rows) <= most + 1:
        return list(rows), []
    slowest = sorted(range(len(rows)), key=lambda index: -rows[index]["time_ms"])[:most]
    return [rows[index] for index in sorted(slowest)], [row for index, row in enumerate(rows) if index not in slowest]


def _where(profile: Report) -> str:
    threads = "1 thread" if profile["threads"] == 1 else f"{profile['threads']} threads"
    return (
        f"{escape(profile['profiler'])}, {threads}, {profile['runs']} runs; it counts whole "
        f"{'microseconds' if profile['resolution_us'] == 1 else 'units'}, rounded down, so rates are at least these"
    )


def _table(profile: Report, model: Report | None) -> Table:
    points = {} if model is None else {point["name"]: point for point in model["points"]}
    table = simple_table("operator", "<in", "µs", "share", "MACs", "GMAC/s", "roof", "<limit")
    # Some of a profiler's names take half a line of 80 columns: they wrap, and the figures beside them do not.
    for index, column in enumerate(table.columns):
        column.no_wrap = index > 0
    shown, rest = fold_rows(profile["rows"])
    for row in shown:
        point = points.get(row["name"])
        table.add_row(
            escape(row["type"]),
            row["precision"] or "–",
            _time_text(row["time_ms"], profile["resolution_us"]),
            f"{row['share']:.0%}",
            _count_text(row["macs"]),
            "–" if row["gmac_per_s"] is None else f"{row['gmac_per_s']:.3g}",
            "–" if point is None else f"{point['of_roof']:.0%}",
            "–" if point is None else _BOUNDS[point["bound"]][0],
        )
    if rest:
        macs = [row["macs"] for row in rest]
        time_ms = sum(row["time_ms"] for row in rest)
        share = sum(row["share"] for row in rest)
        whole = None if None in macs else sum(macs)
        table.add_row(f"{len(rest)} others", "", f"{1e3 * time_ms:.1f}", f"{share:.0%}", _count_text(whole), "", "", "")
    return table


def _time_text(time_ms: float, resolution_us: float) -> str:
    """A profiler that counts whole microseconds cannot tell what takes less."""
    time_us = 1e3 * time_ms
    return f"< {resolution_us:g}" if time_us < resolution_us / 2 else f"{time_us:,.1f}"


def _count_text(count: int | None) -> str:
    if count is None:
        return "?"
    if count == 0:
        return "–"
    return next((f"{count / unit:.3g} {sign}" for unit, sign in _UNITS if count >= unit), str(count))


def _sum_text(profile: Report) -> str:
    plain, profiled, operators = (1e3 * profile[key] for key in ("plain_ms", "profiled_ms", "operators_ms"))
    return (
        f"operators together {operators:,.1f} µs; a run takes {profiled:,.1f} µs with the profiler and "
        f"[bold]{plain:,.1f} µs[/] without"
    )


def _roof_text(model: Report) -> str:
    if model["least_ms"] is None:
        return "how near the run is to the roof cannot be told: an operator that multiplies has no known place"
    return (
        f"at the roof it would take {1e3 * model['least_ms']:,.1f} µs: without the profiler it is at "
        f"[bold]{model['of_roof']:.0%}[/] of the roof, which is {_BOUNDS[model['bound']][1]}"
    )


def _ceilings_text(roofline: Report) -> str:
    peaks = ", ".join(f"{rate:.3g} GMAC/s in {name}" for name, rate in roofline["peaks_gmac_per_s"].items())
    threads = "one thread" if roofline["threads"] == 1 else f"{roofline['threads']} threads"
    text = (
        f"roof: {peaks}, {roofline['bandwidth_gb_per_s']:.3g} GB/s; measured on {threads} before and after the profile"
    )
    if roofline["too_low"]:
        doubt = "An operator is faster than that: the true roof is higher. Profile again when the machine is quiet."
        return f"{text}\n[yellow]{doubt}[/]"
    return f"{text}\n[yellow]The machine was busy while its roof was measured.[/]" if roofline["noisy"] else text
