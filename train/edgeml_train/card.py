"""The model card that travels in the bundle."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeml_train.lineage import lineage_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate.scoring import MetricValue, Score
    from edgeml_runtime.contract import Contract
    from edgeml_train.baseline import BaselineResult
    from edgeml_train.settings import TrainSettings
    from edgeml_train.task import Splits

__all__ = ["card_text"]


def card_text(
    contract: Contract,
    splits: Splits,
    *,
    score: Score,
    baselines: tuple[BaselineResult, ...],
    settings: TrainSettings,
    parameters: int,
    data_sha256: str,
    linear: bool = False,
    columns: Mapping[str, Any] = MappingProxyType({}),
    fast: bool = False,
    teacher: Mapping[str, Any] | None = None,
    slimming: Mapping[str, Any] | None = None,
) -> str:
    """Describe model, data and quality; the same run always gives the same text.

    Args:
        contract: The contract.
        splits: The data.
        score: Of the PyTorch model on the test split.
        baselines: On the same items.
        settings: How it was trained.
        parameters: Trained parameters.
        data_sha256: Digest of the data.
        linear: Whether the model is the linear one, which the network did not beat.
        columns: Of a table: ``numbers``, in their order, and ``categories``, column → texts in their order.
        fast: Whether it was trained by ``--fast``.
        teacher: The run that taught it, as the report of the training names it.
        slimming: What was slimmed, likewise.

    Returns:
        Markdown.
    """
    lines = [
        f"# {contract.name} {contract.version}",
        "",
        contract.description or f"Predicts {contract.target.name}.",
        "",
        "## Data",
        "",
        f"- Split: {splits.name}",
        f"- Items: {len(splits.train)} training, {len(splits.validation)} validation, {len(splits.test)} test",
        *([f"- Left out because it cannot be used: {len(splits.unreadable)}"] if splits.unreadable else []),
        f"- Digest of all items: sha256 {data_sha256}",
        "",
        *_column_lines(columns),
        "## Quality",
        "",
        "Measured with PyTorch on the test split, which neither training, early stopping nor calibration has read. The",
        "figures of each exported variant stand in the manifest.",
        "",
        f"| | {score.metric.name.value} | 95 % interval | items |",
        "|---|---|---|---|",
        _row("**model**", score.metric),
    ]
    lines += [_row(f"baseline: {baseline.name}", baseline.metric) for baseline in baselines]
    for part in score.slices:
        name = f"{part.name} (too few to judge)" if part.too_small else part.name
        interval = f"{part.interval.low:.4f} – {part.interval.high:.4f}"
        lines.append(f"| {name} | {part.value:.4f} | {interval} | {part.n} |")
    notes = [score.metric.interval.note] if score.metric.interval.note else []
    lines += _alarm_lines(score)
    lines += ["", f"Interval of the whole: {'; '.join([score.metric.interval.method, *notes])}.", "", "## Training", ""]
    if linear:
        lines += ["- Model: linear; the network did not beat it beyond noise on the validation split"]
    if fast:
        lines += ["- A fast run, with settings for trying out"]
    lines += [f"- Trained parameters: {parameters}"]
    lines += lineage_lines(teacher, slimming)
    unused = set() if teacher else {"distil_temperature", "distil_weight"}
    unused |= set() if slimming and not slimming["profile"] else {"keep"}
    lines += [f"- {key}: {value}" for key, value in settings.to_dict().items() if key not in unused]
    return "\n".join(lines) + "\n"


def _alarm_lines(score: Score) -> list[str]:
    alarms = score.alarms
    if alarms is None:
        return []
    recall = f"{alarms.event_recall:.2f} ({alarms.recall.low:.2f} – {alarms.recall.high:.2f})"
    per_day = f"{alarms.false_alarms_per_day:.2f} a day ({alarms.per_day.low:.2f} – {alarms.per_day.high:.2f})"
    return [
        "",
        "A score above 1 is an alarm; the threshold was chosen on the validation split and is part of the model.",
        "",
        f"- Events found: {alarms.found} of {alarms.events}, {recall}",
        f"- False alarms: {alarms.false_alarms} in {alarms.days:.0f} days, {per_day}",
    ]


def _column_lines(columns: Mapping[str, Any]) -> list[str]:
    """Which column stands where in the inputs, as an application has to hand them in."""
    numbers, categories = columns.get("numbers", ()), columns.get("categories", {})
    if not numbers and not categories:
        return []
    lines = ["## Columns", ""]
    if numbers:
        lines += [f"- Numbers, in this order: {', '.join(numbers)}"]
    if categories:
        lines += ["- Categories, in this order, each as the index of its text; anything else is −1:"]
    for column, texts in categories.items():
        lines += [f"  - {column}: {', '.join(f'{text} = {index}' for index, text in enumerate(texts))}"]
    return [*lines, ""]


def _row(name: str, value: MetricValue) -> str:
    return f"| {name} | {value.value:.4f} | {value.interval.low:.4f} – {value.interval.high:.4f} | {value.n} |"
