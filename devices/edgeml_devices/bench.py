"""Benching a bundle or a bare model for a device, and judging the contract's budgets."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.batches import Plan, measure_batches
from edgeml_devices.budgets import Evidence, check_budgets
from edgeml_devices.conditions import disturbance
from edgeml_devices.fitting import explain_failure
from edgeml_devices.host import HOST, host_profile, match
from edgeml_devices.model_file import read_model, select
from edgeml_devices.profile_files import find_project, load_profile, mark_unknown
from edgeml_devices.report import BenchReport, VariantReport, Verdict
from edgeml_devices.targets import LocalTarget, Target
from edgeml_devices.variant_report import joined_samples, report_variant
from edgeml_runtime.contract import Provenance
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.measure.bare import bare_format
from edgeml_runtime.measure.cli import DEFAULT_SECONDS, DEFAULT_STARTS, MeasureRequest
from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_devices.batches import Batch
    from edgeml_devices.host import Match
    from edgeml_devices.memory import MemoryLimit
    from edgeml_devices.model_file import ModelFile, VariantFile
    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.contract import Budget
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.progress import Progress

__all__ = ["DEFAULT_TIME_LIMIT_S", "bench"]

DEFAULT_TIME_LIMIT_S = 55.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is benched, for which device, on which machine."""

    model: ModelFile
    selected: tuple[VariantFile, ...]
    profile: DeviceProfile
    machine: Machine
    matched: Match
    project: Path
    sustained: bool

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The contract's budgets for this device."""
        return tuple(budget for budget in self.model.budgets if budget.profile == self.profile.name)

    @property
    def memory_bytes(self) -> int | None:
        """The device's memory, where the machine has more than that."""
        usable = self.profile.memory_usable_bytes
        return usable if usable is not None and usable < self.machine.memory_bytes else None


def _auto_on(profile: DeviceProfile, model: ModelFile) -> str | None:
    """The variant ``auto`` would pick on the device, were every backend installed there."""
    able = (variant.id for variant in model.variants if set(variant.requires_isa) <= set(profile.isa))
    return next(able, None)


def _slowed(case: _Case, batches: Sequence[Batch]) -> str | None:
    """What disturbed the measurement; a clock that sinks with heat is what a sustained one is meant to see."""
    conditions = (batch.conditions for batch in batches)
    return (
        disturbance(replace(one, throttled=None) for one in conditions) if case.sustained else disturbance(conditions)
    )


def _evidence(case: _Case, variants: Sequence[VariantReport], batches: Sequence[Batch]) -> Evidence:
    return Evidence(
        provenance=Provenance.MEASURED if batches else None,
        variants={variant.id: variant for variant in variants},
        auto_variant=batches[0].measurement.auto_variant if batches else _auto_on(case.profile, case.model),
        default_threads=case.profile.threads,
        bundle_bytes=case.model.size_bytes,
        disturbance=_slowed(case, batches),
    )


def _reports(case: _Case, batches: Sequence[Batch]) -> tuple[VariantReport, ...]:
    return tuple(report_variant(batches, variant.id, sustained=case.sustained) for variant in case.selected)


def _undecided(case: _Case, batches: Sequence[Batch]) -> set[str]:
    """Variants with an inconclusive budget: more calls narrow the interval, and a busy machine may become quiet."""
    results = check_budgets(case.budgets, _evidence(case, _reports(case, batches), batches))
    return {result.variant for result in results if result.verdict is Verdict.INCONCLUSIVE and result.variant}


def _notes(case: _Case, variants: Sequence[VariantReport], batches: Sequence[Batch]) -> Iterator[str]:
    if not case.budgets:
        others = mark_unknown(sorted({budget.profile for budget in case.model.budgets}), case.project)
        known = f"; it has budgets for {', '.join(others)}" if others else ""
        what = "a bare model has no contract" if bare_format(case.model.path) else "the contract has none"
        yield f"no budgets for {case.profile.name} were checked: {what}{known}"
    for variant in variants:
        if variant.latency is not None and not variant.steady:
            yield f"{variant.id}: its times had not settled after the warm-up, in one process at least"
    slowed = _slowed(case, batches)
    if slowed is not None:
        yield f"{slowed} while measuring: a time over its limit counts as inconclusive"


def _assemble(
    case: _Case, variants: tuple[VariantReport, ...], batches: tuple[Batch, ...], limit: MemoryLimit | None = None
) -> BenchReport:
    notes = list(_notes(case, variants, batches))
    if batches and limit is None and case.memory_bytes is not None:
        notes.append(
            f"the {case.memory_bytes / 1e6:,.0f} MB of memory of {case.profile.name} could not be applied here"
        )
    evidence = _evidence(case, variants, batches)
    samples = ((variant.id, joined_samples(batches, variant.id)) for variant in case.selected)
    return BenchReport(
        model=case.model.path,
        profile=case.profile,
        machine=case.machine,
        provenance=evidence.provenance,
        mismatch=case.matched.reasons,
        auto_variant=evidence.auto_variant,
        variants=variants,
        budgets=check_budgets(case.budgets, evidence),
        notes=tuple(notes),
        samples={variant: calls for variant, calls in samples if calls is not None},
        conditions=tuple(batch.conditions for batch in batches),
        memory_limit_bytes=None if limit is None else limit.memory_bytes,
    )


