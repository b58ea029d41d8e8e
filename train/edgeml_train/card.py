"""The model card that travels in the bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        f"- Digest of all items: sha256 {data_sha256}",
        "",
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
    lines += ["", f"Interval of the whole: {'; '.join([score.metric.interval.method, *notes])}.", "", "## Training", ""]
    lines += [f"- Trained parameters: {parameters}"]
    lines += [f"- {key}: {value}" for key, value in settings.to_dict().items()]
    return "\n".join(lines) + "\n"


def _row(name: str, value: MetricValue) -> str:
    return f"| {name} | {value.value:.4f} | {value.interval.low:.4f} – {value.interval.high:.4f} | {value.n} |"
