"""Whether a variant that failed under the device's memory limit failed because of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from edgeml_devices.memory import MemoryLimit
    from edgeml_devices.report import VariantReport
    from edgeml_devices.targets import Target
    from edgeml_runtime.measure.cli import MeasureRequest

__all__ = ["explain_failure"]

_SECONDS = 0.05


def explain_failure(
    report: VariantReport, target: Target, request: MeasureRequest, limit: MemoryLimit
) -> VariantReport:
    """Measure a failed variant once without the limit: only one that then runs did not fit.

    Under a limit that counts reserved memory (:attr:`MemoryLimit.exact`), the memory it used has to exceed the limit as
    well.

    Args:
        report: A variant without figures.
        target: Where it failed.
        request: What was asked for.
        limit: The limit it failed under.

    Returns:
        The report with the reason, and ``fits`` where it is known.

    Raises:
        TargetError: The target did not answer.
    """
    alone = replace(request, variants=(report.id,), seconds=_SECONDS, starts=1)
    (measured,) = target.measure(alone, variants=1, limit=None, progress=silent).variants
    if measured.samples is None:
        return report
    peak_mb = max(start.peak_rss_bytes for start in measured.starts) / 1e6
    limit_mb = limit.memory_bytes / 1e6
    if limit.exact or peak_mb > limit_mb:
        reason = (
            f"does not fit into the device's {limit_mb:,.0f} MB of memory; without the limit it takes {peak_mb:,.0f} MB"
        )
        return replace(report, fits=False, reason=reason)
    reason = (
        f"was refused memory though it takes {peak_mb:,.0f} MB of {limit_mb:,.0f} MB, because the limit here counts "
        "reserved memory as well: bench where control groups can be made, as root for example"
    )
    return replace(report, reason=reason)
