"""Measuring every way to run a bundle on a device, and recommending one of them.

All that can run are timed in one process; what is far slower than the fastest is measured no further. The others take
turns in several processes, as long as noise leaves open which one is to be taken. Cold start, memory and whether it
fits are measured only of the one that is about to be taken, because each of those values costs a process.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.batches import Batch, Plan, measure_batches
from edgeml_devices.candidates import (
    Candidate,
    applicable,
    judge_candidate,
    metric_of,
    quality_obstacle,
    ranked_share,
)
from edgeml_devices.conditions import Conditions, disturbance
from edgeml_devices.fitting import explain_failure
from edgeml_devices.host import HOST, host_profile, match
from edgeml_devices.intervals import MIN_STARTS
from edgeml_devices.model_file import read_model, select
from edgeml_devices.profile_files import find_project, load_profile
from edgeml_devices.recommend import Decision, decide, exclude, survivors
from edgeml_devices.recommendation import Recommendation
from edgeml_devices.report import VariantReport, Verdict
from edgeml_devices.targets import LocalTarget
from edgeml_devices.variant_report import report_variant
from edgeml_runtime.backends import BACKENDS, load_backend
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.measure.bare import bare_format
from edgeml_runtime.measure.cli import DEFAULT_SECONDS, MeasureRequest
from edgeml_runtime.progress import silent
from edgeml_runtime.tuned import installed_backends
from edgeml_runtime.tuned_store import Asked, all_choices, situation_of, thread_counts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from edgeml_devices.targets import Target
    from edgeml_runtime.contract import Budget, Contract
    from edgeml_runtime.manifest import Manifest
    from edgeml_runtime.measure.loop import Samples
    from edgeml_runtime.progress import Progress
    from edgeml_runtime.tuned_store import Choice

__all__ = ["recommend"]

_START_FIGURES = (BudgetName.COLD_START_MS, BudgetName.PEAK_RSS_MB)
_START_SECONDS = 0.05
_START_RESERVE_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is to be decided.

    Attributes:
        path: The bundle.
        bundle_bytes: Its size.
        manifest: What it states.
        contract: Likewise.
        sizes: Size of each variant's file.
        budgets: The contract's, for this device.
        choices: The ways to run it.
        memory_bytes: The device's memory, where the machine has more than that.
    """

    path: str
    bundle_bytes: int
    manifest: Manifest
    contract: Contract
    sizes: Mapping[str, int]
    budgets: tuple[Budget, ...]
    choices: tuple[Choice, ...]
    memory_bytes: int | None

    @property
    def share(self) -> float:
        """The percentile to rank by."""
        return ranked_share(self.budgets)

    def quality(self, choice: Choice) -> str | None:
        """Why a choice's quality is not what the contract asks for, or None."""
        variants = {variant.id: variant for variant in self.manifest.variants}
        return quality_obstacle(self.contract, variants[choice.variant], self.manifest.variants[0])

    def needs_starts(self, choice: Choice) -> bool:
        """Whether starts in fresh processes have to be measured before a choice can be recommended."""
        budgets = applicable(self.budgets, choice)
        return self.memory_bytes is not None or any(budget.name in _START_FIGURES for budget in budgets)


