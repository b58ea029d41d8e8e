"""Size, metric and latency against each other, for all variants, with the Pareto front marked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.pages.parts import Part, ends
from edgeml_devices.reports.pareto import on_the_front
from edgeml_devices.reports.words import figure_text
from edgeml_pages import Html, Plot, Scale, code, figure, gallery, legend, table, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_devices.reports.record import BenchRecord, TargetBench
    from edgeml_devices.reports.subject import Subject
    from edgeml_pages import Cell

__all__ = ["trade_part"]

_COUNTED = "instructions"
_FRONT = (
    "On the Pareto front of {names} is a variant that no other one beats: none is at least as good in all of them and "
    "better in one. Figures alone decide that here; where intervals overlap, the next run may decide otherwise. "
    "Metrics are those of the test set, measured at export."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """A figure with the ends of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One of the quantities."""

    key: str
    word: str
    name: str
    higher_is_better: bool = False
    logarithmic: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A variant with whatever of the three is known."""

    id: str
    picked: bool
    values: Mapping[str, _Value]


def trade_part(record: BenchRecord, bench: TargetBench) -> Part | None:
    """What each variant costs and what it is worth.

    Args:
        record: States the metric of each variant.
        bench: One with a report.

    Returns:
        The section, or None where there is only one variant.
    """
    choices = [_choice(record.subject, bench.values, one) for one in bench.values["variants"]]
    if len(choices) < 2:
        return None
    axes = [axis for axis in _axes(record.subject) if any(axis.key in choice.values for choice in choices)]
    whole = [choice for choice in choices if all(axis.key in choice.values for axis in axes)]
    front = dict(zip((one.id for one in whole), on_the_front([_costs(one, axes) for one in whole]), strict=True))
    pairs = [(axes[left], axes[right]) for left in range(len(axes)) for right in range(left + 1, len(axes))]
    charts = [_chart(across, up, choices, front) for across, up in pairs]
    title = f"Size, metric and {'instructions' if any(axis.key == _COUNTED for axis in axes) else 'latency'}"
    names = ", ".join(axis.word for axis in axes)
    return Part(
        name="variants",
        title=title,
        html=(
            f"<p>{escape(_FRONT.format(names=names))}</p>",
            legend(
                "filled: on the front", "hollow: beaten", "ringed: what Model.load picks here", "lines: 95 % intervals"
            ),
            gallery(*charts),
            table(
                f"{title} of every variant",
                ["variant", "on the front", *(axis.name for axis in axes)],
                [_row(choice, axes, front) for choice in choices],
                text_columns=2,
            ),
        ),
    )


def _axes(subject: Subject) -> list[_Axis]:
    axes = [
        _Axis(key="latency", word="p50", name="p50, ms"),
        _Axis(key=_COUNTED, word="instructions", name="instructions, millions"),
        _Axis(key="size", word="size", name="file, MB"),
    ]
    if subject.metric is None:
        return axes
    metric = _Axis(
        key="metric",
        word=subject.metric.value.replace("_", " "),
        name=subject.metric.value.replace("_", " "),
        higher_is_better=subject.metric.higher_is_better,
        logarithmic=False,
    )
    return [*axes, metric]


def _choice(subject: Subject, values: Mapping[str, Any], variant: Mapping[str, Any]) -> _Choice:
    size, p50, found = variant["size_mb"], variant["latency_ms"]["p50"], subject.variants.get(variant["id"])
    known = {"size": _Value(value=size, low=size, high=size)}
    if p50 is not None:
        low, high = ends(variant["intervals"].get("latency_ms_p50"))
        known["latency"] = _Value(value=p50, low=low, high=high)
    if variant.get("instructions") is not None:
        low, high = ends(variant["intervals"].get("instructions"))
        count = variant["instructions"]
        known[_COUNTED] = _Value(value=count / 1e6, low=low / 1e6, high=high / 1e6)
    if found is not None:
        low, high = ends({"low": found.low, "high": found.high})
        known["metric"] = _Value(value=found.value, low=low, high=high)
    return _Choice(id=variant["id"], picked=variant["id"] == values["auto_variant"], values=known)


def _costs(choice: _Choice, axes: Sequence[_Axis]) -> list[float]:
    return [(-1 if axis.higher_is_better else 1) * choice.values[axis.key].value for axis in axes]


def _chart(across: _Axis, up: _Axis, choices: Sequence[_Choice], front: Mapping[str, bool]) -> str:
    shown = [one for one in choices if across.key in one.values and up.key in one.values]
    plot = Plot.of(partial(_scale, across, shown), partial(_scale, up, shown), height=230, right=20)
    marks, named = [], []
    for one in shown:
        x, y = one.values[across.key], one.values[up.key]
        marks.append(plot.interval_across(y.value, x.low, x.high))
        marks.append(plot.interval_up(x.value, y.low, y.high))
        title = f"{one.id}: {across.name} {figure_text(x.value)}, {up.name} {figure_text(y.value)}"
        style = "good" if front.get(one.id) else "bad"
        marks.append(plot.point(x.value, y.value, title, style=style, ringed=one.picked))
        named.append((x.value, y.value, one.id))
    marks.append(plot.labels(named))
    best = " ".join("up" if axis.higher_is_better else "down" for axis in (up,))
    side = "right" if across.higher_is_better else "left"
    chart = plot.svg(
        f"{up.name} against {across.name}",
        f"{len(shown)} variants; better is {side} and {best}. The figures stand in the table below.",
        marks,
        x_name=across.name,
        y_name=up.name,
    )
    return figure(f"{up.name} against {across.name}: better is {side} and {best}", chart)


def _scale(axis: _Axis, shown: Sequence[_Choice], start: float, end: float) -> Scale:
    stated = [one.values[axis.key] for one in shown]
    spread = [value for one in stated for value in (one.value, one.low, one.high) if abs(value) != float("inf")]
    if axis.logarithmic and min(spread) > 0:
        return Scale.ratios(spread, start=start, end=end)
    return Scale.around(spread, start=start, end=end)


def _row(choice: _Choice, axes: Sequence[_Axis], front: Mapping[str, bool]) -> list[Cell]:
    name = code(choice.id).text + (tag("picked").text if choice.picked else "")
    marked = ("yes" if front[choice.id] else "no") if choice.id in front else "–"
    figures = (choice.values.get(axis.key) for axis in axes)
    return [Html(text=name), marked, *(figure_text(None if one is None else one.value) for one in figures)]
