"""Judging budgets in a test session: a variant is measured once on each target, and every test shares the figures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.bench import DEFAULT_TIME_LIMIT_S, bench
from edgeml_devices.budgets import Evidence, check_budgets
from edgeml_devices.conditions import disturbance
from edgeml_devices.gate_baseline import EarlierResults
from edgeml_devices.gate_limits import gate_budgets, needs_measuring
from edgeml_devices.gate_result import GateResult, TargetJudgement
from edgeml_devices.host import HOST
from edgeml_devices.model_file import read_model
from edgeml_devices.profile_files import find_project, load_profile
from edgeml_devices.remote import TargetReport, bench_targets
from edgeml_devices.report import Verdict
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract import Provenance
from edgeml_runtime.errors import BackendError, TargetError
from edgeml_runtime.measure.bare import bare_format
from edgeml_runtime.open_session import select_variant

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from edgeml_devices.emulator.target import BenchTarget
    from edgeml_devices.gate_store import GateStore
    from edgeml_devices.model_file import ModelFile
    from edgeml_devices.report import BenchReport, BudgetResult
    from edgeml_runtime.contract import Budget
    from edgeml_runtime.progress import Progress

__all__ = ["Gate", "GateSettings"]

LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What all tests of a session share.

    Attributes:
        device: Name of a device profile, or path of its file.
        targets: Where to measure, as ``edgeml bench --on`` takes them.
        threads: Threads of the backends, or None for the profile's number.
        time_limit_s: How long a variant may be measured on each target while a budget is inconclusive.
        ssh_config: ssh configuration in place of the user's, or None.
        baseline: Earlier results to compare with: a file, or a folder of them; or None.
    """

    device: str = HOST
    targets: tuple[str, ...] = (LOCAL,)
    threads: int | None = None
    time_limit_s: float = DEFAULT_TIME_LIMIT_S
    ssh_config: Path | None = None
    baseline: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """One model with the budgets that are asked of it."""

    model: ModelFile
    digest: str
    device: str
    budgets: tuple[Budget, ...]


