"""What a bench found: figures per variant, verdicts per budget, as data and as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from edgeml_devices.batches import Batch
    from edgeml_devices.conditions import Conditions
    from edgeml_devices.emulator.found import EmulatedVariant
    from edgeml_devices.estimate import Estimate, NoEstimate
    from edgeml_devices.intervals import Figure
    from edgeml_devices.profile import DeviceProfile
    from edgeml_devices.profiling import ProfiledBench
    from edgeml_runtime.contract import Provenance
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.measure.loop import LatencySummary, Samples
    from edgeml_runtime.measure.report import Start
    from edgeml_runtime.tuned_store import Choice

__all__ = ["BenchReport", "BudgetResult", "CurvePoint", "PartialLatency", "VariantReport", "Verdict"]


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
        way: The further way in which the variant was run for this budget, or None for the one of all variants.
    """

    name: BudgetName
    variant: str | None
    limit: float
    value: float | None
    verdict: Verdict
    reason: str = ""
    way: Choice | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name.value,
            "variant": self.variant,
            "limit": self.limit,
            "value": self.value,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "way": None if self.way is None else str(self.way),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A sustained measurement at one moment.

    Attributes:
        minutes: Since it began, at the middle of the batch.
        p50: Median latency of the batch in milliseconds.
        p95: 95th percentile, likewise.
        clock_mhz: Clock meanwhile, or None where the system does not tell.
        temperature_c: Highest temperature, likewise.
        throttled: Whether the clock was held down, likewise.
    """

    minutes: float
    p50: float
    p95: float
    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttled: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "minutes": self.minutes,
            "p50": self.p50,
            "p95": self.p95,
            "clock_mhz": self.clock_mhz,
            "temperature_c": self.temperature_c,
            "throttled": self.throttled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialLatency:
    """Percentiles of the latency in milliseconds, as far as a program tells that keeps the single calls to itself.

    Attributes:
        min: The fastest call.
        p50: Median over the processes of their medians, or None.
        p95: The same of their 95th percentiles, or None.
        p99: The same of their 99th percentiles, or None.
        n: Calls that were measured.
    """

    min: float
    p50: float | None
    p95: float | None
    p99: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """The figures of one variant on the device.

    Attributes:
        id: Variant id; for a bare model the file's name.
        size_bytes: Size of the model file.
        backend: Backend it ran on, or None where it was not measured.
        backend_version: Release of that backend, or None.
        threads: Threads the backend was given, or None.
        runner: The native program that ran the bare model in place of the runtime, or None.
        latency: Percentiles of the latency, or None where it was not measured.
        steady: Whether the times had settled when measuring began.
        starts: The starts in fresh processes.
        figures: What budgets are judged by; empty where it was not measured.
        unmeasured: Why single figures are missing, though the variant ran.
        processes: In how many processes its latency was measured.
        fits: False where it was proved not to run within the device's memory, and runs with more.
        curve: How its latency went over time; empty unless the bench was a sustained one.
        emulated: What was found under emulation, or None where it was not emulated.
        estimates: Latencies estimated from what was counted, or why there are none; never a measurement.
        reason: Why it was not measured, or None.
    """

    id: str
    size_bytes: int
    backend: str | None = None
    backend_version: str | None = None
    threads: int | None = None
    runner: str | None = None
    latency: LatencySummary | PartialLatency | None = None
    steady: bool = False
    starts: tuple[Start, ...] = ()
    figures: Mapping[BudgetName, Figure] = field(default_factory=dict)
    unmeasured: Mapping[BudgetName, str] = field(default_factory=dict)
    processes: int = 0
    fits: bool = True
    curve: tuple[CurvePoint, ...] = ()
    emulated: EmulatedVariant | None = None
    estimates: tuple[Estimate | NoEstimate, ...] = ()
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
            "runner": self.runner,
            "calls": None if latency is None else latency.n,
            "steady": self.steady,
            "latency_ms": {
                key: None if latency is None else getattr(latency, key) for key in ("min", "p50", "p95", "p99")
            },
            "throughput_per_s": self._value(BudgetName.THROUGHPUT_PER_S),
            "cold_start_ms": self._value(BudgetName.COLD_START_MS),
            "peak_rss_mb": self._value(BudgetName.PEAK_RSS_MB),
            "instructions": self._value(BudgetName.INSTRUCTIONS),
            "intervals": {name.value: _interval(figure) for name, figure in self.figures.items()},
            "unmeasured": {name.value: reason for name, reason in self.unmeasured.items()},
            "starts": [start.to_dict() for start in self.starts],
            "processes": self.processes,
            "fits": self.fits,
            "curve": [point.to_dict() for point in self.curve],
            "emulated": None if self.emulated is None else self.emulated.to_dict(),
            "estimates": [estimate.to_dict() for estimate in self.estimates],
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
        name: The model's name; for a bare model the file's.
        version: The model's version; a bare model has none.
        size_bytes: Size of the benched file.
        measured_at: When it began, in UTC.
        python: Release of the Python that measured, or None where that is not known.
        further: Variants once more, in the other ways that budgets name: on another backend, with other threads.
        notes: What a reader should know besides, one sentence each.
        conditions: The machine during each batch of the measurement; empty where nothing was measured.
        memory_limit_bytes: The memory the measuring processes could use, where the device's was applied, or None.
        lost: Why the target stopped answering before the end, or None; the figures are those measured until then.
        samples: Every measured call, by variant id; not part of the JSON.
        profiled: The variants by their operators, where that was asked for, or None.
        batches: What was measured, process by process, for a bench that goes on from here; not part of the JSON.
    """

    model: str
    name: str
    version: str | None
    size_bytes: int
    measured_at: datetime
    profile: DeviceProfile
    machine: Machine
    provenance: Provenance | None
    mismatch: tuple[str, ...]
    auto_variant: str | None
    variants: tuple[VariantReport, ...]
    budgets: tuple[BudgetResult, ...]
    notes: tuple[str, ...]
    samples: Mapping[str, Samples]
    conditions: tuple[Conditions, ...] = ()
    memory_limit_bytes: int | None = None
    lost: str | None = None
    profiled: ProfiledBench | None = None
    batches: tuple[Batch, ...] = ()
    further: Mapping[Choice, VariantReport] = field(default_factory=dict)
    python: str | None = None

    @property
    def exit_code(self) -> int:
        """0 where every budget passed; 1 where one failed or the bundle does not fit; 4 where the evidence is too thin.

        Before all that, 3 where the target was lost. 1 as well where golden vectors fail under emulation.

        The bundle does not fit where the variant that ``auto`` picks, or each one that was benched, does not run within
        the device's memory. The evidence is too thin where a budget is inconclusive or was not measured, or where
        nothing was measured.
        """
        if self.lost is not None:
            return TargetError.exit_code
        verdicts = {result.verdict for result in self.budgets}
        too_big = {variant.id for variant in self.variants if not variant.fits}
        golden_failed = any(one.emulated is not None and not one.emulated.passed for one in self.variants)
        if golden_failed or Verdict.FAIL in verdicts:
            return 1
        if self.auto_variant in too_big or len(too_big) == len(self.variants):
            return 1
        empty = all(variant.latency is None and variant.emulated is None for variant in self.variants)
        nothing_measured = self.provenance is None or empty
        return 4 if nothing_measured or verdicts - {Verdict.PASS} else 0

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, without the single samples."""
        return {
            "model": self.model,
            "subject": {"name": self.name, "version": self.version, "size_bytes": self.size_bytes},
            "measured_at": self.measured_at.isoformat(timespec="seconds"),
            "python": self.python,
            "device": self.profile.name,
            "provenance": "not_measured" if self.provenance is None else self.provenance.value,
            "mismatch": list(self.mismatch),
            "machine": self.machine.to_dict(),
            "auto_variant": self.auto_variant,
            "variants": [variant.to_dict() for variant in self.variants],
            "further": [{"way": str(way), **variant.to_dict()} for way, variant in self.further.items()],
            "budgets": [result.to_dict() for result in self.budgets],
            "notes": list(self.notes),
            "conditions": [one.to_dict() for one in self.conditions],
            "memory_limit_bytes": self.memory_limit_bytes,
            "lost": self.lost,
            **({"operators": None, "roofline": None} if self.profiled is None else self.profiled.to_dict()),
        }
