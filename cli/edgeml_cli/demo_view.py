"""The closing table of ``edgeml demo``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render import budget_table, milliseconds, rounded, size_text, value_text
from edgeml_cli.render_export import render_export
from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

__all__ = ["render_demo"]

Report = Mapping[str, Any]


def render_demo(console: Console, folder: Path, reports: Mapping[str, Report]) -> None:
    """Baseline, model and variants in one table; budgets; the prediction; where the files lie.

    Args:
        console: Where to print.
        folder: The demo's folder.
        reports: Step → the JSON form of its report.
    """
    if "bench" not in reports:
        render_export(console, reports["export"])
        return
    bench = reports["bench"]
    console.print()
    console.print(_overview(reports["train"], reports["export"], bench))
    if bench["budgets"]:
        console.print(budget_table(bench["budgets"]))
    prediction = reports["predict"]
    console.print(
        f"{_near(prediction['source'])} shows a [bold]{escape(prediction['label'])}[/], "
        f"says {prediction['variant']} (score {prediction['score']:.3f})\n"
    )
    bundle = _near(reports["export"]["bundle"])
    for path, text in (
        (bundle, "the bundle"),
        (_near(folder / "edgeml.toml"), "the contract"),
        (_near(folder / "task.py"), "data, preprocessing and network"),
        (_near(folder / ".edgeml"), "runs, tracked with MLflow"),
    ):
        console.print(f"  {escape(path):<44} [dim]{text}[/]")
    console.print(f"\ntry: [bold]edgeml inspect {bundle}[/]", soft_wrap=True)


def _overview(train: Report, export: Report, bench: Report) -> Table:
    table = simple_table("", "size", train["metric"]["name"], "parity", "p50 ms", "p95 ms", "start ms", "RSS MB")
    for baseline in train["baselines"]:
        table.add_row(f"[dim]{escape(baseline['name'])}[/]", "", value_text(baseline["value"]))
    table.add_row("PyTorch model", "", value_text(train["metric"]["value"]), end_section=True)
    speed = {variant["id"]: variant for variant in bench["variants"]}
    for variant in export["variants"]:
        figures = [
            size_text(variant["bytes"]),
            value_text(variant["metric"]["value"]),
            f"{variant['parity_max_abs']:.0e}",
        ]
        if measured := speed.get(variant["id"]):
            latency = measured["latency_ms"]
            figures += [milliseconds(latency["p50"]), milliseconds(latency["p95"])]
            figures += [rounded(measured["cold_start_ms"]), rounded(measured["peak_rss_mb"])]
        name = variant["id"] if variant["shipped"] else f"{variant['id']} [red](not shipped)[/]"
        table.add_row(f"[bold]{name}[/]", *figures)
    return table


def _near(path: str | Path) -> str:
    """A path as one would type it here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