class _Search:
    """One search for the choice to recommend; :meth:`run` does it.

    Attributes:
        batches: Everything measured so far.
        lost: Why the target stopped answering, or None.
        notes: What a reader should know of the search.
    """

    def __init__(self, case: _Case, target: Target, seconds: float, time_limit_s: float, progress: Progress) -> None:
        self.batches: tuple[Batch, ...] = ()
        self.lost: TargetError | None = None
        self.notes: list[str] = []
        self._case, self._target, self._seconds, self._progress = case, target, seconds, progress
        self._deadline = time.monotonic() + time_limit_s
        self._raced: set[Choice] = set()
        self._kept: Collection[Choice] = case.choices
        self._verified: dict[Choice, VariantReport] = {}

    def run(self) -> Decision:
        """Measure until there is a choice that keeps everything, or none is left.

        Raises:
            TargetError: The target did not answer before anything was measured.
        """
        wanted = [choice for choice in self._case.choices if self._case.quality(choice) is None]
        if wanted:
            self._measure(wanted, "try all", once=True)
        for number in range(len(wanted) + 1):  # each time round, one more is found not to do
            if self.lost is not None or (number and time.monotonic() > self._deadline):
                break
            self._kept = self._survivors()
            if set(self._kept) - self._raced:
                self._measure(self._kept, "measure", once=False)
                self._raced |= set(self._kept)
            chosen = self.decide().chosen
            if chosen is None:
                if not self._survivors():
                    break
            elif self._is_verified(chosen.choice):
                break
            elif self.lost is None:
                self._verify(chosen.choice)
        decision = self.decide()
        if decision.chosen is None or self._is_verified(decision.chosen.choice):
            return decision
        self.notes.append("cold start and memory of the chosen one were not measured: raise --time-limit")
        return replace(decision, verdict=Verdict.INCONCLUSIVE)

    def _is_verified(self, choice: Choice) -> bool:
        return choice in self._verified or not self._case.needs_starts(choice)

    def decide(self) -> Decision:
        """What the figures so far say."""
        better = self._case.contract.metric.primary.higher_is_better
        return decide(self._candidates(), share=self._case.share, higher_is_better=better)

    def _candidates(self) -> list[Candidate]:
        slowed = disturbance(batch.conditions for batch in self.batches) if self.batches else None
        return [self._candidate(choice, slowed) for choice in self._case.choices]

    def _candidate(self, choice: Choice, slowed: str | None) -> Candidate:
        case, report = self._case, self._report(choice)
        variant = next(variant for variant in case.manifest.variants if variant.id == choice.variant)
        return Candidate(
            choice=choice,
            metric=metric_of(variant),
            report=report,
            samples=tuple(_samples(batch, choice) for batch in self.batches),
            quality=case.quality(choice),
            budgets=judge_candidate(case.budgets, choice, report, case.bundle_bytes, slowed),
            screened=choice not in self._kept,
        )

    def _report(self, choice: Choice) -> VariantReport:
        verified = self._verified.get(choice)
        if verified is not None and verified.latency is None:
            return replace(verified, id=choice.variant)
        if not any(one.id == str(choice) for batch in self.batches for one in batch.measurement.variants):
            size = self._case.sizes[choice.variant]
            return VariantReport(id=choice.variant, size_bytes=size, reason="was not measured")
        report = replace(report_variant(self.batches, str(choice), sustained=False), id=choice.variant)
        if verified is None or report.latency is None:
            return report
        figures = {name: verified.figures[name] for name in _START_FIGURES}
        return replace(report, figures={**report.figures, **figures}, starts=verified.starts)

    def _survivors(self) -> tuple[Choice, ...]:
        """Those worth measuring further, by the first process; what is excluded for other reasons sets no pace."""
        able = [one for one in self._candidates() if exclude(one) is None]
        first = {one.choice: one.samples[0] for one in able}
        return survivors({choice: samples for choice, samples in first.items() if samples is not None})

    def _request(self, choices: Collection[Choice]) -> MeasureRequest:
        names = tuple(str(choice) for choice in choices)
        return MeasureRequest(path=self._case.path, variants=names, seconds=self._seconds, starts=0)

    def _measure(self, choices: Collection[Choice], step: str, *, once: bool) -> None:
        before, left_s = self.batches, self._deadline - time.monotonic()
        if any(self._case.needs_starts(choice) for choice in choices):
            left_s -= _START_RESERVE_S

        def undecided(batches: Sequence[Batch]) -> set[str]:
            self.batches = (*before, *batches)
            decision = self.decide()
            if decision.chosen is None or decision.verdict is not Verdict.INCONCLUSIVE:
                return set()
            return {str(choice) for choice in (decision.chosen.choice, *decision.undecided)}

        try:
            batches = measure_batches(
                self._target,
                self._request(choices),
                plan=Plan(time_limit_s=0.0 if once else left_s),
                undecided=undecided,
                lost=self._lose,
                together=True,
                progress=lambda event: self._progress(
                    replace(
                        event, step=step, total=1 if once else event.total, message=f"{len(choices)} ways to run it"
                    )
                ),
            )
            self.batches = (*before, *batches)
        except TargetError as error:
            if not before:
                raise
            self._lose(error)

    def _lose(self, error: TargetError) -> None:
        self.lost = error

    def _verify(self, choice: Choice) -> None:
        """Measure the starts of a choice, within the device's memory."""
        request = replace(self._request([choice]), seconds=_START_SECONDS, starts=MIN_STARTS)
        memory = self._case.memory_bytes
        limit = None if memory is None else self._target.limit_memory(memory)
        try:
            found = self._target.measure(
                request,
                variants=1,
                limit=limit,
                progress=lambda event: self._progress(replace(event, message=str(choice))),
            )
            batch = Batch(began_s=0.0, took_s=0.0, measurement=found, conditions=Conditions())
            report = report_variant([batch], str(choice), sustained=False)
            if report.latency is None and limit is not None:
                report = explain_failure(report, self._target, request, limit)
            self._verified[choice] = report
        except TargetError as error:
            self._lose(error)
        finally:
            if limit is not None:
                limit.remove()


