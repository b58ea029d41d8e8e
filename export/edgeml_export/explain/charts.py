"""Charts of the page that explains an export: ranges of values, and the attempts of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from edgeml_pages import Scale
from edgeml_pages.charts import place, stretched

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Point", "common_axis", "distribution", "scatter"]

_SHAPE_HEIGHT = 30
_TRACK_HEIGHT = 10
_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 62, 22, 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a scatter chart.

    Attributes:
        x: Its place along, a whole number.
        y: Its height.
        good: Whether it is drawn filled.
        chosen: Whether it is ringed.
        title: What it is.
    """

    x: int
    y: float
    good: bool
    chosen: bool
    title: str


def common_axis(ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """An axis that holds zero and all of these ranges.

    Args:
        ranges: Lower and upper ends; those that are not finite are left out.

    Returns:
        Its ends, the second one above the first.
    """
    finite = [end for ends in ranges for end in ends if math.isfinite(end)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    return (low, high) if high > low else (-1.0, 1.0)


def distribution(title: str, ends: tuple[float, float], counts: Sequence[int], axis: tuple[float, float]) -> str:
    """A histogram over its own range, and below it where that range lies on an axis that other charts share.

    The heights are square roots of the counts, so that the tails can be seen that decide a range.

    Args:
        title: What is shown, with its figures.
        ends: Lower and upper end of the histogram.
        counts: Of its equally wide bins.
        axis: Ends of the shared axis; what reaches beyond is cut and ends in an arrow.

    Returns:
        One ``svg`` element.
    """
    highest = math.sqrt(max(counts, default=0)) or 1.0
    tops = [place(_SHAPE_HEIGHT * (1 - math.sqrt(count) / highest)) for count in counts]
    width = 100 / max(1, len(counts))
    steps = "".join(f"V{top}H{place((index + 1) * width)}" for index, top in enumerate(tops))
    height = _SHAPE_HEIGHT + _TRACK_HEIGHT
    shape = f'<path class="shape" d="M0 {_SHAPE_HEIGHT}{steps}V{_SHAPE_HEIGHT}Z"/>' if any(counts) else ""
    return stretched(title, "distribution", 100, height, shape + _track(ends, axis))


def _track(ends: tuple[float, float], axis: tuple[float, float]) -> str:
    """The range as a bar on the shared axis, with a mark at zero."""
    low, high = axis
    middle = _SHAPE_HEIGHT + _TRACK_HEIGHT / 2
    zero = place(100 * (0 - low) / (high - low))
    parts = [f'<path class="axis" d="M0 {middle:g}H100M{zero} {_SHAPE_HEIGHT + 1}v{_TRACK_HEIGHT - 2}"/>']
    if math.isfinite(ends[0]) and math.isfinite(ends[1]):
        left, right = (100 * (min(high, max(low, end)) - low) / (high - low) for end in ends)
        parts.append(
            f'<rect class="range" x="{place(left)}" y="{middle - 2:g}" width="{place(max(0.5, right - left))}" '
            'height="4"/>'
        )
        if ends[0] < low:
            parts.append(f'<path class="range" d="M0 {middle:g}l4 -5v10Z"/>')
        if ends[1] > high:
            parts.append(f'<path class="range" d="M100 {middle:g}l-4 -5v10Z"/>')
    return "".join(parts)


def scatter(title: str, description: str, points: Sequence[Point], *, limit: float, x_name: str, y_name: str) -> str:
    """Points over whole numbers, with a line that they should stay below.

    Args:
        title: What is shown.
        description: What is to be seen, for those who cannot see it.
        points: At least one.
        limit: Height of the line.
        x_name: What lies along, with its unit.
        y_name: What goes up, with its unit.

    Returns:
        One ``svg`` element.
    """
    up = Scale.around([0.0, limit, *(point.y for point in points)], start=_HEIGHT - _BOTTOM, end=_TOP)
    across = Scale.around([0.0, 1.0, *(point.x for point in points)], start=_LEFT + 14, end=_WIDTH - _RIGHT - 12)
    floor, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    drawn = [
        f'<path class="grid" d="M{_LEFT} {up(tick)}H{end}"/>'
        f'<text x="{_LEFT - 6}" y="{up(tick, 4)}" text-anchor="end">{tick:.6g}</text>'
        for tick in up.ticks
    ]
    drawn += [
        f'<text x="{across(tick)}" y="{floor + 20}" text-anchor="middle">{tick:g}</text>'
        for tick in across.ticks
        if tick == int(tick)
    ]
    drawn.append(f'<path class="limit" d="M{_LEFT} {up(limit)}H{end}"/>')
    drawn.append(f'<text x="{end + 4}" y="{up(limit, 4)}">allowed</text>')
    drawn += [_point(point, across(point.x), up(point.y)) for point in points]
    drawn.append(f'<text x="{(_LEFT + end) // 2}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(x_name)}</text>')
    drawn.append(f'<text x="2" y="11">{escape(y_name)}</text>')
    return (
        f'<svg class="scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{''.join(drawn)}</svg>"
    )


def _point(point: Point, x: str, y: str) -> str:
    ring = f'<circle class="ring" cx="{x}" cy="{y}" r="9"/>' if point.chosen else ""
    style = "good" if point.good else "bad"
    return f'<g>{ring}<circle class="{style}" cx="{x}" cy="{y}" r="5"/><title>{escape(point.title)}</title></g>'
