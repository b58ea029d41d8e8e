"""This bench beside an earlier result, figure by figure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.pages.parts import Part, ends, verdict_cell
from edgeml_devices.reports.words import figure_text, interval_text
from edgeml_pages import Html, code, gauge, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.reports.record import TargetBench
    from edgeml_pages import Cell

__all__ = ["baseline_part"]


def baseline_part(bench: TargetBench) -> Part | None:
    """What got better or worse since an earlier result, and what the comparison is worth.

    Args:
        bench: One with a report.

    Returns:
        The section, or None where no earlier result was named.
    """
    baseline = bench.values.get("baseline")
    if baseline is None:
        return None
    worth = [*baseline["differences"], *(f"{baseline[key]} {word}" for key, word in _DISTURBED if baseline[key])]
    reasons = dict.fromkeys(row["reason"] for row in baseline["figures"] if row["reason"])
    listed = "".join(f"<li>{escape(text)}</li>" for text in (*worth, *reasons))
    when = f", measured {baseline['measured_at']}" if baseline["measured_at"] else ""
    columns = [
        "figure",
        "variant",
        "verdict",
        "ratio and allowed",
        "then",
        "now",
        "ratio",
        "interval",
        "allowed",
    ]
    rows = [_row(row) for row in baseline["figures"]]
    return Part(
        name="baseline",
        title="Beside an earlier result",
        html=(
            f"<p>{code(baseline['file']).text}{escape(when)}. {_MEANING}</p>",
            f"<p>Not compared: {escape(baseline['reason'])}</p>" if baseline["reason"] else "",
            table("Ratios to the earlier result", columns, rows, text_columns=4) if rows else "",
            f"<ul>{listed}</ul>" if listed else "",
        ),
    )


_MEANING = (
    "A ratio above 1 is worse, whatever the figure. Two runs of one file differ by up to what is allowed; to find "
    "less, measure both models in turns: edgeml bench --against."
)
_DISTURBED = (("disturbed_then", "then"), ("disturbed_now", "now"))


def _row(row: Mapping[str, Any]) -> list[Cell]:
    ratio, allowed = row["ratio"], row["allowed"]
    drawn = ""
    if ratio is not None:
        low, high = ends(row)
        title = f"{row['name']}: {ratio:.3f}, allowed {allowed:.2f}"
        drawn = gauge(title, value=ratio, low=low, high=high, limit=allowed, over=ratio > allowed)
    return [
        code(row["name"]),
        code(row["variant"]) if row["variant"] else "the file",
        verdict_cell(row["verdict"]),
        Html(text=drawn or "–"),
        figure_text(row["then"]),
        figure_text(row["now"]),
        "–" if ratio is None else f"{ratio:.3f}",
        interval_text(row),
        f"≤ {allowed:.2f}",
    ]
