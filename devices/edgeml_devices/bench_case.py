"""What is benched, and the report that follows from what was measured of it: figures, verdicts and notes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeml_devices.budgets import Evidence, check_budgets
from edgeml_devices.conditions import disturbance
from edgeml_devices.emulator.bench import emulation_notes
from edgeml_devices.estimate_variants import estimate_notes
from edgeml_devices.model_file import runnable
from edgeml_devices.profile_files import mark_unknown
from edgeml_devices.report import BenchReport, VariantReport, Verdict
from edgeml_devices.variant_report import joined_samples, report_variant
from edgeml_devices.ways import further_ways
from edgeml_runtime.contract import Provenance
from edgeml_runtime.measure.bare import bare_format

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from edgeml_devices.batches import Batch
    from edgeml_devices.host import Match
    from edgeml_devices.memory import MemoryLimit
    from edgeml_devices.model_file import ModelFile, VariantFile
    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.contract import Budget
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.tuned_store import Choice

__all__ = ["Case", "assemble", "further_reports", "undecided", "variant_reports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is benched, for which device, on which machine.

    Attributes:
        model: The file.
        selected: The variants that are measured.
        profile: The device.
        machine: Where it is measured.
        matched: Whether that machine counts as the device.
        project: Folder whose profiles are known as well.
        sustained: Whether it is measured without a break.
        backend: The only backend to bench, or None for each variant's own and those that budgets name.
        asked: Budgets in place of the contract's, or None.
        threads: The only number of threads to bench, or None for the profile's and those that budgets name.
        began: When, in UTC.
        also: Names what is worth measuring longer for other reasons than budgets, or None.
        emulated: Whether the machine is an emulated one, on which nothing is timed.
    """

    model: ModelFile
    selected: tuple[VariantFile, ...]
    profile: DeviceProfile
    machine: Machine
    matched: Match
    project: Path
    sustained: bool
    backend: str | None
    asked: tuple[Budget, ...] | None
    threads: int | None
    began: datetime
    also: Callable[[BenchReport], Collection[str]] | None
    emulated: bool = False

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """Those that were asked for, else the contract's for this device."""
        if self.asked is not None:
            return self.asked
        return tuple(budget for budget in self.model.budgets if budget.profile == self.profile.name)

    @property
    def ways(self) -> tuple[Choice, ...]:
        """The ways besides the usual one in which budgets want variants to be run."""
        return further_ways(
            self.budgets,
            auto_variant=auto_on(self),
            own_backends={variant.id: variant.backend for variant in self.selected},
            profile_threads=self.profile.threads,
            backend=self.backend,
            threads=self.threads,
        )

    @property
    def memory_bytes(self) -> int | None:
        """The device's memory, where the machine has more than that."""
        usable = self.profile.memory_usable_bytes
        return usable if usable is not None and usable < self.machine.memory_bytes else None


def auto_on(case: Case) -> str | None:
    """The variant ``auto`` would pick on the device, were every backend installed there."""
    able = (
        variant.id
        for variant in runnable(case.model, case.backend)
        if set(variant.requires_isa) <= set(case.profile.isa)
    )
    return next(able, None)


def _slowed(case: Case, batches: Sequence[Batch]) -> str | None:
    """What disturbed the measurement; a clock that sinks with heat is what a sustained one is meant to see."""
    conditions = (batch.conditions for batch in batches)
    return (
        disturbance(replace(one, throttled=None) for one in conditions) if case.sustained else disturbance(conditions)
    )


def further_reports(case: Case, batches: Sequence[Batch]) -> dict[Choice, VariantReport]:
    """The reports of the further ways, under the variants' own ids.

    Args:
        case: What is benched.
        batches: What was measured; batches that are gone on from need not have measured these ways.
    """
    measured = {variant.id for batch in batches for variant in batch.measurement.variants}
    return {
        way: replace(report_variant(batches, str(way), sustained=case.sustained), id=way.variant)
        for way in case.ways
        if str(way) in measured
    }


