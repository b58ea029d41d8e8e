"""The machine while it measured, and how the latency went over time in a sustained bench."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.pages.parts import Part
from edgeml_devices.reports.words import conditions_text, figure_text, share_text
from edgeml_pages import Plot, Scale, figure, folded, gallery, legend, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeml_devices.reports.record import TargetBench
    from edgeml_pages import Cell

__all__ = ["conditions_part", "curve_part"]

_TOLD = (("clock_mhz", "clock, MHz"), ("temperature_c", "temperature, °C"))


def curve_part(bench: TargetBench) -> Part | None:
    """Latency, clock and temperature over the minutes of a sustained bench.

    Args:
        bench: One with a report.

    Returns:
        The section, or None where the bench was not a sustained one.
    """
    curves = {one["id"]: one["curve"] for one in bench.values["variants"] if one["curve"]}
    if not curves:
        return None
    charts, tables = [], []
    for id_, curve in curves.items():
        charts.append(_latency_chart(id_, curve))
        charts += [_told_chart(id_, curve, key, name) for key, name in _TOLD if _known(curve, key)]
        rows = [_curve_row(point) for point in curve]
        columns = ["minute", "p50 ms", "p95 ms", "MHz", "°C", "held down"]
        tables.append(table(f"{id_} over time", columns, rows))
    return Part(
        name="curve",
        title="Over time",
        html=(
            "<p>One point for each process. Budgets are judged on the last ones, on the machine as hot as it gets.</p>",
            legend("solid: p50", "dashed: p95"),
            gallery(*charts),
            folded("The same as numbers", *tables),
        ),
    )


def _latency_chart(id_: str, curve: Sequence[Mapping[str, Any]]) -> str:
    lines = {key: [(point["minutes"], point[key]) for point in curve] for key in ("p50", "p95")}
    plot = _plot([0.0, *(point["minutes"] for point in curve)], [0.0, *(y for line in lines.values() for _, y in line)])
    marks = [plot.line(lines["p50"], "s1"), plot.line(lines["p95"], "s2")]
    first, last = curve[0], curve[-1]
    said = f"p50 {figure_text(first['p50'])} ms at first, {figure_text(last['p50'])} ms in the end."
    chart = plot.svg(f"{id_}: latency over time", said, marks, x_name="minutes", y_name="latency, ms")
    return figure(f"{id_}: {said}", chart)


def _told_chart(id_: str, curve: Sequence[Mapping[str, Any]], key: str, name: str) -> str:
    line = [(point["minutes"], point[key]) for point in curve if point[key] is not None]
    plot = _plot([0.0, *(x for x, _ in line)], [y for _, y in line])
    said = f"from {figure_text(line[0][1])} to {figure_text(line[-1][1])}."
    chart = plot.svg(f"{id_}: {name} over time", said, [plot.line(line, "s1")], x_name="minutes", y_name=name)
    return figure(f"{name} meanwhile: {said}", chart)


def _curve_row(point: Mapping[str, Any]) -> list[Cell]:
    return [
        f"{point['minutes']:.1f}",
        figure_text(point["p50"]),
        figure_text(point["p95"]),
        figure_text(point["clock_mhz"]),
        figure_text(point["temperature_c"]),
        _yes_no(point["throttled"]),
    ]


def conditions_part(bench: TargetBench) -> Part | None:
    """Other work, clock and temperature while each process measured.

    Args:
        bench: One with a report.

    Returns:
        The section, or None where nothing was measured.
    """
    conditions: Sequence[Mapping[str, Any]] = bench.values["conditions"]
    if not conditions:
        return None
    told: list[tuple[str, str, Callable[[float], float]]] = [("other_share", "other work, % of the cores", _percent)]
    told += [(key, name, float) for key, name in _TOLD]
    charts = [_by_process(conditions, key, name, scaled) for key, name, scaled in told if _known(conditions, key)]
    columns = ["process", "other work", "MHz", "°C", "held down", "governor"]
    rows: list[list[Cell]] = [
        [
            str(number),
            share_text(one["other_share"]),
            figure_text(one["clock_mhz"]),
            figure_text(one["temperature_c"]),
            _yes_no(one["throttled"]),
            one["governor"] or "–",
        ]
        for number, one in enumerate(conditions, start=1)
    ]
    return Part(
        name="conditions",
        title="The machine meanwhile",
        html=(
            f"<p>{escape(conditions_text(bench.values))} A dash stands for what the system does not tell.</p>",
            gallery(*charts) if charts else "",
            folded("Process by process", table("The machine during each process", columns, rows)),
        ),
    )


def _by_process(conditions: Sequence[Mapping[str, Any]], key: str, name: str, scaled: Callable[[float], float]) -> str:
    found = [(number, scaled(one[key])) for number, one in enumerate(conditions, start=1) if one[key] is not None]
    top = [100.0] if key == "other_share" else []
    plot = _plot([1.0, float(len(conditions))], [0.0, *top, *(y for _, y in found)])
    marks = [plot.line(found, "s1"), *(plot.point(x, y, f"process {x}: {figure_text(y)}") for x, y in found)]
    said = f"{figure_text(min(y for _, y in found))} to {figure_text(max(y for _, y in found))}"
    text = partial(_whole)
    chart = plot.svg(name, said, marks, x_name="process", y_name=name, x_text=text)
    return figure(f"{name}: {said}", chart)


def _plot(xs: Sequence[float], ys: Sequence[float]) -> Plot:
    return Plot.of(partial(_linear, xs), partial(_linear, ys), height=190, right=20)


def _linear(values: Sequence[float], start: float, end: float) -> Scale:
    return Scale.around(values, start=start, end=end)


def _percent(share: float) -> float:
    return 100 * share


def _whole(tick: float) -> str:
    return f"{tick:g}" if tick == int(tick) else ""


def _known(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(row[key] is not None for row in rows)


def _yes_no(told: bool | None) -> str:
    return "–" if told is None else "yes" if told else "no"
