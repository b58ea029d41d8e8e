"""Which model a training kept, and what it was decided by, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["choice_text", "ranking_text"]


def ranking_text(ranking: Mapping[str, Any]) -> str:
    """The area under the ROC curve.

    Args:
        ranking: JSON form of :class:`edgeml_evaluate.Ranking`.

    Returns:
        One line of rich markup.
    """
    interval = ranking["interval"]
    note = f" ({interval['note']})" if interval.get("note") else ""
    return f"ROC AUC {ranking['roc_auc']:.4f}, 95 % interval {interval['low']:.3f} – {interval['high']:.3f}{note}"


def choice_text(report: Mapping[str, Any]) -> str:
    """Which model was kept and why, and what gradient boosting would give.

    Args:
        report: JSON form of a training's report.

    Returns:
        Lines of rich markup; empty where there was nothing to choose or to compare.
    """
    lines = []
    if report.get("choice"):
        lines += _kept(report["choice"], report["metric"]["name"])
    if report.get("boosting"):
        lines.append(_boosting(report["boosting"], report["metric"]["name"]))
    return "\n".join(lines)


def _kept(choice: Mapping[str, Any], metric: str) -> list[str]:
    compared = f"{_difference(choice['validation'], metric)} of the validation split."
    if choice["kept"] == "network":
        return [f"The network beats the linear model, [bold]the network is kept[/]: {compared}"]
    verdict = "[yellow]The network does not beat the linear model beyond noise[/], [bold]the linear model is kept[/]"
    return [
        f"{verdict}: {compared}",
        f"The network's {metric} on the test split would be {choice['network']['value']:.4f}.",
    ]


def _boosting(comparison: Mapping[str, Any], metric: str) -> str:
    compared = f"{_difference(comparison, metric)} of the test split."
    if comparison["beats"]:
        return (
            f"[yellow]Gradient boosting beats the model[/]: {compared} It has no graph to export; where the difference "
            "matters, look for features or a larger network that close it."
        )
    return f"Gradient boosting, which has no graph to export, does not beat the model beyond noise: {compared}"


def _difference(comparison: Mapping[str, Any], metric: str) -> str:
    interval = comparison["interval"]
    return (
        f"{comparison['advantage']:+.4f} {metric}, 95 % interval {interval['low']:+.4f} – {interval['high']:+.4f}, "
        f"over {comparison['n']} items"
    )
