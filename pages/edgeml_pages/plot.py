"""A chart with two axes: a field with ticks, and points, lines, intervals and limits on it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from edgeml_pages.charts import place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeml_pages.scale import Scale

__all__ = ["STYLES", "Plot"]

STYLES = 6
"""How many lines can be told apart: the classes ``s1`` to ``s6``, each with a colour and a pattern of its own."""

_WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 14, 24, 42


# Of the 11 px the style sheet gives to words in charts: what wide fonts take, and their height with a little room.
_LETTER, _CAPITAL, _LINE = 6.3, 8.2, 12
_TRIES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """Where a word or a point is; a word hangs at ``at`` by its ``anchor``."""

    left: float
    top: float
    width: float
    at: float = 0.0
    anchor: str = "start"

    @classmethod
    def around(cls, x: float, y: float) -> _Box:
        """The place of a point."""
        return cls(left=x - 6, top=y - 6, width=12)

    def covers(self, other: _Box) -> bool:
        """Whether both share a place."""
        beside = self.left + self.width <= other.left or other.left + other.width <= self.left
        return not beside and abs(self.top - other.top) < _LINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The field of a chart, 360 units wide, which is what a phone has room for.

    Attributes:
        across: What lies along.
        up: What goes up.
        height: Of the whole chart, in the same units.
    """

    across: Scale
    up: Scale
    height: int

    @classmethod
    def of(
        cls,
        across: Callable[[float, float], Scale],
        up: Callable[[float, float], Scale],
        *,
        height: int = 220,
        right: int = _RIGHT,
    ) -> Plot:
        """A field with room for ticks and names.

        Args:
            across: Makes the scale along from the places of its ends.
            up: Makes the scale that goes up, likewise.
            height: Of the whole chart.
            right: Room to the right of the field.
        """
        return cls(across=across(_LEFT, _WIDTH - right), up=up(height - _BOTTOM, _TOP), height=height)

    def line(self, points: Sequence[tuple[float, float]], style: str) -> str:
        """A line through points.

        Args:
            points: At least one.
            style: CSS class.
        """
        places = "L".join(f"{self.across(x)} {self.up(y)}" for x, y in points)
        return f'<path class="line {style}" d="M{places}"/>'

    def point(self, x: float, y: float, title: str, *, style: str = "good", ringed: bool = False) -> str:
        """A point that says what it is.

        Args:
            x: Its value along.
            y: Its height.
            title: What it is, with its figures.
            style: CSS class, ``good`` for a filled one and ``bad`` for a hollow one.
            ringed: Whether a ring is drawn around it.
        """
        across, up = self.across(x), self.up(y)
        ring = f'<circle class="ring" cx="{across}" cy="{up}" r="9"/>' if ringed else ""
        mark = f'<circle class="{style}" cx="{across}" cy="{up}" r="5"/>'
        return f"<g>{ring}{mark}<title>{escape(title)}</title></g>"

    def interval_up(self, x: float, low: float, high: float, style: str = "") -> str:
        """The range of a height, cut where it leaves the field."""
        low, high = max(low, self.up.low), min(high, self.up.high)
        return f'<path class="whisker {style}" d="M{self.across(x)} {self.up(low)}V{self.up(high)}"/>'

    def interval_across(self, y: float, low: float, high: float, style: str = "") -> str:
        """The range of a value along, cut where it leaves the field."""
        low, high = max(low, self.across.low), min(high, self.across.high)
        return f'<path class="whisker {style}" d="M{self.across(low)} {self.up(y)}H{self.across(high)}"/>'

    def level(self, y: float, text: str, style: str = "limit") -> str:
        """A line all along at one height, with a word at its right end above it."""
        right = place(self.across.end)
        drawn = f'<path class="{style}" d="M{place(self.across.start)} {self.up(y)}H{right}"/>'
        return f'{drawn}<text x="{right}" y="{self.up(y, -4)}" text-anchor="end">{escape(text)}</text>'

    def upright(self, x: float, text: str, *, row: int = 0, style: str = "mark") -> str:
        """A line from bottom to top at one value, with a word at its top.

        Args:
            x: The value.
            text: The word, plain.
            row: Lines with words next to each other keep them apart by different rows.
            style: CSS class.
        """
        top = self.up.end + 12 * row
        anchor = "end" if self.across.at(x) > (self.across.start + self.across.end) / 2 else "start"
        shift = -3 if anchor == "end" else 3
        return (
            f'<path class="{style}" d="M{self.across(x)} {place(self.up.start)}V{place(top)}"/>'
            f'<text x="{self.across(x, shift)}" y="{place(top + 9)}" text-anchor="{anchor}" class="strong">'
            f"{escape(text)}</text>"
        )

    def labels(self, named: Sequence[tuple[float, float, str]]) -> str:
        """Words beside points, placed so that they cover neither each other nor the points, where there is room.

        Args:
            named: Value along, height and word of each point.
        """
        taken = [_Box.around(self.across.at(x), self.up.at(y)) for x, y, _ in named]
        drawn = []
        for x, y, text in named:
            box = self._free(self.across.at(x), self.up.at(y), text, taken)
            taken.append(box)
            drawn.append(
                f'<text x="{place(box.at)}" y="{place(box.top + 9)}" text-anchor="{box.anchor}" class="strong">'
                f"{escape(text)}</text>"
            )
        return "".join(drawn)

    def _free(self, x: float, y: float, text: str, taken: Sequence[_Box]) -> _Box:
        """A place for a word near a point: beside it, else ever further up or down."""
        width = sum(_CAPITAL if letter.isupper() or letter in "%_" else _LETTER for letter in text)
        places = []
        for step in range(_TRIES):
            for top in (y - 6 - _LINE * step, y - 6 + _LINE * step):
                for at, anchor, left in (
                    (x + 12, "start", x + 12),
                    (x - 12, "end", x - 12 - width),
                    (x, "middle", x - width / 2),
                ):
                    inside = left >= 0 and left + width <= _WIDTH and top >= self.up.end - _LINE
                    if inside and top + _LINE <= self.up.start:
                        places.append(_Box(left=left, top=top, width=width, at=at, anchor=anchor))
        free = (box for box in places if not any(box.covers(other) for other in taken))
        return next(free, places[0] if places else _Box(left=0, top=y - 6, width=width))

    def columns(self, edges: Sequence[float], heights: Sequence[float]) -> str:
        """A histogram's shape, from the bottom of the field.

        Args:
            edges: Ends of the bins, one more than heights.
            heights: Of the columns.
        """
        steps = "".join(
            f"V{self.up(height)}H{self.across(edge)}" for height, edge in zip(heights, edges[1:], strict=True)
        )
        floor = place(self.up.start)
        return f'<path class="shape" d="M{self.across(edges[0])} {floor}{steps}V{floor}Z"/>'

    def svg(
        self,
        title: str,
        description: str,
        marks: Sequence[str],
        *,
        x_name: str,
        y_name: str,
        x_text: Callable[[float], str] | None = None,
    ) -> str:
        """The whole chart.

        Args:
            title: What is shown.
            description: What is to be seen, for those who cannot see it.
            marks: What the other methods gave, in the order of drawing.
            x_name: What lies along, with its unit.
            y_name: What goes up, with its unit.
            x_text: Writes a tick along, or None for its number.

        Returns:
            One ``svg`` element.
        """
        floor, end = self.up.start, self.across.end
        middle = (self.across.start + end) / 2
        drawn = [
            f'<path class="grid" d="M{place(self.across.start)} {self.up(tick)}H{place(end)}"/>'
            f'<text x="{place(self.across.start - 6)}" y="{self.up(tick, 4)}" text-anchor="end">{tick:.6g}</text>'
            for tick in self.up.ticks
        ]
        drawn.append(f'<path class="grid" d="M{place(self.across.start)} {place(floor)}H{place(end)}"/>')
        drawn += [
            f'<path class="grid" d="M{self.across(tick)} {place(floor)}v4"/><text x="{self.across(tick)}" '
            f'y="{place(floor + 17)}" text-anchor="middle">{escape(f"{tick:.6g}" if x_text is None else x_text(tick))}'
            "</text>"
            for tick in self.across.ticks
        ]
        drawn += marks
        drawn.append(f'<text x="{place(middle)}" y="{self.height - 5}" text-anchor="middle">{escape(x_name)}</text>')
        drawn.append(f'<text x="2" y="11">{escape(y_name)}</text>')
        return (
            f'<svg class="plot" viewBox="0 0 {_WIDTH} {self.height}" role="img"><title>{escape(title)}</title>'
            f"<desc>{escape(description)}</desc>{''.join(drawn)}</svg>"
        )
