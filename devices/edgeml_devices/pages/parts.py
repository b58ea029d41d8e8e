"""What the sections of a bench's page have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_pages import Html

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Part", "ends", "verdict_cell"]

_STYLES = {"pass": "good-word", "fail": "bad-word", "inconclusive": "unsure-word", "not_measured": "unsure-word"}
_SIGNS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not_measured": "–"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One section.

    Attributes:
        name: What links within the page call it.
        title: Its heading, plain text.
        html: What stands below.
    """

    name: str
    title: str
    html: tuple[str, ...]

    def within(self, place: str, number: int) -> Part:
        """The same on a page with several targets.

        Args:
            place: Device and target.
            number: Which of the targets it is.
        """
        return replace(self, name=f"{self.name}-{number}", title=f"{self.title}: {place}")


def verdict_cell(verdict: str) -> Html:
    """A verdict with its sign; colour only repeats what the word says.

    Args:
        verdict: As JSON has it.
    """
    words = escape(verdict.replace("_", " "))
    return Html(text=f'<span class="{_STYLES[verdict]}">{_SIGNS[verdict]} {words}</span>')


def ends(interval: Mapping[str, Any] | None) -> tuple[float, float]:
    """Both ends of an interval, infinite where there is none.

    Args:
        interval: ``low`` and ``high``, or None.
    """
    low, high = (None, None) if interval is None else (interval["low"], interval["high"])
    return float("-inf") if low is None else float(low), float("inf") if high is None else float(high)
