"""Earlier runs beside this one: p95 with its interval, run by run."""

from __future__ import annotations

import math
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from edgeml_devices.pages.parts import Part
from edgeml_devices.reports.history import run_of
from edgeml_devices.reports.words import COMPARING_RUNS, emulated_rows, figure_text, interval_text, machine_text
from edgeml_devices.sameness import differences
from edgeml_pages import Html, Plot, Scale, figure, gallery, legend, table, tag
from edgeml_runtime.contract import BudgetName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_devices.past import BenchFacts, VariantFacts
    from edgeml_devices.reports.record import BenchRecord, TargetBench
    from edgeml_pages import Cell

__all__ = ["history_part"]

_P95 = BudgetName.LATENCY_MS_P95
_TICKS = 6
_NEAR = 3.0


def history_part(record: BenchRecord, bench: TargetBench) -> Part | None:
    """How p95 went over earlier runs of the same model for the same device.

    Args:
        record: Holds the earlier runs.
        bench: One with a report.

    Returns:
        The section, or None where no earlier runs were asked for, or this one was emulated and has no p95.
    """
    if record.history is None or emulated_rows(bench.values):
        return None
    own = run_of(record, bench)
    alike = [run for run in record.history.runs if run.device == own.device and run.name in (own.name, None)]
    others = len(record.history.runs) - len(alike)
    left_out = [f"{others} earlier runs are of another model or for another device"] if others else []
    listed = "".join(f"<li>{escape(text)}</li>" for text in (*left_out, *record.history.left_out))
    left = f"<p>Left out:</p>\n<ul>{listed}</ul>" if listed else ""
    if not alike:
        text = f"There is no earlier run of {own.name} for {own.device}."
        return Part(name="history", title="History", html=(f"<p>{escape(text)}</p>", left))
    runs = [*alike, own]
    ids = [one.name for one in own.variants if any(_p95(run, one.name) for run in runs)]
    return Part(
        name="history",
        title="History",
        html=(
            f"<p>{escape(COMPARING_RUNS)}</p>",
            legend(
                "filled: same machine, backend and threads as this run",
                "hollow: others",
                "ringed: this run",
                "lines: 95 % intervals",
            ),
            gallery(*(_chart(id_, runs, _limit(bench, id_)) for id_ in ids)),
            table("p95 in ms, run by run", ["run, UTC", "version", "machine", *ids], _rows(runs, ids), text_columns=3),
            left,
        ),
    )


def _p95(run: BenchFacts, id_: str) -> VariantFacts | None:
    """The variant in that run, where its p95 was measured."""
    return next((one for one in run.variants if one.name == id_ and _P95 in one.figures), None)


def _limit(bench: TargetBench, id_: str) -> float | None:
    budgets = bench.values["budgets"]
    limits = (
        one["limit"] for one in budgets if one["name"] == _P95.value and (one.get("way") or one["variant"]) == id_
    )
    return next(limits, None)


def _chart(id_: str, runs: Sequence[BenchFacts], limit: float | None) -> str:
    found = [(number, run, one) for number, run in enumerate(runs, start=1) if (one := _p95(run, id_))]
    figures = [one.figures[_P95] for _, _, one in found]
    tops = [end for one in figures for end in (one.value, one.high) if math.isfinite(end)]
    # A limit far above would press everything to the ground; the budgets say how far away it is.
    shown = limit if limit is not None and limit <= _NEAR * max(tops) else None
    heights = [0.0, *tops, *([] if shown is None else [shown])]
    plot = Plot.of(partial(_runs_scale, len(runs)), partial(_linear, heights), height=210, right=24)
    marks = [] if shown is None else [plot.level(shown, "limit")]
    for number, run, one in found:
        p95 = one.figures[_P95]
        if math.isfinite(p95.low) and math.isfinite(p95.high):
            marks.append(plot.interval_up(number, p95.low, p95.high))
        style = "good" if _comparable(run, one, runs[-1]) else "bad"
        title = f"{_when(run)}, {run.version or 'no version'}: p95 {figure_text(p95.value)} ms, {_way(one)}"
        title += f", {machine_text(run.machine.to_dict())}"
        marks.append(plot.point(number, p95.value, title, style=style, ringed=run is runs[-1]))
    said = f"p95 over {len(found)} run{'s' if len(found) > 1 else ''}"
    chart = plot.svg(
        f"{id_}: {said}",
        "From the oldest run to this one. The figures stand in the table below.",
        marks,
        x_name="run",
        y_name="p95, ms",
        x_text=partial(_tick, _words(runs)),
    )
    return figure(f"{id_}: {said}", chart)


def _comparable(run: BenchFacts, one: VariantFacts, own: BenchFacts) -> bool:
    """Whether a run is of the same machine, and ran the variant in the same way."""
    mine = _p95(own, one.name)
    return not differences(run, own).machine and (mine is None or _way(mine) == _way(one))


def _way(one: VariantFacts) -> str:
    ran = one.runner or f"{one.backend} {one.backend_version or ''}".rstrip()
    return f"{ran}, threads {one.threads}{', sustained' if one.sustained else ''}"


def _runs_scale(count: int, start: float, end: float) -> Scale:
    """A place for each run, with a name at up to six of them, the last one among these."""
    step = -(-count // _TICKS)
    ticks = tuple(float(number) for number in range(count, 0, -step))[::-1]
    return Scale(low=0.5, high=count + 0.5, ticks=ticks, start=start, end=end)


def _linear(values: Sequence[float], start: float, end: float) -> Scale:
    return Scale.around(values, start=start, end=end)


def _words(runs: Sequence[BenchFacts]) -> Mapping[int, str]:
    """What tells the runs apart: their versions where these differ, else their days, else their times."""
    for texts in (
        [run.version or "?" for run in runs],
        [f"{run.measured_at:%m-%d}" for run in runs],
        [f"{run.measured_at:%H:%M}" for run in runs],
    ):
        if len(set(texts)) > 1:
            return dict(enumerate(texts, start=1))
    return {number: str(number) for number in range(1, len(runs) + 1)}


def _tick(words: Mapping[int, str], number: float) -> str:
    return words[round(number)]


def _rows(runs: Sequence[BenchFacts], ids: Sequence[str]) -> list[list[Cell]]:
    """The latest one first."""
    return [
        [
            Html(text=escape(_when(run)) + (tag("this run").text if run is runs[-1] else "")),
            run.version or "–",
            "this one" if not differences(run, runs[-1]).machine else machine_text(run.machine.to_dict()),
            *(_cell(run, id_) for id_ in ids),
        ]
        for run in reversed(runs)
    ]


def _cell(run: BenchFacts, id_: str) -> Html:
    one = _p95(run, id_)
    if one is None:
        return Html(text="–")
    p95 = one.figures[_P95]
    ends = {"low": p95.low if math.isfinite(p95.low) else None, "high": p95.high if math.isfinite(p95.high) else None}
    return Html(text=f"{figure_text(p95.value)}<br/>{interval_text(ends)}")


def _when(run: BenchFacts) -> str:
    return f"{run.measured_at:%Y-%m-%d %H:%M}"
