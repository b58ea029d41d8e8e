"""The roofline of a machine with the operators of one variant below it, both axes logarithmic.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.reports.words import figure_text
from edgeml_pages import STYLES, Plot, Scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["roofline_svg"]

_NAMED = 3
_HEADROOM = 2.5
_LINE = 13
_NAMED_SHARE = 0.10


def roofline_svg(roofline: Mapping[str, Any], variant: str) -> str:
    """Draw one variant.

    Args:
        roofline: The JSON form of :class:`~edgeml_devices.roofline.Roofline`.
        variant: One of its models that has a point.

    Returns:
        One ``svg`` element, whose colours and letters come from the page's style sheet.
    """
    model = next(one for one in roofline["models"] if one["variant"] == variant)
    points, bandwidth = model["points"], roofline["bandwidth_gb_per_s"]
    used = {point["precision"] for point in points}
    peaks = {name: peak for name, peak in roofline["peaks_gmac_per_s"].items() if name in used}
    across = [*(point["intensity"] for point in points), *(2 * peak / bandwidth for peak in peaks.values())]
    up = [*(point["gmac_per_s"] for point in points), *(_HEADROOM * peak for peak in peaks.values())]
    plot = Plot.of(partial(_scale, across), partial(_scale, up), height=260)
    marks = [_roof(plot, name, peak, bandwidth, number) for number, (name, peak) in enumerate(peaks.items())]
    marks += [
        plot.point(
            point["intensity"],
            point["gmac_per_s"],
            _title(point),
            style="good" if point["bound"] == "arithmetic" else "bad",
        )
        for point in points
    ]
    marks.append(plot.labels(_named(points)))
    return plot.svg(
        f"Operators of {variant} below the roof of the machine",
        f"{len(points)} operators that multiply. The flat lines are the rates of multiply-accumulates, the sloping one "
        "is the bandwidth of the memory. The figures stand in the table below.",
        marks,
        x_name="multiply-accumulates per byte",
        y_name="10⁹ multiply-accumulates per second",
    )


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    return Scale.ratios(values, start=start, end=end)


def _roof(plot: Plot, precision: str, peak: float, bandwidth: float, number: int) -> str:
    """The sloping roof up to the flat one, and its name in the corner above that."""
    begin = max(plot.across.low, plot.up.low / bandwidth)
    knee = min(max(begin, peak / bandwidth), plot.across.high)
    line = plot.line(
        [(begin, min(peak, begin * bandwidth)), (knee, peak), (plot.across.high, peak)], f"s{number % STYLES + 1}"
    )
    left, top = plot.across(plot.across.low, 4), plot.up(plot.up.high, 9 + _LINE * number)
    words = f"{escape(precision)}: at most {figure_text(peak)}"
    sample = f'<path class="line s{number % STYLES + 1}" d="M{left} {plot.up(plot.up.high, 5 + _LINE * number)}h18"/>'
    return f'{line}{sample}<text x="{plot.across(plot.across.low, 27)}" y="{top}">{words}</text>'


def _title(point: Mapping[str, Any]) -> str:
    return (
        f"{point['type']} ({point['name']}), {point['precision']}: {figure_text(point['intensity'])} MAC per byte, at "
        f"least {figure_text(point['gmac_per_s'])} GMAC/s, {point['of_roof']:.0%} of its roof, "
        f"{point['share']:.0%} of the time; bound by {point['bound']}"
    )


def _named(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, str]]:
    """The operators that take most of the time."""
    longest = sorted(points, key=lambda point: -point["share"])[:_NAMED]
    return [
        (point["intensity"], point["gmac_per_s"], f"{_word(point['type'])} {point['share']:.0%}")
        for point in longest
        if point["share"] >= _NAMED_SHARE
    ]


def _word(kind: str) -> str:
    """TFLite's names in letters that take less room: ``CONV_2D`` becomes ``conv 2d``."""
    return kind.replace("_", " ").lower() if kind.isupper() else kind