class Gate:
    """Judges models on the targets of one session.

    Args:
        settings: What all calls share.
        store: Where figures are kept, and who may measure.

    Raises:
        InputError: The earlier results cannot be read.
    """

    def __init__(self, settings: GateSettings, store: GateStore) -> None:
        self.settings, self._store = settings, store
        self._earlier = None if settings.baseline is None else EarlierResults(settings.baseline)

    def judge(
        self,
        path: str | os.PathLike[str],
        *,
        variant: str | None = None,
        limits: Mapping[str, float] | None = None,
        backend_version: str | None = None,
    ) -> GateResult:
        """Judge a model, measuring what has not been measured yet.

        Args:
            path: A bundle, or a bare ``.onnx`` or ``.tflite`` file.
            variant: The variant to judge, or None for those that the budgets name and the one that ``auto`` picks.
            limits: Limits by the name of a budget, in place of the contract's budgets; None or empty for those.
            backend_version: Release of the backend that these limits are for, or None for any.

        Returns:
            The verdicts of every target.

        Raises:
            InputError: There is nothing to judge, a limit makes no sense, a target's name is none, or the file cannot
                be measured.
            ProjectError: The device is unknown or its profile broken.
            BundleError: The bundle must not be used.
        """
        subject = self._subject(str(path), variant, limits or {}, backend_version)
        with self._store.exclusive():
            self._measure_all(subject)
            targets = tuple(self._judgement(subject, target) for target in self.settings.targets)
        return GateResult(model=subject.model.path, device=subject.device, targets=targets)

    def _subject(
        self, path: str, variant: str | None, limits: Mapping[str, float], backend_version: str | None
    ) -> _Subject:
        model, device = read_model(path), self.settings.device
        if device != HOST:
            device = load_profile(device, project=find_project(Path(path))).name
        return _Subject(
            model=model,
            digest=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            device=device,
            budgets=gate_budgets(model, device, variant, limits, self.settings.threads, backend_version),
        )

    def _measure_all(self, subject: _Subject) -> None:
        """Measure every variant that a budget is for; which one ``auto`` picks on a target shows once it was asked."""
        timed = [budget for budget in subject.budgets if needs_measuring(budget)]
        for variant in dict.fromkeys(budget.variant for budget in timed if budget.variant is not None):
            self._measure(subject, variant, self.settings.targets)
        if all(budget.variant is not None for budget in timed):
            return
        for target in self.settings.targets:
            if self._auto(subject, target) is None:
                self._measure(subject, _likely(subject.model, target), [target])
        for target in self.settings.targets:
            auto = self._auto(subject, target)
            if auto is not None:
                self._measure(subject, auto, [target])

    def _measure(self, subject: _Subject, variant: str, targets: Sequence[str]) -> None:
        """Measure a variant where it was not, and go on where what is known does not decide these budgets."""
        budgets = _budgets_on(subject, variant)
        missing = [target for target in targets if self._entry(subject, target, variant) is None]
        known = [target for target in targets if target not in missing]
        if missing:
            for target, found in zip(missing, self._bench(subject, variant, missing, budgets), strict=True):
                self._store.put(self._key(subject, target, variant), found)
        for target in known:
            entry = self._entry(subject, target, variant)
            report = None if entry is None else entry.report
            if report is None or report.lost is not None or not _is_open(report, budgets, subject.model):
                continue
            if report.provenance is Provenance.EMULATED:  # counting again would give the same
                continue
            (further,) = self._bench(subject, variant, [target], budgets, report)
            if further.report is not None:
                self._store.put(self._key(subject, target, variant), further)

    def _bench(
        self,
        subject: _Subject,
        variant: str,
        targets: Sequence[str],
        budgets: Sequence[Budget],
        earlier: BenchReport | None = None,
    ) -> tuple[TargetReport, ...]:
        def run(target: BenchTarget, progress: Progress) -> BenchReport:
            return bench(
                subject.model.path,
                device=self.settings.device,
                variants=[variant],
                threads=self.settings.threads,
                time_limit_s=self.settings.time_limit_s,
                target=target,
                budgets=budgets,
                earlier=() if earlier is None else earlier.batches,
                progress=progress,
            )

        try:
            config = self.settings.ssh_config
            return bench_targets(subject.model.path, targets, run, config=config, layers=False).targets
        except TargetError as error:
            (target,) = targets  # of several, the one that is lost is in the report
            return (TargetReport(target=target, report=None, lost=str(error)),)

    def _key(self, subject: _Subject, target: str, variant: str) -> str:
        settings = self.settings
        return repr((subject.digest, settings.device, target, settings.threads, settings.time_limit_s, variant))

    def _entry(self, subject: _Subject, target: str, variant: str) -> TargetReport | None:
        return self._store.get(self._key(subject, target, variant))

    def _entries(self, subject: _Subject, target: str) -> dict[str, TargetReport]:
        """What is known of a target, by variant, in the order of the file."""
        found = ((variant.id, self._entry(subject, target, variant.id)) for variant in subject.model.variants)
        return {variant: entry for variant, entry in found if entry is not None}

    def _auto(self, subject: _Subject, target: str) -> str | None:
        """The variant that ``auto`` picks there, as far as that is known."""
        reports = [entry.report for entry in self._entries(subject, target).values()]
        return next((report.auto_variant for report in reports if report is not None), None)

    def _judgement(self, subject: _Subject, target: str) -> TargetJudgement:
        entries, auto = self._entries(subject, target), self._auto(subject, target)
        judged = partial(_judged, subject=subject, entries=entries, auto=auto)
        used = {budget.variant or auto for budget in subject.budgets if needs_measuring(budget)}
        found = {variant: entry for variant, entry in entries.items() if variant in used or entry.report is None}
        reports = [entry.report for entry in found.values() if entry.report is not None]
        lost = [entry.lost for entry in found.values() if entry.lost is not None]
        return TargetJudgement(
            target=target,
            provenance=reports[0].provenance if reports else None,
            mismatch=reports[0].mismatch if reports else (),
            variants=tuple(variant for report in reports for variant in report.variants),
            samples={variant: samples for report in reports for variant, samples in report.samples.items()},
            budgets=tuple(judged(budget) for budget in subject.budgets),
            regressions=self._regressions(reports, target, subject),
            notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
            lost=lost[0] if lost else None,
        )

    def _regressions(self, reports: Sequence[BenchReport], target: str, subject: _Subject) -> tuple[BudgetResult, ...]:
        if self._earlier is None:
            return ()
        return self._earlier.regressions(reports, target, subject.model.name)


def _likely(model: ModelFile, target: str) -> str:
    """The variant that ``auto`` picks on this machine, and for another one the first of the file."""
    if target == LOCAL and bare_format(model.path) is None:
        try:
            with Bundle.open(model.path) as bundle:
                return select_variant(bundle).id
        except BackendError:
            pass
    return model.variants[0].id


def _budgets_on(subject: _Subject, variant: str) -> tuple[Budget, ...]:
    """The budgets that are judged on a variant should ``auto`` pick it."""
    judged = (budget for budget in subject.budgets if needs_measuring(budget))
    return tuple(replace(budget, variant=variant) for budget in judged if budget.variant in {None, variant})


def _evidence(report: BenchReport | None, auto: str | None, model: ModelFile) -> Evidence:
    return Evidence(
        provenance=None if report is None else report.provenance,
        variants={} if report is None else {variant.id: variant for variant in report.variants},
        auto_variant=auto,
        default_threads=1 if report is None else report.profile.threads,
        bundle_bytes=model.size_bytes,
        own_backends={variant.id: variant.backend for variant in model.variants},
        further={} if report is None else report.further,
        disturbance=None if report is None else disturbance(report.conditions),
    )


def _is_open(report: BenchReport, budgets: Sequence[Budget], model: ModelFile) -> bool:
    results = check_budgets(budgets, _evidence(report, report.auto_variant, model))
    return any(result.verdict is Verdict.INCONCLUSIVE for result in results)


def _judged(
    budget: Budget, *, subject: _Subject, entries: Mapping[str, TargetReport], auto: str | None
) -> BudgetResult:
    entry = entries.get(budget.variant or auto or "")
    report = None if entry is None else entry.report
    (result,) = check_budgets([budget], _evidence(report, auto, subject.model))
    if report is None and result.verdict is Verdict.NOT_MEASURED:
        reasons = (known.lost for known in entries.values() if known.lost is not None)
        return replace(result, reason=next(reasons, result.reason))
    return result
