"""The frame of a page: sections, tables, the document. Well-formed XML that browsers read as HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from edgeml_pages.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Cell",
    "Html",
    "code",
    "document",
    "escaped",
    "figure",
    "folded",
    "gallery",
    "judged",
    "legend",
    "section",
    "size_text",
    "table",
    "tag",
    "xml_text",
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

# What XML 1.0 cannot hold, escaped or not (production 2, Char).
_IMPOSSIBLE = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def xml_text(text: str) -> str:
    """Text without what XML cannot hold: such characters are replaced by the sign for one.

    Args:
        text: Plain text, or XML.
    """
    return _IMPOSSIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


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


def size_text(size_bytes: int) -> str:
    """A size as people write it: ``812 B``, ``45.1 kB``, ``3.2 MB``.

    Args:
        size_bytes: The size.
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 1e6 else f"{size_bytes / 1e6:.1f} MB"


def section(title: str, *parts: str, name: str | None = None) -> str:
    """A part of the page.

    Args:
        title: Its heading, plain text.
        parts: HTML below it.
        name: What links within the page call it, or None.

    Returns:
        One ``section`` element.
    """
    named = "" if name is None else f' id="{escape(name)}"'
    return f"<section{named}>\n<h2>{escape(title)}</h2>\n" + "\n".join(part for part in parts if part) + "\n</section>"


def figure(caption: str, *drawings: str) -> str:
    """A drawing with a line above it.

    Args:
        caption: What it shows, plain text.
        drawings: HTML.

    Returns:
        One ``figure`` element.
    """
    return f"<figure>\n<figcaption>{escape(caption)}</figcaption>\n" + "\n".join(drawings) + "\n</figure>"


def gallery(*figures: str) -> str:
    """Drawings beside each other where there is room, below each other on a phone.

    Args:
        figures: HTML.
    """
    return '<div class="charts">\n' + "\n".join(figures) + "\n</div>"


def legend(*words: Cell) -> str:
    """What the marks of charts mean.

    Args:
        words: Plain text, or HTML with a sample of the mark.
    """
    return '<p class="legend">' + "".join(f"<span>{escaped(word)}</span>" for word in words) + "</p>"


def folded(summary: str, *parts: str) -> str:
    """What only some readers want, closed at first.

    Args:
        summary: What opens it, plain text.
        parts: HTML.

    Returns:
        One ``details`` element.
    """
    return f"<details><summary>{escape(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"


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

    A content security policy holds the page to what it says of itself: only its own style sheet, known by its hash, is
    applied (Content Security Policy Level 3, 2.3.1); whatever else might be in it is neither loaded nor run.

    Args:
        title: Plain text.
        body: HTML.

    Returns:
        A file's text: nothing in it is loaded from elsewhere, and nothing runs.
    """
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return xml_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )
