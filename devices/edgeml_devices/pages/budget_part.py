"""Budgets and ratios: limit, value and interval, drawn and written."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.pages.parts import Part, ends, verdict_cell
from edgeml_devices.reports.words import (
    budget_interval,
    figure_text,
    interval_text,
    limit_text,
    machine_text,
    over_limit,
    reasons,
    share_text,
)
from edgeml_pages import Html, code, gauge, legend, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.reports.record import TargetBench
    from edgeml_pages import Cell

__all__ = ["budget_part", "ratio_part"]


def budget_part(bench: TargetBench) -> Part:
    """Every budget of the device, or why there are none.

    Args:
        bench: One with a report.
    """
    values = bench.values
    if not values["budgets"]:
        return Part(name="budgets", title="Budgets", html=(f"<p>{escape(_none(values))}</p>",))
    columns = ["budget", "variant", "verdict", "value and limit", "value", "95 % interval", "limit", "of the limit"]
    listed = "".join(f"<li>{code(name).text}: {escape(reason)}</li>" for name, reason in _reasons(values))
    return Part(
        name="budgets",
        title="Budgets",
        html=(
            legend("line: value", "bar: its 95 % interval", "dashed: the limit"),
            table(
                f"Budgets of the contract for {values['device']}",
                columns,
                [_budget_row(values, budget) for budget in values["budgets"]],
                text_columns=4,
            ),
            f"<ul>{listed}</ul>" if listed else "",
        ),
    )


def _none(values: Mapping[str, Any]) -> str:
    stated = next((note for note in values["notes"] if note.startswith("no budgets")), "")
    return f"{stated or 'There are none'}.".capitalize() if stated else "There are none."


def _reasons(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {budget["name"] for budget in values["budgets"]}
    return [(name, reason) for name, reason in reasons(values) if name in names]


def _budget_row(values: Mapping[str, Any], budget: Mapping[str, Any]) -> list[Cell]:
    interval, name = budget_interval(values, budget), budget.get("way") or budget["variant"]
    value, limit = budget["value"], budget["limit"]
    return [
        code(budget["name"]),
        code(name) if name else "–",
        verdict_cell(budget["verdict"]),
        "–" if value is None else Html(text=_gauge(budget, interval)),
        figure_text(value),
        interval_text(interval),
        limit_text(budget),
        "–" if value is None else share_text(value / limit),
    ]


def _gauge(budget: Mapping[str, Any], interval: Mapping[str, Any] | None) -> str:
    low, high = (budget["value"],) * 2 if interval is None else ends(interval)
    title = f"{budget['name']}: {figure_text(budget['value'])}, limit {limit_text(budget)}"
    return gauge(title, value=budget["value"], low=low, high=high, limit=budget["limit"], over=over_limit(budget))


def ratio_part(bench: TargetBench) -> Part | None:
    """The speed beside another model, where that was asked for.

    Args:
        bench: One with a report.
    """
    against = bench.values.get("against")
    if against is None:
        return None
    allowed = 1 + against["tolerance"]
    rows: list[list[Cell]] = []
    for ratio in against["ratios"]:
        low, high = ends(ratio)
        value = ratio["ratio"]
        drawn = gauge(
            f"{ratio['variant']}: {value:.3f}, allowed {allowed:.2f}",
            value=value,
            low=low,
            high=high,
            limit=allowed,
            over=value > allowed,
        )
        figures = [f"{value:.3f}", interval_text(ratio), f"≤ {allowed:.2f}", str(ratio["processes"])]
        rows.append([code(ratio["variant"]), verdict_cell(ratio["verdict"]), Html(text=drawn), *figures])
    machine = escape(machine_text(bench.values["machine"]))
    left_out = ", ".join(code(name).text for name in against["left_out"])
    return Part(
        name="against",
        title="Against another model",
        html=(
            f"<p>Time of this model ÷ that of {code(against['other']).text}, in turns in one run on {machine}.</p>",
            table(
                "Ratios of the times",
                ["variant", "verdict", "ratio and limit", "ratio", "95 % interval", "allowed", "processes"],
                rows,
                text_columns=3,
            ),
            f"<p>Not in the other one: {left_out}.</p>" if left_out else "",
        ),
    )