def _samples(batch: Batch, choice: Choice) -> Samples | None:
    return next((one.samples for one in batch.measurement.variants if one.id == str(choice)), None)


def _versions(decision: Decision, target: Target) -> dict[str, str | None]:
    """Which backends are installed where it was measured; of another machine, those that ran."""
    if isinstance(target, LocalTarget):
        return installed_backends()
    reports = [row.candidate.report for row in decision.rows]
    return {report.backend: report.backend_version for report in reports if report.backend is not None}


def recommend(
    path: str | os.PathLike[str],
    *,
    device: str = HOST,
    variants: Sequence[str] | None = None,
    threads: int | None = None,
    backend: str | None = None,
    seconds: float = DEFAULT_SECONDS,
    time_limit_s: float = 55.0,
    project: Path | None = None,
    target: Target | None = None,
    progress: Progress = silent,
) -> Recommendation:
    """Find the variant, backend and number of threads to use on a device under the contract's budgets.

    Args:
        path: A bundle.
        device: Name of a device profile, or path of its ``.toml`` file; ``host`` is the machine at hand.
        variants: Variant ids to choose from, or None for all of them.
        threads: Threads to use, or None to try 1, 2, 4 … up to all cores.
        backend: Backend to use, or None to try every one that is installed.
        seconds: How long to time each way at least, in six processes together, warm-up apart.
        time_limit_s: No further process is begun that would probably end later than this.
        project: Folder whose ``devices/*.toml`` are known as well; None as in :func:`edgeml_devices.bench.bench`.
        target: Where to measure, or None for the machine at hand.
        progress: Told what is being measured.

    Returns:
        The recommendation.

    Raises:
        InputError: It is no bundle, a variant is not in it, or a number makes no sense.
        ProjectError: The profile is unknown or broken.
        BundleError: The bundle must not be used.
        BackendMissingError: The runtime has no backend of that name.
        TargetError: The target cannot be reached, or did not answer before anything was measured.
    """
    if seconds <= 0 or time_limit_s <= 0 or (threads is not None and threads < 1):
        raise InputError(f"expected seconds, time limit > 0, threads ≥ 1; found {seconds}, {time_limit_s}, {threads}")
    path = os.fspath(path)
    if bare_format(path) is not None:
        raise InputError(f"{path}: a recommendation needs a bundle: its golden vectors, variants and budgets")
    if backend is not None:
        load_backend(backend)
    model, target = read_model(path), target or LocalTarget()
    wanted = {variant.id for variant in select(model, variants, backend)}
    project = project or find_project(Path(path))
    profile = None if device == HOST else load_profile(device, project=project)
    machine = target.probe()
    profile = profile or host_profile(machine)
    matched, usable = match(profile, machine), profile.memory_usable_bytes
    counts = (threads,) if threads is not None else thread_counts(min(machine.cores, profile.cores))
    with Bundle.open(path) as bundle:
        manifest = bundle.manifest
        choices = all_choices(manifest, counts, (backend,) if backend is not None else tuple(BACKENDS))
        case = _Case(
            path=path,
            bundle_bytes=model.size_bytes,
            manifest=manifest,
            contract=parse_contract(manifest.contract, source=f"{path}: manifest.json"),
            sizes={variant.id: variant.size_bytes for variant in model.variants},
            budgets=tuple(budget for budget in model.budgets if budget.profile == profile.name),
            choices=tuple(choice for choice in choices if choice.variant in wanted),
            memory_bytes=usable if usable is not None and usable < machine.memory_bytes else None,
        )
        search = _Search(case, target, seconds, time_limit_s, progress)
        decision = search.run() if matched.ok else replace(search.decide(), verdict=Verdict.NOT_MEASURED)
        asked = Asked(threads=threads, backend=backend)
        situation = situation_of(bundle, machine, _versions(decision, target), asked)
    return Recommendation(
        model=path,
        profile=profile,
        machine=machine,
        mismatch=matched.reasons,
        decision=decision,
        share=case.share,
        metric=case.contract.metric.primary.value,
        situation=situation,
        notes=_notes(case, search),
        conditions=tuple(batch.conditions for batch in search.batches),
        lost=None if search.lost is None else str(search.lost),
    )


def _notes(case: _Case, search: _Search) -> tuple[str, ...]:
    notes = []
    if not case.budgets:
        notes.append("the contract has no budgets for this device: only quality and speed decided")
    if all(metric_of(variant) is None for variant in case.manifest.variants):
        notes.append("no variant was scored on a test set: quality is not known, only that the golden vectors pass")
    slowed = disturbance(batch.conditions for batch in search.batches) if search.batches else None
    if slowed is not None:
        notes.append(f"{slowed} while measuring: a time over its limit counts as inconclusive")
    return (*notes, *search.notes)
