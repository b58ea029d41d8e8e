"""The tables of the command line."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

__all__ = ["simple_table"]


def simple_table(*columns: str, title: str | None = None) -> Table:
    """A table whose first column is text and whose others are figures.

    Args:
        columns: Headings; a ``<`` in front makes a later column text too.
        title: Line above it.
    """
    table = Table(
        box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, collapse_padding=True
    )
    for index, heading in enumerate(columns):
        left = index == 0 or heading.startswith("<")
        table.add_column(
            heading.removeprefix("<"), justify="left" if left else "right", overflow="fold", no_wrap=index == 0
        )
    return table
