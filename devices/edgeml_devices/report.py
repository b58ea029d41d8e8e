"""What a bench found: figures per variant, verdicts per budget, as data and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgeml_runtime.contract import BudgetName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.intervals import Figure
    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.contract import Provenance
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.measure import LatencySummary, Samples
    from edgeml_runtime.measure_report import Start

__all__ = ["BenchReport", "BudgetResult", "VariantReport", "Verdict"]


class Verdict(Enum):
    """What the evidence says about a budget."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetResult:
    """One budget and its verdict.

    Attributes:
        name: The limited quantity.
        variant: The variant it was judged on, or None where no variant of the bundle can run on the device.
        limit: The limit, in the unit the name states.
        value: The figure, or None where there is none.
        verdict: What the evidence says.
        reason: Why, where the figures alone do not say it; empty otherwise.
    """

    name: BudgetName
    variant: str | None
    limit: float
    value: float | None
    verdict: Verdict
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name.value,
            "variant": self.variant,
            "limit": self.limit,
            "value": self.value,
            "verdict": self.verdict.value,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """The figures of one variant on the device.

    Attributes:
        id: Variant id; for a bare model the file's name.
        size_bytes: Size of the model file.
        backend: Backend it ran on, or None where it was not measured.
        backend_version: Release of that backend, or None.
        threads: Threads the backend was given, or None.
        latency: Percentiles of the latency, or None where it was not measured.
        steady: Whether the times had settled when measuring began.
        starts: The starts in fresh processes.
        figures: What budgets are judged by; empty where it was not measured.
        reason: Why it was not measured, or None.
    """

    id: str
    size_bytes: int
    backend: str | None = None
    backend_version: str | None = None
    threads: int | None = None
    latency: LatencySummary | None = None
    steady: bool = False
    starts: tuple[Start, ...] = ()
    figures: Mapping[BudgetName, Figure] = field(default_factory=dict)
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; ``null`` for every figure that was not measured."""
        latency = self.latency
        return {
            "id": self.id,
            "size_mb": self.size_bytes / 1e6,
            "backend": self.backend,
            "backend_version": self.backend_version,
            "threads": self.threads,
            "calls": None if latency is None else latency.n,
            "steady": self.steady,
            "latency_ms": {
                key: None if latency is None else getattr(latency, key) for key in ("min", "p50", "p95", "p99")
            },
            "throughput_per_s": self._value(BudgetName.THROUGHPUT_PER_S),
            "cold_start_ms": self._value(BudgetName.COLD_START_MS),
            "peak_rss_mb": self._value(BudgetName.PEAK_RSS_MB),
            "intervals": {name.value: _interval(figure) for name, figure in self.figures.items()},
            "starts": [start.to_dict() for start in self.starts],
            "reason": self.reason,
        }

    def _value(self, name: BudgetName) -> float | None:
        figure = self.figures.get(name)
        return None if figure is None else figure.value


def _interval(figure: Figure) -> dict[str, float | None]:
    """Both ends of the interval; JSON has no infinity, so an end that does not exist is null."""
    return {
        "low": figure.low if math.isfinite(figure.low) else None,
        "high": figure.high if math.isfinite(figure.high) else None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """The result of one bench.

    Attributes:
        model: The file that was benched.
        profile: The device it was benched for.
        machine: The machine at hand.
        provenance: How the figures were obtained, or None where nothing was measured for this device.
        mismatch: Every reason why the machine does not count as the device; empty where it does.
        auto_variant: The variant that budgets without one are judged on, or None where none can run.
        variants: In the order of the bundle.
        budgets: The contract's budgets for the device, in its order.
        notes: What a reader should know besides, one sentence each.
        samples: Every measured call, by variant id; not part of the JSON.
    """

    model: str
    profile: DeviceProfile
    machine: Machine
    provenance: Provenance | None
    mismatch: tuple[str, ...]
    auto_variant: str | None
    variants: tuple[VariantReport, ...]
    budgets: tuple[BudgetResult, ...]
    notes: tuple[str, ...]
    samples: Mapping[str, Samples]

    @property
    def exit_code(self) -> int:
        """0 where every budget passed; 1 where one failed; 4 where the evidence does not suffice.

        The evidence does not suffice where a budget is inconclusive or was not measured, or where nothing was measured.
        """
        verdicts = {result.verdict for result in self.budgets}
        if Verdict.FAIL in verdicts:
            return 1
        nothing_measured = self.provenance is None or all(variant.latency is None for variant in self.variants)
        return 4 if nothing_measured or verdicts - {Verdict.PASS} else 0

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, without the single samples."""
        return {
            "model": self.model,
            "device": self.profile.name,
            "provenance": "not_measured" if self.provenance is None else self.provenance.value,
            "mismatch": list(self.mismatch),
            "machine": self.machine.to_dict(),
            "auto_variant": self.auto_variant,
            "variants": [variant.to_dict() for variant in self.variants],
            "budgets": [result.to_dict() for result in self.budgets],
            "notes": list(self.notes),
        }
