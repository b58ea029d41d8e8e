"""What a gate found as JSON values, and those as lines of text for a failing test and for the end of a session."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any

from edgeml_devices.report import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeml_devices.gate_result import GateResult, TargetJudgement
    from edgeml_devices.report import BudgetResult, VariantReport

__all__ = ["failure_text", "interval_of", "result_rows", "summary_lines"]

_OPTIONS = re.compile(r"--(?=(time-limit|threads)\b)")
_FIGURES = ("p50", "p95", "p99")


def interval_of(variants: Sequence[VariantReport], result: BudgetResult) -> tuple[float | None, float | None] | None:
    """The 95 % interval that a budget was judged by.

    Args:
        variants: The variants that were measured.
        result: The verdict.

    Returns:
        Both ends, None for one that does not exist; or None where the budget has no interval, or is for another way
        of running the variant.
    """
    if result.way is not None:
        return None
    for variant in variants:
        if variant.id == result.variant and result.name in variant.figures:
            figure = variant.figures[result.name]
            low, high = (end if math.isfinite(end) else None for end in (figure.low, figure.high))
            return low, high
    return None


def result_rows(result: GateResult) -> list[dict[str, Any]]:
    """A result as JSON values, one object for each target.

    Args:
        result: What a gate found.

    Returns:
        Objects with ``model``, ``device``, ``target``, ``provenance``, ``figures``, ``budgets``, ``earlier`` (figures
        beside those of earlier results, in the form of budgets), ``notes``, ``mismatch`` and ``lost``.
    """
    return [_row(result, target) for target in result.targets]


def _row(result: GateResult, target: TargetJudgement) -> dict[str, Any]:
    return {
        "model": os.path.basename(result.model),
        "device": result.device,
        "target": target.target,
        "provenance": "not_measured" if target.provenance is None else target.provenance.value,
        "figures": [_figures(variant) for variant in target.variants if variant.latency is not None],
        "budgets": [_verdict(budget, target) for budget in target.budgets],
        "earlier": [_verdict(figure, target) for figure in target.regressions],
        "notes": list(target.notes),
        "mismatch": list(target.mismatch),
        "lost": target.lost,
    }


def _verdict(budget: BudgetResult, target: TargetJudgement) -> dict[str, Any]:
    reason = _OPTIONS.sub("--edgeml-", budget.reason)
    return {**budget.to_dict(), "reason": reason, "interval": interval_of(target.variants, budget)}


def _verdicts(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Everything that was judged, with what it is called in tables."""
    budgets = [(str(budget["name"]), budget) for budget in row["budgets"]]
    return budgets + [(f"{figure['name']} (earlier)", figure) for figure in row["earlier"]]


def _figures(variant: VariantReport) -> dict[str, Any]:
    found = variant.to_dict()
    kept = ("id", "threads", "calls", "processes", "latency_ms", "throughput_per_s", "cold_start_ms", "peak_rss_mb")
    return {key: found[key] for key in kept}


def failure_text(rows: Sequence[Mapping[str, Any]], verdicts: Iterable[Verdict]) -> str:
    """Why a test does not pass: every budget, then the reasons.

    Args:
        rows: From :func:`result_rows`.
        verdicts: Those that the test does not accept.

    Returns:
        Several lines.
    """
    refused = {verdict.value for verdict in verdicts}
    lines = [_headline(rows, refused), "", *_budget_table(rows), ""]
    for row in rows:
        lines += _reasons(row, refused)
    return "\n".join(lines).rstrip()


def _reasons(row: Mapping[str, Any], refused: set[str]) -> list[str]:
    """Why one target's budgets are what they are; what holds for all of them is said once."""
    target = row["target"]
    lines = [] if row["lost"] is None else [f"lost: {row['lost']}"]
    lines += (f"{target} is not a {row['device']}: {reason}" for reason in row["mismatch"])
    for title, budget in _verdicts(row):
        said = budget["reason"] == row["lost"] or (row["mismatch"] and budget["verdict"] == Verdict.NOT_MEASURED.value)
        if budget["verdict"] in refused and budget["reason"] and not said:
            lines.append(f"{target}, {title}: {budget['reason']}")
    return [*lines, *(f"{target}: {note}" for note in row["notes"])]


def _headline(rows: Sequence[Mapping[str, Any]], refused: set[str]) -> str:
    what = f"{rows[0]['model']} for {rows[0]['device']}"
    lost = [row["target"] for row in rows if row["lost"] is not None]
    parts = [f"lost {', '.join(lost)}"] if lost else []
    for key, one in (("budgets", "budget"), ("earlier", "comparison")):
        found = [budget["verdict"] for row in rows for budget in row[key]]
        words = [word for word in (verdict.value for verdict in Verdict) if word in refused and word in found]
        if words:
            counts = ", ".join(f"{found.count(word)} {word}" for word in words)
            parts.append(f"{counts} of {len(found)} {one}{'s' if len(found) > 1 else ''}")
    return f"{what}: {'; '.join(parts)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _interval(ends: Sequence[float | None] | None) -> str:
    return "–" if ends is None else f"{_number(ends[0])} – {_number(ends[1])}"


def _budget_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    table = [("target", "budget", "variant", "limit", "value", "95 % interval", "verdict")]
    for row in rows:
        for title, budget in _verdicts(row):
            numbers = (_number(budget["limit"]), _number(budget["value"]), _interval(budget["interval"]))
            table.append((row["target"], title, budget["variant"] or "–", *numbers, budget["verdict"]))
    return _aligned(table, right={3, 4, 5})


def _aligned(table: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for line in table:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def summary_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Figures and verdicts of a whole session, by device and target.

    Args:
        rows: From :func:`result_rows`, of all tests; what several tests shared is told once.

    Returns:
        Lines of text.
    """
    lines: list[str] = []
    for device, target in dict.fromkeys((row["device"], row["target"]) for row in rows):
        here = [row for row in rows if (row["device"], row["target"]) == (device, target)]
        lines += [*([""] if lines else []), f"{device} on {target}{_provenance(here)}"]
        figures = {(row["model"], figure["id"]): figure for row in here for figure in row["figures"]}
        if figures:
            lines += _figure_table(figures)
        lines += _verdict_table(here)
        lines += dict.fromkeys(f"lost: {row['lost']}" for row in here if row["lost"] is not None)
    return lines


def _provenance(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the figures of a target were obtained; nothing where only files were looked at."""
    timed = [row["provenance"] for row in rows if row["figures"]]
    asked = any(budget["verdict"] == Verdict.NOT_MEASURED.value for row in rows for _, budget in _verdicts(row))
    return f", {timed[0]}" if timed else f", {Verdict.NOT_MEASURED.value}" if asked else ""


def _figure_table(figures: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    heads = ("model", "variant", *(f"{name} ms" for name in _FIGURES), "calls/s", "start ms", "RSS MB", "threads")
    table = [heads]
    for (model, variant), figure in figures.items():
        latency = (_number(figure["latency_ms"][name]) for name in _FIGURES)
        others = (_number(figure[name]) for name in ("throughput_per_s", "cold_start_ms", "peak_rss_mb"))
        table.append((model, variant, *latency, *others, str(figure["threads"])))
    return _aligned(table, right=set(range(2, len(heads))))


def _verdict_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    table = [("model", "budget", "variant", "limit", "value", "verdict")]
    for row in rows:
        for title, budget in _verdicts(row):
            numbers = (_number(budget["limit"]), _number(budget["value"]))
            line = (row["model"], title, budget["variant"] or "–", *numbers, budget["verdict"])
            table += [line] if line not in table else []
    return _aligned(table, right={3, 4})
