"""What a training built on, from the JSON form of its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

__all__ = ["lineage_text"]

Report = Mapping[str, Any]

_ID = 8


def lineage_text(report: Report) -> str:
    """The runs that a training built on, and which layers lost channels.

    Args:
        report: JSON form of a training.

    Returns:
        Lines with markup; empty where it built on none.
    """
    lines = []
    teacher, slimming = report.get("teacher"), report.get("slimming")
    if teacher:
        project = f"{escape(teacher['project'])}:" if teacher["project"] else ""
        lines.append(f"teacher: run {project}{teacher['run_id'][:_ID]}, {teacher['parameters']:,} parameters")
    if slimming:
        for_profile = f" for the budgets of {slimming['profile']}" if slimming["profile"] else ""
        lines.append(
            f"slimmed: run {slimming['run_id'][:_ID]} to {slimming['keep']:.3g} of its channels{for_profile}, "
            f"{slimming['parameters_before']:,} → {report['parameters']:,} parameters"
        )
        lines += [
            f"  {escape(item['path'])}: {item['before']} → {item['after']} channels" for item in slimming["layers"]
        ]
        lines += [f"  {escape(path)} stays: {escape(why)}" for path, why in slimming["left_alone"].items()]
        lines += [f"[yellow]not judged: {name}: {escape(why)}[/]" for name, why in slimming["not_judged"].items()]
    return "\n".join(lines)
