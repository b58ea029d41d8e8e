"""What was found under emulation, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

__all__ = ["render_instructions"]

# Short forms of the titles in edgeml_devices.emulator.classes, for 80 columns; a test compares the names.
HEADINGS = {
    "fp_fma": "fp fma",
    "int8_dot": "dot",
    "int8_matrix": "matrix",
    "widening_multiply": "widening",
    "load_store": "load/store",
    "branch": "branch",
    "other": "other",
}


def render_instructions(console: Console, report: Mapping[str, Any]) -> None:
    """Show instructions by class, then the golden vectors; nothing where nothing was emulated.

    Args:
        console: Where to draw.
        report: The JSON form of a bench.
    """
    emulated = {variant["id"]: variant["emulated"] for variant in report["variants"] if variant.get("emulated")}
    if not emulated:
        return
    counted = {name: found for name, found in emulated.items() if found["counts"]}
    if counted:
        table = simple_table("thousands", "in all", *HEADINGS.values())
        for name, found in counted.items():
            counts = found["counts"]
            row = (sum(counts.values()), *(counts[key] for key in HEADINGS))
            table.add_row(escape(name), *map(_thousands, row))
        console.print()
        console.print(table)
    for name, found in counted.items():
        if "int8" in name:
            console.print(f"{escape(name)}: int8 dot products: {_dot_products(found['counts'])}", highlight=False)
    for name, found in emulated.items():
        console.print(f"{escape(name)}: golden vectors: {_golden_text(found)}", highlight=False, soft_wrap=True)


def _thousands(value: int) -> str:
    """One decimal; what would round to none of it is not shown as none."""
    if not value:
        return "–"
    return f"{value / 1e3:,.1f}" if value >= 50 else "<0.1"


def _dot_products(counts: Mapping[str, int]) -> str:
    matrix = "; int8 matrix products: yes" if counts["int8_matrix"] else ""
    return ("yes" if counts["int8_dot"] else "no") + matrix


def _golden_text(found: Mapping[str, Any]) -> str:
    runs = [run for run in (found["newest"], found["counting"]) if run is not None]
    return "; ".join(_run_text(run) for run in runs)


def _run_text(run: Mapping[str, Any]) -> str:
    where = f"{run['backend']} {run['version'] or ''}".strip()
    if not run["passed"]:
        return f"[bold red]{'failed' if run['cases'] else 'did not get to run'}[/] on {escape(where)}"
    if not run["cases"]:
        return f"none in the file, ran on {escape(where)}"
    return f"{run['cases']} passed on {escape(where)}"
