"""The estimates of the variants of a bench, from what was counted of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeml_devices.estimate import Estimate, estimates, thread_words
from edgeml_devices.estimate_references import calibration_references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from edgeml_devices.profile import DeviceProfile
    from edgeml_devices.report import VariantReport

__all__ = ["estimate_notes", "with_estimates"]


def with_estimates(
    variants: Iterable[VariantReport], profile: DeviceProfile, project: Path
) -> tuple[VariantReport, ...]:
    """Estimate the latency of every variant that was counted.

    Args:
        variants: Their reports.
        profile: The device.
        project: Folder whose ``devices/*.toml`` have references as well.

    Returns:
        The reports; one that was counted has an estimate, or the reason for none, for each number of threads.

    Raises:
        ProjectError: A profile of the project is broken.
    """
    references = calibration_references(project)
    return tuple(
        variant
        if variant.emulated is None or variant.emulated.counts is None or variant.backend is None
        else replace(
            variant,
            estimates=estimates(variant.emulated.counts, variant.size_bytes, profile, variant.backend, references),
        )
        for variant in variants
    )


def estimate_notes(variants: Iterable[VariantReport]) -> Iterator[str]:
    """Every estimate in a sentence; one that says so where there are none.

    Args:
        variants: Their reports.
    """
    asked = [variant for variant in variants if variant.estimates]
    found = [
        (variant.id, estimate) for variant in asked for estimate in variant.estimates if isinstance(estimate, Estimate)
    ]
    for name, estimate in found:
        median, most = estimate.leave_one_board_out_median, estimate.leave_one_board_out_max
        yield (
            f"{name}: estimated, not measured: {estimate.value_ms:.3g} ms ({estimate.low_ms:.3g} to "
            f"{estimate.high_ms:.3g}) with {thread_words(estimate.threads)}, from {estimate.runtime} on "
            f"{', '.join(estimate.boards)}; a board that was left out was off by "
            f"{median:.0%} in the median and {most:.0%} at most"
        )
    if asked and not found:
        yield "no latency is estimated: no published figures are near enough (the JSON says what is missing)"
