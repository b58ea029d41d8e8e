"""The figures of one variant from what several processes measured of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_devices.budgets import SHARES
from edgeml_devices.intervals import latency_figure, start_figure, throughput_figure
from edgeml_devices.native.measurement import NativeMeasurement, ran
from edgeml_devices.native.report import report_native
from edgeml_devices.report import CurvePoint, VariantReport
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.measure.loop import Samples, quantile, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.batches import Batch
    from edgeml_devices.intervals import Figure
    from edgeml_runtime.measure.report import Start, VariantMeasurement

__all__ = ["JUDGED_BATCHES", "joined_samples", "report_variant"]

JUDGED_BATCHES = 12
"""A sustained bench is judged by its last batches, when the machine is as hot as it gets."""


def joined_samples(batches: Sequence[Batch], variant: str) -> Samples | None:
    """Every call of a variant, of one process after the other.

    Args:
        batches: All of them.
        variant: Its id.

    Returns:
        The samples, or None where it never ran.
    """
    found = [samples for measured in _of(batches, variant) if (samples := measured.samples) is not None]
    return _joined(found) if found else None


def _joined(processes: Sequence[Samples]) -> Samples:
    return Samples(
        rounds_ns=tuple(times for samples in processes for times in samples.rounds_ns),
        warmup_calls=sum(samples.warmup_calls for samples in processes),
        steady=all(samples.steady for samples in processes),
    )


def report_variant(batches: Sequence[Batch], variant: str, *, sustained: bool) -> VariantReport:
    """The figures of a variant.

    Args:
        batches: All of them, in order; the first one measured the variant, later ones need not have.
        variant: Its id.
        sustained: Whether to tell how the latency went over time, and to judge the last batches only.

    Returns:
        The report; where the variant failed in any process, the reason and no figures.
    """
    measured = _of(batches, variant)
    first = measured[0]
    failed = next((number for number, one in enumerate(measured) if not ran(one)), None)
    if failed is not None:
        reason = measured[failed].failure
        if failed > 0:
            reason = f"it ran in {failed} process(es) and failed in the next: {reason}"
        return VariantReport(id=variant, size_bytes=first.size_bytes, reason=reason)
    last = measured[-JUDGED_BATCHES:] if sustained else measured
    judged = [one.samples for one in last if one.samples is not None]
    native = [one for one in last if isinstance(one, NativeMeasurement)]
    if native:
        curve = _curve(batches, variant) if sustained else ()
        return report_native(native, _joined(judged) if judged else None, curve)
    together = _joined(judged)
    starts = tuple(start for one in measured for start in one.starts)
    return VariantReport(
        id=variant,
        size_bytes=first.size_bytes,
        backend=first.backend,
        backend_version=first.backend_version,
        threads=first.threads,
        latency=summarise(together),
        steady=together.steady,
        starts=starts,
        figures=_figures(judged, starts),
        processes=len(judged),
        curve=_curve(batches, variant) if sustained else (),
    )


def _of(batches: Sequence[Batch], variant: str) -> list[VariantMeasurement]:
    return [one for batch in batches for one in batch.measurement.variants if one.id == variant]


def _figures(processes: Sequence[Samples], starts: Sequence[Start]) -> dict[BudgetName, Figure]:
    figures = {name: latency_figure(processes, share) for name, share in SHARES.items()}
    figures[BudgetName.THROUGHPUT_PER_S] = throughput_figure(processes)
    if not starts:
        return figures
    figures[BudgetName.COLD_START_MS] = start_figure([start.cold_start_ms for start in starts], worst=False)
    figures[BudgetName.PEAK_RSS_MB] = start_figure([start.peak_rss_bytes / 1e6 for start in starts], worst=True)
    return figures


def _curve(batches: Sequence[Batch], variant: str) -> tuple[CurvePoint, ...]:
    points = []
    for batch in batches:
        for one in batch.measurement.variants:
            middle = _middle_ms(one) if one.id == variant else None
            if middle is not None:
                points.append(
                    CurvePoint(
                        minutes=(batch.began_s + batch.took_s / 2) / 60,
                        p50=middle[0],
                        p95=middle[1],
                        clock_mhz=batch.conditions.clock_mhz,
                        temperature_c=batch.conditions.temperature_c,
                        throttled=batch.conditions.throttled,
                    )
                )
    return tuple(points)


def _middle_ms(measured: VariantMeasurement) -> tuple[float, float] | None:
    """Median and 95th percentile of one process in milliseconds, where they are known."""
    if measured.samples is not None:
        times = measured.samples.all_ns
        return quantile(times, 0.50) / 1e6, quantile(times, 0.95) / 1e6
    told = measured.statistics if isinstance(measured, NativeMeasurement) else None
    if told is None or told.p50_us is None or told.p95_us is None:
        return None
    return told.p50_us / 1e3, told.p95_us / 1e3
