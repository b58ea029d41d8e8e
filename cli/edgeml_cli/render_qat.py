"""The view of ``edgeml train --qat``: float, post-training int8 and this training over the same test items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render import value_text
from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render_qat"]

Report = Mapping[str, Any]

_STAGES = {"float": "float run", "post_training": "post-training", "quantization_aware": "quantization-aware"}


def render_qat(console: Console, report: Report) -> None:
    """Every model with its metric and what it loses; what was won back; which epoch was kept.

    Args:
        console: Where to print.
        report: The JSON form of a quantization-aware training.
    """
    metric = report["rows"][0]["metric"]
    console.print(f"split: [bold]{escape(report['split'])}[/], {metric['n']} test items\n")
    console.print(_table(report["rows"]))
    within = {row["model"] for row in report["rows"] if row["stage"] == "post_training" and row["loss"]["within"]}
    for variant, share in report["won_back"].items():
        if share is None or variant in within:
            console.print(f"{variant}: post-training int8 keeps the contract's promise already")
        else:
            console.print(f"{variant}: [bold]{share:.0%}[/] of the post-training loss won back")
    console.print("\n[dim]int8: the files themselves were run; loss: against the float run, same items[/]")
    console.print("[dim]off: from what training simulated, root mean square ÷ standard deviation[/]\n")
    if report["best_epoch"]:
        kept = f"best was {report['best_epoch']}"
    else:
        kept = "[yellow]none was better than the start, which is kept[/]"
    resumed = f", resumed at {report['resumed_at']}" if report["resumed_at"] else ""
    console.print(f"run {report['run_id']}, {report['epochs']} epochs, {kept}{resumed}")
    console.print(f"from run {report['parent_run_id']}, {report['ranges']} ranges learned")


def _table(rows: list[Report]) -> Table:
    table = simple_table("", "<model", rows[0]["metric"]["name"], "loss", "lost", "gained", "off")
    for row in rows:
        loss, off = row["loss"], row["simulation_rms"]
        table.add_row(
            _STAGES[row["stage"]],
            row["model"],
            value_text(row["metric"]["value"]),
            *(("–",) * 3 if loss is None else (value_text(loss["drop"]), _count(loss["lost"]), _count(loss["gained"]))),
            "–" if off is None else f"{off:.3f}",
        )
    return table


def _count(items: int | None) -> str:
    return "–" if items is None else str(items)