def _evidence(
    case: Case,
    variants: Sequence[VariantReport],
    batches: Sequence[Batch],
    further: Mapping[Choice, VariantReport] | None = None,
    *,
    lost: bool = False,
) -> Evidence:
    emulated = case.emulated and case.matched.ok
    return Evidence(
        provenance=Provenance.MEASURED if batches else Provenance.EMULATED if emulated else None,
        variants={variant.id: variant for variant in variants},
        auto_variant=batches[0].measurement.auto_variant if batches else auto_on(case),
        default_threads=case.profile.threads,
        bundle_bytes=case.model.size_bytes,
        own_backends={variant.id: variant.backend for variant in case.model.variants},
        further=further_reports(case, batches) if further is None else further,
        disturbance=_slowed(case, batches),
        more="the target was lost" if lost else "raise --sustained" if case.sustained else "raise --time-limit",
    )


def variant_reports(case: Case, batches: Sequence[Batch]) -> tuple[VariantReport, ...]:
    """The reports of the variants, run the usual way.

    Args:
        case: What is benched.
        batches: What was measured, at least one batch.
    """
    return tuple(report_variant(batches, variant.id, sustained=case.sustained) for variant in case.selected)


def undecided(case: Case, batches: Sequence[Batch]) -> set[str]:
    """What is worth measuring longer: more calls narrow the interval, and a busy machine may become quiet.

    Args:
        case: What is benched.
        batches: All batches so far.

    Returns:
        Variants, or ways as text, with an inconclusive budget, and those that ``case.also`` names.
    """
    report = assemble(case, variant_reports(case, batches), tuple(batches))
    open_budgets = (result for result in report.budgets if result.verdict is Verdict.INCONCLUSIVE)
    names = {result.variant if result.way is None else str(result.way) for result in open_budgets}
    return {name for name in names if name} | set(() if case.also is None else case.also(report))


def _notes(case: Case, variants: Sequence[VariantReport], batches: Sequence[Batch]) -> Iterator[str]:
    if not case.budgets:
        others = mark_unknown(sorted({budget.profile for budget in case.model.budgets}), case.project)
        known = f"; it has budgets for {', '.join(others)}" if others else ""
        what = "a bare model has no contract" if bare_format(case.model.path) else "the contract has none"
        yield f"no budgets for {case.profile.name} were checked: {what}{known}"
    for variant in variants:
        if variant.latency is not None and not variant.steady:
            yield f"{variant.id}: its times had not settled after the warm-up, in one process at least"
    runners = sorted({variant.runner for variant in variants if variant.runner is not None})
    if runners:
        yield (
            f"measured by native programs ({', '.join(runners)}): the bare model on made-up inputs, without the "
            "runtime's checks and label, which add some microseconds"
        )
    own = {variant.id: variant.backend for variant in case.selected}
    for variant in variants:
        if variant.backend is not None and variant.backend != own[variant.id] and not bare_format(case.model.path):
            yield (
                f"{variant.id}: ran on {variant.backend} {variant.backend_version}, where its golden vectors passed; "
                f"its metrics are those of {own[variant.id]}"
            )
    yield from emulation_notes(variants, case.profile, case.machine)
    yield from estimate_notes(variants)
    slowed = _slowed(case, batches)
    if slowed is not None:
        yield f"{slowed} while measuring: a time over its limit counts as inconclusive"


def assemble(
    case: Case,
    variants: tuple[VariantReport, ...],
    batches: tuple[Batch, ...],
    limit: MemoryLimit | None = None,
    further: Mapping[Choice, VariantReport] | None = None,
    *,
    lost: str | None = None,
) -> BenchReport:
    """The report on what was measured.

    Args:
        case: What is benched.
        variants: Their reports.
        batches: What was measured; none where the machine is not the device.
        limit: The memory that the processes could use, or None.
        further: Reports of further ways, or None for those that follow from the batches.
        lost: Why the target stopped answering before the end, or None.

    Returns:
        The report, with the verdicts.
    """
    notes = list(_notes(case, variants, batches))
    if batches and limit is None and case.memory_bytes is not None:
        notes.append(
            f"the {case.memory_bytes / 1e6:,.0f} MB of memory of {case.profile.name} could not be applied here"
        )
    evidence = _evidence(case, variants, batches, further, lost=lost is not None)
    samples = ((variant.id, joined_samples(batches, variant.id)) for variant in case.selected)
    return BenchReport(
        model=case.model.path,
        name=case.model.name,
        version=case.model.version,
        size_bytes=case.model.size_bytes,
        measured_at=case.began,
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
        batches=batches,
        lost=lost,
        further=evidence.further,
        python=batches[0].measurement.python if batches else None,
    )
