"""Judging budgets: a pure function of the limits and the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeml_devices.estimate import NoEstimate, thread_words
from edgeml_devices.intervals import MIN_PROCESSES, MIN_STARTS, Figure, calls_needed
from edgeml_devices.report import BudgetResult, VariantReport, Verdict
from edgeml_runtime.contract import Budget, BudgetName, Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.tuned_store import Choice

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
        own_backends: The backend that each variant's manifest entry names: budgets that name none are for that one.
        further: Figures of variants in other ways, where budgets name them: on another backend, with other threads.
        disturbance: What made the machine slower than it is, or None. A limit that is exceeded on such a machine
            proves nothing; one that is kept there is kept on a quiet one as well.
        more: What to do for more batches than there are, or why there are no more.
    """

    provenance: Provenance | None
    variants: Mapping[str, VariantReport]
    auto_variant: str | None
    default_threads: int
    bundle_bytes: int
    own_backends: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[Choice, VariantReport] = field(default_factory=dict)
    disturbance: str | None = None
    more: str = "raise --time-limit"


def _way(budget: Budget, variant: str | None, evidence: Evidence) -> Choice | None:
    """The further way that a budget is for, where its figures are there, or None for the usual one."""
    for way in evidence.further:
        own = evidence.own_backends.get(way.variant)
        asked = (variant, budget.backend or own, budget.threads or evidence.default_threads)
        if asked == (way.variant, way.backend, way.threads):
            return way
    return None


def _report(budget: Budget, variant: str | None, evidence: Evidence) -> VariantReport | None:
    """The figures that a budget is judged by."""
    way = _way(budget, variant, evidence)
    return evidence.variants.get(variant or "") if way is None else evidence.further[way]


def _obstacle(budget: Budget, variant: str | None, evidence: Evidence) -> str | None:
    """Why a budget cannot be judged by these figures, or None where it can."""
    if budget.name is BudgetName.INSTRUCTIONS and evidence.provenance is not Provenance.EMULATED:
        emulated = any(report.emulated is not None for report in evidence.variants.values())
        if emulated:
            return "the emulated CPU is not the one that the device profile names: leave it out of --on"
        return "instructions are counted under emulation: bench with --on emulator"
    if evidence.provenance is None:
        return "this machine is not the device"
    if evidence.provenance not in budget.accepts:
        accepted = ", ".join(item.value for item in budget.accepts)
        return f"the budget accepts {accepted} figures only; these are {evidence.provenance.value}"
    if variant is None:
        return "no variant of the bundle can run here; install a backend"
    report = _report(budget, variant, evidence)
    if report is None:
        return f"variant {variant} was not benched"
    if report.latency is None and (report.reason is not None or budget.name not in report.figures):
        return report.reason or f"variant {variant} has no such figure"
    return _difference(budget, report, evidence) or report.unmeasured.get(budget.name)


def _is_too_big(budget: Budget, variant: str | None, evidence: Evidence) -> bool:
    """Whether there is no figure because the variant does not fit into the device's memory."""
    report = _report(budget, variant, evidence)
    counted = budget.name is not BudgetName.INSTRUCTIONS and evidence.provenance in budget.accepts
    return counted and report is not None and not report.fits


def _gives_other_outputs(report: VariantReport | None) -> bool:
    """Whether golden vectors fail, or crash, on the device's CPU: then no budget is kept."""
    return report is not None and report.emulated is not None and not report.emulated.passed


def _difference(budget: Budget, report: VariantReport, evidence: Evidence) -> str | None:
    """How the way of measuring differs from the one the budget is for, or None."""
    own = evidence.own_backends.get(report.id, report.backend)
    backend = budget.backend or own
    if report.backend != backend:
        advice = "bench without --backend" if backend == own else f"bench with --backend {backend}"
        return f"the budget is for backend {backend}; measured with {report.backend}: {advice}"
    stated, found = budget.backend_version, report.backend_version or "unknown"
    if stated is not None and found != stated and not found.startswith(f"{stated}."):
        return f"the budget is for {report.backend} {stated}; measured with {found}"
    threads = budget.threads or (1 if budget.name is BudgetName.INSTRUCTIONS else evidence.default_threads)
    if report.threads != threads:
        return f"the budget is for {threads} thread(s); measured with {report.threads}: bench with --threads {threads}"
    return None


def _other_version(budget: Budget, report: VariantReport) -> str | None:
    """Why a count is not certain: it was made with another version than devices get, and the budget names none."""
    found = report.emulated
    if budget.name is not BudgetName.INSTRUCTIONS or budget.backend_version is not None or found is None:
        return None
    if found.counting is None or found.same_version:
        return None
    counted, shipped = found.counting.version, found.newest.version
    return (
        f"counted with {report.backend} {counted}, and devices get {shipped}: the budget accepts that if it says "
        f'backend_version = "{counted}"'
    )


