"""The view of ``edgeml inspect``: contract, variants, slices and files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render import size_text, slice_table, value_text
from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render_bundle"]

Report = Mapping[str, Any]

DIGEST_LETTERS = 16


def render_bundle(console: Console, report: Report) -> None:
    """Print what a bundle holds.

    Args:
        console: Where to print.
        report: The JSON form of ``edgeml inspect``.
    """
    contract = report["contract"]
    console.print(f"[bold]{escape(report['name'])} {report['version']}[/], {size_text(report['bytes'])}")
    if contract["model"].get("description"):
        console.print(f"[dim]{escape(contract['model']['description'])}[/]")
    console.print()
    console.print(_tensor_table(contract))
    console.print(_variant_table(report["variants"]))
    first = report["variants"][0]
    if slices := first["metrics"].get("slices"):
        console.print(slice_table(slices, first["id"]))
    console.print(_member_table(report["members"]))
    console.print(f"contract sha256 {report['contract_sha256']}")
    count = len(report["members"])
    console.print(f"[green]verified:[/] all {count} files have the size and the sha256 that the manifest states")


def _tensor_table(contract: Report) -> Table:
    table = simple_table("tensor", "<dtype", "<shape", "<range", "<meaning")
    for spec in contract["inputs"]:
        low, high = spec["range"]
        meaning = ", ".join(part for part in (spec["unit"], spec["source"]) if part)
        table.add_row(f"in  {spec['name']}", spec["dtype"], _shape(spec), f"{low:g} … {high:g}", escape(meaning))
    for spec in contract["outputs"]:
        table.add_row(f"out {spec['name']}", spec["dtype"], _shape(spec), "", escape(_output_meaning(spec)))
    return table


def _shape(spec: Report) -> str:
    return "×".join(str(size) for size in spec["shape"]) or "scalar"


def _output_meaning(spec: Report) -> str:
    labels = spec.get("labels") or ()
    shown = ", ".join(labels[:4]) + (", …" if len(labels) > 4 else "")
    return f"{spec['role']}: {shown}" if labels else str(spec["role"])


def _variant_table(variants: list[Report]) -> Table:
    metrics = [variant["metrics"].get("metric", {}) for variant in variants]
    table = simple_table("variant", "file", "weights", metrics[0].get("name", "metric"), "parity", "<backend")
    for variant, metric in zip(variants, metrics, strict=True):
        parity = variant["parity"].get("max_abs")
        table.add_row(
            variant["id"],
            size_text(variant["bytes"]),
            size_text(variant["weight_bytes"]),
            value_text(metric["value"]) if metric else "–",
            "–" if parity is None else f"{parity:.0e}",
            f"{variant['backend']} {variant['min_backend_version']}+",
        )
        if variant["requires_isa"]:
            table.add_row(f"[dim]  needs {', '.join(variant['requires_isa'])}[/]")
    return table


def _member_table(members: list[Report]) -> Table:
    table = simple_table("file", "size", "<sha256")
    for member in members:
        table.add_row(escape(member["name"]), size_text(member["bytes"]), f"{member['sha256'][:DIGEST_LETTERS]}…")
    return table