def _unmeasured(case: _Case) -> BenchReport:
    reason = f"not timed: this machine is not a {case.profile.name}"
    reports = (VariantReport(id=item.id, size_bytes=item.size_bytes, reason=reason) for item in case.selected)
    return _assemble(case, tuple(reports), ())


def _measured(case: _Case, target: Target, request: MeasureRequest, plan: Plan, progress: Progress) -> BenchReport:
    limit = None if case.memory_bytes is None else target.limit_memory(case.memory_bytes)
    lost: list[TargetError] = []
    try:
        batches = measure_batches(
            target,
            request,
            plan=plan,
            undecided=lambda batches: _undecided(case, batches),
            limit=limit,
            lost=lost.append,
            progress=progress,
        )
        variants = _reports(case, batches)
        if limit is not None and not lost:
            try:
                variants = tuple(
                    explain_failure(variant, target, request, limit) if variant.latency is None else variant
                    for variant in variants
                )
            except TargetError as error:
                lost.append(error)
        report = _assemble(case, variants, batches, limit)
        return replace(report, lost=str(lost[0])) if lost else report
    finally:
        if limit is not None:
            limit.remove()


def bench(
    path: str | os.PathLike[str],
    *,
    device: str = HOST,
    variants: Sequence[str] | None = None,
    threads: int | None = None,
    seconds: float = DEFAULT_SECONDS,
    starts: int = DEFAULT_STARTS,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    sustained_minutes: float | None = None,
    project: Path | None = None,
    target: Target | None = None,
    progress: Progress = silent,
) -> BenchReport:
    """Measure a model for a device and judge the contract's budgets for it.

    It is measured in several processes one after the other. While a budget is inconclusive and time is left, its
    variant is measured on. Where the machine does not count as the device, nothing is timed: the report states every
    reason, the figures are empty, and only ``bundle_mb`` is decided.

    Args:
        path: A bundle, or a bare ``.onnx`` or ``.tflite`` file.
        device: Name of a device profile, or path of its ``.toml`` file; ``host`` is the machine at hand.
        variants: Variant ids to measure, or None for all of them.
        threads: Threads for the backends, or None for the profile's number.
        seconds: How long to time each variant at least, warm-up apart, in all processes together.
        starts: Fresh processes per variant for cold start and memory at least; six are the fewest with an interval.
        time_limit_s: No further process is begun that would probably end later than this.
        sustained_minutes: Measure without a break for this long, and tell how the latency went over time. None to stop
            once the budgets are decided.
        project: Folder whose ``devices/*.toml`` are known as well; None means the one the bundle lies in,
            or else the current one (:func:`~edgeml_devices.profile_files.find_project`).
        target: Where to measure, or None for the machine at hand.
        progress: Told what is being measured.

    Returns:
        The report.

    Raises:
        InputError: The file cannot be measured, a variant is not in it, or a number makes no sense.
        ProjectError: The profile is unknown or broken.
        BundleError: The bundle must not be used.
        TargetError: The target cannot be reached, or its measuring process crashed or hung, before anything was
            measured.
    """
    if seconds <= 0 or starts < 1 or (threads is not None and threads < 1):
        raise InputError(f"expected seconds > 0, starts ≥ 1, threads ≥ 1; found {seconds}, {starts}, {threads}")
    if time_limit_s <= 0 or (sustained_minutes is not None and sustained_minutes <= 0):
        raise InputError(f"expected a time limit and minutes > 0; found {time_limit_s}, {sustained_minutes}")
    target = target or LocalTarget()
    model = read_model(os.fspath(path))
    selected = select(model, variants)
    project = project or find_project(Path(path))
    profile = None if device == HOST else load_profile(device, project=project)
    machine = target.probe()
    profile = profile or host_profile(machine)
    case = _Case(
        model=model,
        selected=selected,
        profile=profile,
        machine=machine,
        matched=match(profile, machine),
        project=project,
        sustained=sustained_minutes is not None,
    )
    if not case.matched.ok:
        return _unmeasured(case)
    request = MeasureRequest(
        path=model.path,
        variants=tuple(variant.id for variant in selected),
        threads=threads or profile.threads,
        seconds=seconds,
        starts=starts,
    )
    sustained_s = None if sustained_minutes is None else 60 * sustained_minutes
    return _measured(case, target, request, Plan(time_limit_s=time_limit_s, sustained_s=sustained_s), progress)