def _decide(name: BudgetName, limit: float, figure: Figure, disturbance: str | None, more: str) -> tuple[Verdict, str]:
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
    if name is BudgetName.INSTRUCTIONS:
        return (
            Verdict.INCONCLUSIVE,
            f"the limit lies within what counts differ by, {figure.low:,.0f} to {figure.high:,.0f}",
        )
    if figure.n < needed:
        return Verdict.INCONCLUSIVE, f"{figure.n} calls are too few, {needed} are needed: {more}"
    if not math.isfinite(figure.low) and not math.isfinite(figure.high):
        starts = name is BudgetName.COLD_START_MS
        few = f"fewer than {MIN_STARTS} starts" if starts else f"fewer than {MIN_PROCESSES} processes"
        return Verdict.INCONCLUSIVE, f"{few} give no interval: {more}"
    reason = f"the limit lies within the 95 % interval, {figure.low:.4g} to {figure.high:.4g}"
    return Verdict.INCONCLUSIVE, f"{reason}: {more}, or bench on a quieter machine"


def _estimated(budget: Budget, report: VariantReport | None, evidence: Evidence) -> Figure | str | None:
    """The estimate that a budget for the median latency accepts, why there is none, or None where it accepts none."""
    wanted = budget.name is BudgetName.LATENCY_MS_P50 and Provenance.ESTIMATED in budget.accepts
    if not wanted or evidence.provenance is not Provenance.EMULATED or report is None or not report.estimates:
        return None
    threads = budget.threads or evidence.default_threads
    for found in report.estimates:
        if found.threads == threads:
            if isinstance(found, NoEstimate):
                return found.reason
            return Figure(value=found.value_ms, low=found.low_ms, high=found.high_ms, n=len(found.boards))
    others = ", ".join(thread_words(found.threads) for found in report.estimates)
    return f"the budget is for {threads} thread(s), and there are references for {others} only"


def _judge_estimate(budget: Budget, result: BudgetResult, found: Figure | str) -> BudgetResult:
    if isinstance(found, str):
        return replace(result, reason=f"no estimate: {found}")
    verdict, _ = _decide(budget.name, budget.limit, found, None, "")
    how = f"estimated, not measured: {found.value:.4g} ms, {found.low:.4g} to {found.high:.4g}, from {found.n} boards"
    return replace(result, value=found.value, verdict=verdict, reason=how)


def _check(budget: Budget, evidence: Evidence) -> BudgetResult:
    variant = budget.variant or evidence.auto_variant
    result = BudgetResult(
        name=budget.name,
        variant=variant,
        limit=budget.limit,
        value=None,
        verdict=Verdict.NOT_MEASURED,
        way=_way(budget, variant, evidence),
    )
    if budget.name is BudgetName.BUNDLE_MB:
        size = evidence.bundle_bytes / 1e6
        return replace(result, value=size, verdict=Verdict.PASS if size <= budget.limit else Verdict.FAIL)
    report = _report(budget, variant, evidence)
    estimated = _estimated(budget, report, evidence)
    if estimated is not None and not _gives_other_outputs(report):
        return _judge_estimate(budget, result, estimated)
    obstacle = _obstacle(budget, variant, evidence)
    if obstacle is not None or report is None:
        failed = _is_too_big(budget, variant, evidence) or _gives_other_outputs(report)
        verdict = Verdict.FAIL if failed else Verdict.NOT_MEASURED
        return replace(result, verdict=verdict, reason=obstacle or "")
    figure = report.figures[budget.name]
    other = _other_version(budget, report)
    if other is not None:
        return replace(result, value=figure.value, verdict=Verdict.INCONCLUSIVE, reason=other)
    verdict, reason = _decide(budget.name, budget.limit, figure, evidence.disturbance, evidence.more)
    return replace(result, value=figure.value, verdict=verdict, reason=reason)


def check_budgets(budgets: Sequence[Budget], evidence: Evidence) -> tuple[BudgetResult, ...]:
    """Judge every budget.

    A budget passes where the whole 95 % interval of its figure keeps the limit, fails where the whole interval breaks
    it, and is inconclusive otherwise; a time that breaks its limit on a disturbed machine is inconclusive as well. It
    fails where the variant does not fit into the device's memory. It is not measured where the figures were obtained in
    another way than it asks for. ``bundle_mb`` needs no hardware: it is decided by the file alone. A budget for the
    median latency that accepts estimates is judged by the whole interval of one, under emulation.

    Args:
        budgets: The contract's budgets for one device.
        evidence: The figures.

    Returns:
        One result per budget, in the same order.
    """
    return tuple(_check(budget, evidence) for budget in budgets)
