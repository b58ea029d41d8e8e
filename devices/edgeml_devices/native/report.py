"""The report of a variant that native programs measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_devices.native.measurement import UNMEASURED, native_figures
from edgeml_devices.report import PartialLatency, VariantReport
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.measure.loop import summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_devices.intervals import Figure
    from edgeml_devices.native.measurement import NativeMeasurement
    from edgeml_devices.native.output import CallStatistics
    from edgeml_devices.report import CurvePoint
    from edgeml_runtime.measure.loop import LatencySummary, Samples

__all__ = ["report_native"]


def report_native(
    measured: Sequence[NativeMeasurement], together: Samples | None, curve: tuple[CurvePoint, ...]
) -> VariantReport:
    """The figures of a variant from what several processes of a native program told.

    Args:
        measured: Those that are judged, at least one; all of them ran.
        together: Every call of theirs, where the program tells them.
        curve: How the latency went over time; empty unless the bench was a sustained one.

    Returns:
        The report; what the program does not tell is in ``unmeasured`` with the reason.
    """
    first = measured[0]
    statistics = [one.statistics for one in measured if one.statistics is not None]
    figures = native_figures(measured)
    missing = {name: reason for name, reason in UNMEASURED.items() if name not in figures}
    steady = all(one.steady for one in statistics) if together is None else together.steady
    return VariantReport(
        id=first.id,
        size_bytes=first.size_bytes,
        backend=first.backend,
        threads=first.threads,
        runner=first.runner,
        latency=_partial(statistics, figures) if together is None else summarise(together),
        steady=steady,
        figures=figures,
        unmeasured=missing,
        processes=len(measured),
        curve=curve,
    )


def _partial(
    statistics: Sequence[CallStatistics], figures: Mapping[BudgetName, Figure]
) -> LatencySummary | PartialLatency:
    def value(name: BudgetName) -> float | None:
        return figures[name].value if name in figures else None

    return PartialLatency(
        min=min(one.min_us for one in statistics) / 1e3,
        p50=value(BudgetName.LATENCY_MS_P50),
        p95=value(BudgetName.LATENCY_MS_P95),
        p99=None,
        n=sum(one.n for one in statistics),
    )
