"""The part of the model card that says what was exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_export.converters import RangeSources
    from edgeml_export.report import VariantReport

__all__ = ["card_with_variants"]


def card_with_variants(card: str, variants: Sequence[VariantReport]) -> str:
    """Append the table of variants to a card.

    Args:
        card: Markdown that describes model, data and training.
        variants: The shipped variants, in the order in which ``auto`` tries them.

    Returns:
        Markdown; the same arguments give the same text.
    """
    lines = [
        card.rstrip("\n"),
        "",
        "## Variants",
        "",
        "Measured on the test split with the bytes in this bundle, through the inference backend that a device uses.",
        "",
        "| variant | file, bytes | weights, bytes | metric | 95 % interval | max. difference from PyTorch ÷ std |",
        "|---|---|---|---|---|---|",
    ]
    for variant in variants:
        metric, interval = variant.metric, variant.metric.interval
        lines.append(
            f"| {variant.id} | {variant.bytes} | {variant.weight_bytes} | {metric.name.value} {metric.value:.4f} "
            f"| {interval.low:.4f} – {interval.high:.4f} | {variant.parity.max_abs_of_std:.1e} |"
        )
    learned = [variant for variant in variants if variant.ranges is not None]
    if learned:
        lines += ["", "Ranges of activations, where they are integers:", ""]
        lines += [f"- {variant.id}: {_sources(variant.ranges)}" for variant in learned if variant.ranges is not None]
    return "\n".join(lines).lstrip("\n") + "\n"


def _sources(ranges: RangeSources) -> str:
    calibrated = f", {ranges.calibrated} calibrated" if ranges.calibrated else ", none calibrated"
    return f"{ranges.learned} learned by quantization-aware training{calibrated}"
