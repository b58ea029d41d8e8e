"""Benching a bundle or a bare model for a device, and judging the contract's budgets."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.batches import Plan, measure_batches
from edgeml_devices.bench_case import Case, assemble, further_reports, undecided, variant_reports
from edgeml_devices.emulator.bench import emulate_variants, emulated_machine, open_bay
from edgeml_devices.emulator.target import EmulatorTarget
from edgeml_devices.estimate_variants import with_estimates
from edgeml_devices.fitting import explain_failure
from edgeml_devices.host import HOST, host_profile, match
from edgeml_devices.model_file import read_model, select
from edgeml_devices.profile_files import find_project, load_profile
from edgeml_devices.report import BenchReport, VariantReport
from edgeml_devices.targets import LocalTarget, Target
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.measure.cli import DEFAULT_SECONDS, DEFAULT_STARTS, MeasureRequest
from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from edgeml_devices.batches import Batch
    from edgeml_devices.emulator.target import BenchTarget
    from edgeml_runtime.contract import Budget
    from edgeml_runtime.progress import Progress

__all__ = ["DEFAULT_TIME_LIMIT_S", "bench"]

DEFAULT_TIME_LIMIT_S = 55.0


def _unmeasured(case: Case) -> BenchReport:
    reason = f"not timed: this machine is not a {case.profile.name}"
    reports = (VariantReport(id=item.id, size_bytes=item.size_bytes, reason=reason) for item in case.selected)
    return assemble(case, tuple(reports), ())


def _measured(
    case: Case,
    target: Target,
    request: MeasureRequest,
    plan: Plan,
    progress: Progress,
    earlier: Sequence[Batch],
) -> BenchReport:
    limit = None if case.memory_bytes is None else target.limit_memory(case.memory_bytes)
    lost: list[TargetError] = []
    try:
        batches = measure_batches(
            target,
            request,
            plan=plan,
            undecided=lambda batches: undecided(case, batches),
            limit=limit,
            lost=lost.append,
            earlier=earlier,
            progress=progress,
        )
        variants, further = variant_reports(case, batches), further_reports(case, batches)
        if limit is not None and not lost:
            try:
                variants = tuple(
                    explain_failure(variant, target, request, limit) if variant.latency is None else variant
                    for variant in variants
                )
                further = {
                    way: explain_failure(
                        report, target, replace(request, backend=way.backend, threads=way.threads), limit
                    )
                    if report.latency is None
                    else report
                    for way, report in further.items()
                }
            except TargetError as error:
                lost.append(error)
        return assemble(case, variants, batches, limit, further, lost=str(lost[0]) if lost else None)
    finally:
        if limit is not None:
            limit.remove()


def bench(
    path: str | os.PathLike[str],
    *,
    device: str = HOST,
    variants: Sequence[str] | None = None,
    threads: int | None = None,
    backend: str | None = None,
    seconds: float = DEFAULT_SECONDS,
    starts: int = DEFAULT_STARTS,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    sustained_minutes: float | None = None,
    project: Path | None = None,
    target: BenchTarget | None = None,
    budgets: Sequence[Budget] | None = None,
    earlier: Sequence[Batch] = (),
    also: Callable[[BenchReport], Collection[str]] | None = None,
    progress: Progress = silent,
) -> BenchReport:
    """Measure a model for a device and judge the contract's budgets for it.

    It is measured in several processes one after the other. While a budget is inconclusive and time is left, its
    variant is measured on. Where budgets of the device name a backend or a number of threads, the variant is measured
    that way as well. Where the machine does not count as the device, nothing is timed: the report states every
    reason, the figures are empty, and only ``bundle_mb`` is decided.

    Args:
        path: A bundle, or a bare ``.onnx`` or ``.tflite`` file.
        device: Name of a device profile, or path of its ``.toml`` file; ``host`` is the machine at hand.
        variants: Variant ids to measure, or None for all of them that the backend runs.
        threads: Threads for the backends, or None for the profile's number and those that budgets name.
        backend: What is to run them, or None for the backend that the manifest names for each, and those that budgets
            name. Budgets that name no backend are for the manifest's.
        seconds: How long to time each variant at least, warm-up apart, in all processes together.
        starts: Fresh processes per variant for cold start and memory at least; six are the fewest with an interval.
        time_limit_s: No further process is begun that would probably end later than this.
        sustained_minutes: Measure without a break for this long, and tell how the latency went over time. None to stop
            once the budgets are decided.
        project: Folder whose ``devices/*.toml`` are known as well; None means the one the bundle lies in,
            or else the current one (:func:`~edgeml_devices.profile_files.find_project`).
        target: Where to measure, or None for the machine at hand. Under emulation nothing is timed: golden vectors
            decide, and instructions are counted.
        budgets: What to judge in place of the contract's budgets for the device, or None for those.
        earlier: :attr:`BenchReport.batches` of a bench with the same arguments but for the budgets. It is gone on from,
            and its time counts; what it decides already is not measured again.
        also: Names variants, or ways as text, that are worth measuring longer for other reasons than budgets, given
            the report so far.
        progress: Told what is being measured.

    Returns:
        The report.

    Raises:
        InputError: The file cannot be measured, a variant is not in it, or a number makes no sense.
        ProjectError: The profile is unknown or broken.
        BundleError: The bundle must not be used.
        BackendMissingError: The runtime has no backend of that name.
        TargetError: The target cannot be reached, or its measuring process crashed or hung, before anything was
            measured.
    """
    if seconds <= 0 or starts < 1 or (threads is not None and threads < 1):
        raise InputError(f"expected seconds > 0, starts ≥ 1, threads ≥ 1; found {seconds}, {starts}, {threads}")
    if time_limit_s <= 0 or (sustained_minutes is not None and sustained_minutes <= 0):
        raise InputError(f"expected a time limit and minutes > 0; found {time_limit_s}, {sustained_minutes}")
    target = target or LocalTarget()
    model = read_model(os.fspath(path))
    selected = select(model, variants, backend)
    project = project or find_project(Path(path))
    profile = None if device == HOST else load_profile(device, project=project)
    bay = None
    if isinstance(target, EmulatorTarget):
        if sustained_minutes is not None:
            raise InputError("--sustained shows times over time, and under emulation nothing is timed: leave it out")
        bay = open_bay(target, profile, model.path, threads)
        machine, matched = emulated_machine(bay)
    else:
        machine = target.probe()
        matched = match(profile or host_profile(machine), machine)
    profile = profile or host_profile(machine)
    case = Case(
        model=model,
        selected=selected,
        profile=profile,
        machine=machine,
        matched=matched,
        project=project,
        sustained=sustained_minutes is not None,
        backend=backend,
        asked=None if budgets is None else tuple(budgets),
        threads=threads,
        began=datetime.now(UTC),
        also=also,
        emulated=bay is not None,
    )
    if bay is not None:
        return assemble(case, with_estimates(emulate_variants(bay, selected, backend, progress), profile, project), ())
    if isinstance(target, EmulatorTarget) or not case.matched.ok:
        return _unmeasured(case)
    request = MeasureRequest(
        path=model.path,
        variants=(*(variant.id for variant in selected), *map(str, case.ways)),
        threads=threads or profile.threads,
        backend=backend,
        seconds=seconds,
        starts=starts,
    )
    sustained_s = None if sustained_minutes is None else 60 * sustained_minutes
    plan = Plan(time_limit_s=time_limit_s, sustained_s=sustained_s)
    return _measured(case, target, request, plan, progress, earlier)
