"""Judging budgets: a pure function of the limits and the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.intervals import MIN_PROCESSES, MIN_STARTS, Figure, calls_needed
from edgeml_devices.report import BudgetResult, VariantReport, Verdict
from edgeml_runtime.contract import Budget, BudgetName, Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SHARES", "Evidence", "check_budgets"]

SHARES = {
    BudgetName.LATENCY_MS_P50: 0.50,
    BudgetName.LATENCY_MS_P95: 0.95,
    BudgetName.LATENCY_MS_P99: 0.99,
}
_LOWER_LIMITS = {BudgetName.THROUGHPUT_PER_S}
_TIMED = {*SHARES, BudgetName.THROUGHPUT_PER_S, BudgetName.COLD_START_MS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything budgets are judged by.

    Attributes:
        provenance: How the figures were obtained, or None where nothing was measured for the device.
        variants: The figures, by variant id.
        auto_variant: The variant that budgets without one are for, or None where none can run on the device.
        default_threads: Threads that budgets without a number are for: the device profile's.
        bundle_bytes: Size of the bundle's file.
        disturbance: What made the machine slower than it is, or None. A limit that is exceeded on such a machine
            proves nothing; one that is kept there is kept on a quiet one as well.
    """

    provenance: Provenance | None
    variants: Mapping[str, VariantReport]
    auto_variant: str | None
    default_threads: int
    bundle_bytes: int
    disturbance: str | None = None


def _obstacle(budget: Budget, variant: str | None, evidence: Evidence) -> str | None:
    """Why a budget cannot be judged by these figures, or None where it can."""
    if budget.name is BudgetName.INSTRUCTIONS:
        return "instructions are counted under emulation, which this bench does not do"
    if evidence.provenance is None:
        return "this machine is not the device"
    if evidence.provenance not in budget.accepts:
        accepted = ", ".join(item.value for item in budget.accepts)
        return f"the budget accepts {accepted} figures only; these are {evidence.provenance.value}"
    if variant is None:
        return "no variant of the bundle can run here; install a backend"
    report = evidence.variants.get(variant)
    if report is None:
        return f"variant {variant} was not benched"
    if report.latency is None:
        return report.reason or f"variant {variant} has no figures"
    return _difference(budget, report, evidence.default_threads)


def _is_too_big(budget: Budget, variant: str | None, evidence: Evidence) -> bool:
    """Whether there is no figure because the variant does not fit into the device's memory."""
    report = evidence.variants.get(variant or "")
    counted = budget.name is not BudgetName.INSTRUCTIONS and evidence.provenance in budget.accepts
    return counted and report is not None and not report.fits


def _difference(budget: Budget, report: VariantReport, default_threads: int) -> str | None:
    """How the way of measuring differs from the one the budget is for, or None."""
    if budget.backend is not None and report.backend != budget.backend:
        return f"the budget is for backend {budget.backend}; measured with {report.backend}"
    stated, found = budget.backend_version, report.backend_version or "unknown"
    if stated is not None and found != stated and not found.startswith(f"{stated}."):
        return f"the budget is for {report.backend} {stated}; measured with {found}"
    threads = budget.threads or default_threads
    if report.threads != threads:
        return f"the budget is for {threads} thread(s); measured with {report.threads}: bench with --threads {threads}"
    return None


def _decide(name: BudgetName, limit: float, figure: Figure, disturbance: str | None) -> tuple[Verdict, str]:
    lower_limit = name in _LOWER_LIMITS
    keeps = figure.low >= limit if lower_limit else figure.high <= limit
    breaks = figure.high < limit if lower_limit else figure.low > limit
    if keeps:
        return Verdict.PASS, ""
    if breaks and disturbance is not None and name in _TIMED:
        return Verdict.INCONCLUSIVE, f"over the limit, but {disturbance} meanwhile: bench on a quieter machine"
    if breaks:
        return Verdict.FAIL, ""
    needed = calls_needed(SHARES[name]) if name in SHARES else 0
    if figure.n < needed:
        return Verdict.INCONCLUSIVE, f"{figure.n} calls are too few, {needed} are needed: raise --time-limit"
    if not math.isfinite(figure.low) and not math.isfinite(figure.high):
        starts = name is BudgetName.COLD_START_MS
        few = f"fewer than {MIN_STARTS} starts" if starts else f"fewer than {MIN_PROCESSES} processes"
        return Verdict.INCONCLUSIVE, f"{few} give no interval: raise --time-limit"
    reason = f"the limit lies within the 95 % interval, {figure.low:.4g} to {figure.high:.4g}"
    return Verdict.INCONCLUSIVE, f"{reason}: raise --time-limit, or bench on a quieter machine"


def _check(budget: Budget, evidence: Evidence) -> BudgetResult:
    variant = budget.variant or evidence.auto_variant
    if budget.name is BudgetName.BUNDLE_MB:
        size = evidence.bundle_bytes / 1e6
        verdict = Verdict.PASS if size <= budget.limit else Verdict.FAIL
        return BudgetResult(name=budget.name, variant=variant, limit=budget.limit, value=size, verdict=verdict)
    obstacle = _obstacle(budget, variant, evidence)
    if obstacle is not None or variant is None:
        verdict = Verdict.FAIL if _is_too_big(budget, variant, evidence) else Verdict.NOT_MEASURED
        return BudgetResult(
            name=budget.name, variant=variant, limit=budget.limit, value=None, verdict=verdict, reason=obstacle or ""
        )
    figure = evidence.variants[variant].figures[budget.name]
    verdict, reason = _decide(budget.name, budget.limit, figure, evidence.disturbance)
    return BudgetResult(
        name=budget.name, variant=variant, limit=budget.limit, value=figure.value, verdict=verdict, reason=reason
    )


def check_budgets(budgets: Sequence[Budget], evidence: Evidence) -> tuple[BudgetResult, ...]:
    """Judge every budget.

    A budget passes where the whole 95 % interval of its figure keeps the limit, fails where the whole interval breaks
    it, and is inconclusive otherwise; a time that breaks its limit on a disturbed machine is inconclusive as well. It
    fails where the variant does not fit into the device's memory. It is not measured where the figures were obtained in
    another way than it asks for. ``bundle_mb`` needs no hardware: it is decided by the file alone.

    Args:
        budgets: The contract's budgets for one device.
        evidence: The figures.

    Returns:
        One result per budget, in the same order.
    """
    return tuple(_check(budget, evidence) for budget in budgets)
