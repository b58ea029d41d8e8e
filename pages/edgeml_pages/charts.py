"""Small drawings as SVG inside HTML: colours come from the page's CSS, figures stand beside them as text.

Everything is well-formed XML, and the same values give the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bar", "bars", "gauge", "place", "stack", "stretched"]

_BAR_HEIGHT = 10
_BAR_GAP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar.

    Attributes:
        share: Its length, 0 to 1; longer ones are cut.
        style: CSS class.
    """

    share: float
    style: str


def bars(title: str, parts: Sequence[Bar]) -> str:
    """Horizontal bars below each other, as wide as there is room.

    Args:
        title: What they show, with their figures.
        parts: The bars, from the top.

    Returns:
        One ``svg`` element.
    """
    height = len(parts) * (_BAR_HEIGHT + _BAR_GAP) - _BAR_GAP
    drawn = "".join(
        f'<rect class="{bar.style}" y="{index * (_BAR_HEIGHT + _BAR_GAP)}" height="{_BAR_HEIGHT}" '
        f'width="{place(100 * min(1.0, max(0.0, bar.share)))}"/>'
        for index, bar in enumerate(parts)
    )
    return stretched(title, "bars", 100, height, f'<path class="axis" d="M0 0V{height}"/>{drawn}')


def stack(title: str, parts: Sequence[Bar]) -> str:
    """One horizontal bar of pieces one behind the other, as wide as there is room.

    Args:
        title: What it shows, with its figures.
        parts: The pieces, from the left, together at most 1 long; the style sheet has the classes ``k1`` to ``k7`` for
            them. Those without length are left out.

    Returns:
        One ``svg`` element.
    """
    drawn, at = [], 0.0
    for part in parts:
        if part.share > 0:
            drawn.append(
                f'<rect class="{part.style}" x="{place(100 * at)}" width="{place(100 * part.share)}" '
                f'height="{_BAR_HEIGHT}" vector-effect="non-scaling-stroke"/>'
            )
        at += part.share
    axis = f'<path class="axis" d="M0 0V{_BAR_HEIGHT}"/>'
    return stretched(title, "stack", 100, _BAR_HEIGHT, f"{axis}{''.join(drawn)}")


def gauge(title: str, *, value: float, low: float, high: float, limit: float, over: bool) -> str:
    """A value with its interval on an axis from zero, and the limit it is held against.

    Args:
        title: What it shows, with its figures.
        value: The value, 0 or more.
        low: Lower end of its interval; infinite where there is none.
        high: Upper end, likewise.
        limit: The limit, above 0.
        over: Whether the value is on the wrong side of it.

    Returns:
        One ``svg`` element.
    """
    finite = [end for end in (value, low, high, limit) if abs(end) != float("inf")]
    scale = 100 / (1.15 * max(*finite, 1e-300))
    left, right = (min(100.0, max(0.0, end * scale)) for end in (low, high))
    style = "span over" if over else "span"
    return stretched(
        title,
        "gauge",
        100,
        20,
        '<rect class="track" y="5" width="100" height="10"/>'
        f'<rect class="{style}" x="{place(left)}" y="5" width="{place(max(0.75, right - left))}" height="10"/>'
        f'<path class="mark" d="M{place(value * scale)} 3V17"/>'
        f'<path class="limit" vector-effect="non-scaling-stroke" d="M{place(limit * scale)} 0V20"/>',
    )


def stretched(title: str, style: str, width: int, height: int, content: str) -> str:
    """A drawing that fills its place in both directions.

    Args:
        title: What it shows, with its figures.
        style: CSS class.
        width: Of its own units.
        height: Likewise.
        content: SVG.

    Returns:
        One ``svg`` element.
    """
    return (
        f'<svg class="{style}" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def place(value: float) -> str:
    """A coordinate, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
