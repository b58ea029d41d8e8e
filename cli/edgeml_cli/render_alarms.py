"""An anomaly score's alarms as people read them: areas, events found and false alarms, beside those of simple rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

__all__ = ["render_alarms"]

Report = Mapping[str, Any]


def render_alarms(console: Console, report: Report) -> None:
    """Areas and alarms of the model and the rules, then how much better the model is.

    Args:
        console: Where to.
        report: JSON form of :class:`edgeml_train.anomaly.AnomalyReport`.
    """
    console.print(_table(report))
    for rule in report["rules"]:
        console.print("\n".join(_advantages(rule)) + "\n", highlight=False)
    days, count = report["validation_days"], report["validation_false_alarms"]
    console.print(
        f"threshold: {report['threshold']:.4g}, with {count} false alarms in the {days:.0f} days of the validation "
        "split; exported scores are multiples of it\n",
        highlight=False,
    )
    if not report["recall_floor_met"]:
        console.print("[yellow]The alarms find fewer events than anomaly.event_recall_floor asks.[/]\n")
    if not report["quiet_enough"]:
        console.print("[yellow]There are more false alarms than anomaly.false_alarms_per_day_limit allows.[/]\n")


def _table(report: Report) -> Table:
    table = simple_table("alarms", "partial AUC", "events found", "recall", "false a day", "95 % interval")
    for name, entry in [*((rule["name"], rule) for rule in report["rules"]), ("[bold]model[/]", report)]:
        alarms, (_, partial) = entry["alarms"], entry["areas"]
        per_day = alarms["false_alarms_per_day_interval"]
        table.add_row(
            name,
            f"{partial['value']:.3f}",
            f"{alarms['found']} of {alarms['events']}",
            f"{alarms['event_recall']:.2f}",
            f"{alarms['false_alarms_per_day']:.2f}",
            f"{per_day['low']:.2f} – {per_day['high']:.2f}",
        )
    return table


def _advantages(rule: Report) -> Iterator[str]:
    """How much better than the rule the model is, with the paired 95 % interval."""
    yield f"model against {escape(rule['name'])} (95 % interval):"
    advantages = {"ROC AUC": rule["advantages"]["roc_auc"], "event recall": rule["recall_advantage"]}
    for name, found in advantages.items():
        interval = found["interval"]
        yield f"  {name} {found['value']:+.3f} ({interval['low']:+.3f} – {interval['high']:+.3f})"
