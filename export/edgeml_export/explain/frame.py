"""The frame of the export report: tables, style, document. Well-formed XML that browsers read as HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Cell",
    "Html",
    "code",
    "decibels_text",
    "document",
    "escaped",
    "judged",
    "section",
    "size_text",
    "table",
    "tag",
    "yes_no",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Html:
    """Text that is HTML already.

    Attributes:
        text: Well-formed.
    """

    text: str


Cell = str | Html


def escaped(cell: Cell) -> str:
    """A cell's HTML.

    Args:
        cell: Plain text, or HTML.
    """
    return cell.text if isinstance(cell, Html) else escape(cell)


def code(text: str) -> Html:
    """A name from the model or the contract.

    Args:
        text: The name.
    """
    return Html(text=f"<code>{escape(text)}</code>")


def tag(text: str) -> Html:
    """A remark behind a name.

    Args:
        text: A few plain words.
    """
    return Html(text=f' <span class="tag">{escape(text)}</span>')


def yes_no(good: bool) -> Html:
    """Whether something is as it should be.

    Args:
        good: Whether it is.
    """
    return Html(text='<span class="good-word">yes</span>' if good else '<span class="bad-word">no</span>')


def judged(figure: str, good: bool) -> Html:
    """A figure, marked where it is out of bounds.

    Args:
        figure: Plain text.
        good: Whether it is within.
    """
    return Html(text=escape(figure) if good else f'<span class="bad-word">{escape(figure)} ✗</span>')


def decibels_text(value: float | None) -> str:
    """A ratio in decibels; ``exact`` where nothing differs, a dash where nothing is known.

    Args:
        value: The ratio; None or infinity where nothing differs.
    """
    if value is None or value == math.inf:
        return "exact"
    return f"{value:.1f}" if math.isfinite(value) else "–"


def size_text(size_bytes: int) -> str:
    """A size as people write it: ``812 B``, ``45.1 kB``, ``3.2 MB``.

    Args:
        size_bytes: The size.
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:.1f} MB"


def section(title: str, *parts: str) -> str:
    """A part of the page.

    Args:
        title: Its heading, plain text.
        parts: HTML below it.

    Returns:
        One ``section`` element.
    """
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, text_columns: int = 1) -> str:
    """A table that scrolls sideways where it is too wide, by keyboard too.

    Args:
        caption: What it shows, plain text.
        columns: Headings, plain text.
        rows: One cell per column each; the first one is the row's heading.
        text_columns: How many columns from the left are text; figures are set to the right.

    Returns:
        HTML.
    """
    head = "".join(
        f'<th scope="col"{_alignment(index, text_columns)}>{escape(name)}</th>' for index, name in enumerate(columns)
    )
    body = "\n".join(f"<tr>{_row(row, text_columns)}</tr>" for row in rows)
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n"
        "</table></div>"
    )


def _row(cells: Sequence[Cell], text_columns: int) -> str:
    first, *rest = cells
    others = (f"<td{_alignment(index, text_columns)}>{escaped(cell)}</td>" for index, cell in enumerate(rest, start=1))
    return f'<th scope="row">{escaped(first)}</th>{"".join(others)}'


def _alignment(index: int, text_columns: int) -> str:
    return "" if index < text_columns else ' class="figure"'


def document(title: str, body: str) -> str:
    """The whole page.

    Args:
        title: Plain text.
        body: HTML.

    Returns:
        A file's text: nothing in it is loaded from elsewhere, and nothing runs.
    """
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


# Colours have at least 4.5:1 against the ground as text and 3:1 as marks (WCAG 2.2, 1.4.3 and 1.4.11).
_STYLE = """
:root {
  --ground: #fff; --ink: #1b1e21; --muted: #5b6167; --line: #d8dcdf; --soft: #f3f5f6;
  --own: #bf5b04; --model: #2468c8; --good: #17784a; --bad: #bc2a2a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181b; --ink: #e5e8ea; --muted: #9ca4ab; --line: #363c42; --soft: #1f2327;
    --own: #e59a50; --model: #74abf2; --good: #62c794; --bad: #f28b8b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p, ul { max-width: 46rem; margin: .5rem 0; }
ul { padding-inline-start: 1.25rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.muted, caption, dd, text { color: var(--muted); fill: var(--muted); }
.good-word { color: var(--good); font-weight: 600; }
.bad-word { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; margin: .75rem 0; }
.wide:focus-visible, summary:focus-visible { outline: 2px solid var(--model); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: start; padding-bottom: .35rem; }
th, td { padding: .3rem .6rem; text-align: start; vertical-align: middle; border-bottom: 1px solid var(--line); }
thead th { color: var(--muted); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; position: sticky; inset-inline-start: 0; background: var(--ground); min-width: 6rem; }
th:first-child { padding-inline-start: 0; }
.figure { text-align: end; }
td.figure { white-space: nowrap; }
.tag { font-size: .75rem; color: var(--muted); border: 1px solid var(--line); border-radius: .7rem;
  padding: 0 .4rem; margin-inline-start: .3rem; white-space: nowrap; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .9rem; color: var(--muted); }
.key { display: inline-block; width: .8rem; height: .8rem; margin-inline-end: .4rem; vertical-align: -.05rem; }
.key.own { background: var(--own); }
.key.model { background: var(--model); }
.key.faint { background: var(--muted); opacity: .55; }
svg { display: block; overflow: visible; }
svg.bars, svg.distribution { width: 100%; min-width: clamp(5rem, 12vw, 12rem); }
svg.bars { height: 1.2rem; }
.narrow svg.bars { min-width: 4rem; }
svg.distribution { height: 2.6rem; }
svg.scatter { width: 100%; max-width: 28rem; height: auto; font: 11px system-ui, sans-serif; }
.axis, .grid { stroke: var(--line); fill: none; stroke-width: 1px; vector-effect: non-scaling-stroke; }
.own { fill: var(--own); }
.model, .range { fill: var(--model); }
.faint { fill: var(--muted); opacity: .55; }
.shape { fill: var(--model); opacity: .35; }
.limit { stroke: var(--bad); stroke-width: 1.5px; stroke-dasharray: 5 4; fill: none; }
.good { fill: var(--model); stroke: var(--ground); stroke-width: 1.5px; }
.bad { fill: var(--ground); stroke: var(--model); stroke-width: 2px; }
.ring { fill: none; stroke: var(--ink); stroke-width: 1.5px; }
summary { cursor: pointer; padding: .3rem 0; color: var(--model); }
dt { font-weight: 600; margin-top: .5rem; }
dd { margin: 0; max-width: 46rem; }
@media (max-width: 40rem) {
  main { padding: 1rem .75rem 3rem; }
  th, td { padding: .3rem .4rem; }
  tbody th { min-width: 5.75rem; max-width: 40vw; }
}
@media print { .wide { overflow: visible; } tbody th { position: static; } }
"""
