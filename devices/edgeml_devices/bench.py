"""Benching a bundle or a bare model for a device, and judging the contract's budgets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.budgets import SHARES, Evidence, check_budgets
from edgeml_devices.host import HOST, host_profile, match
from edgeml_devices.intervals import latency_figure, start_figure, throughput_figure
from edgeml_devices.profile_files import load_profile
from edgeml_devices.report import BenchReport, VariantReport
from edgeml_devices.targets import LocalTarget, Target
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract import BudgetName, Provenance
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError
from edgeml_runtime.measure import summarise
from edgeml_runtime.measure_bare import bare_format
from edgeml_runtime.measure_cli import DEFAULT_SECONDS, DEFAULT_STARTS, MeasureRequest
from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.host import Match
    from edgeml_devices.intervals import Figure
    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.contract import Budget
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.measure_report import Measurement, VariantMeasurement
    from edgeml_runtime.progress import Progress

__all__ = ["bench"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    """A variant as the file states it."""

    id: str
    size_bytes: int
    requires_isa: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """The benched file."""

    path: str
    size_bytes: int
    variants: tuple[_Variant, ...]
    budgets: tuple[Budget, ...]


def _read_model(path: str) -> _Model:
    if bare_format(path) is not None:
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        only = _Variant(id=os.path.basename(path), size_bytes=size)
        return _Model(path=path, size_bytes=size, variants=(only,), budgets=())
    with Bundle.open(path) as bundle:
        contract = parse_contract(bundle.manifest.contract, source=f"{path}: manifest.json")
        variants = tuple(
            _Variant(id=item.id, size_bytes=bundle.member(item.file).size_bytes, requires_isa=item.requires_isa)
            for item in bundle.manifest.variants
        )
        return _Model(path=path, size_bytes=bundle.size_bytes, variants=variants, budgets=contract.budgets)


def _select(model: _Model, variants: Sequence[str] | None) -> tuple[_Variant, ...]:
    if variants is None:
        return model.variants
    unknown = sorted(set(variants) - {variant.id for variant in model.variants})
    if unknown:
        held = ", ".join(variant.id for variant in model.variants)
        raise InputError(f"{model.path}: no variant {', '.join(unknown)}; expected one of {held}")
    return tuple(variant for variant in model.variants if variant.id in variants)


def _figures(measured: VariantMeasurement) -> dict[BudgetName, Figure]:
    if measured.samples is None:
        return {}
    figures = {name: latency_figure(measured.samples, share) for name, share in SHARES.items()}
    figures[BudgetName.THROUGHPUT_PER_S] = throughput_figure(measured.samples)
    starts = measured.starts
    figures[BudgetName.COLD_START_MS] = start_figure([start.cold_start_ms for start in starts], worst=False)
    figures[BudgetName.PEAK_RSS_MB] = start_figure([start.peak_rss_bytes / 1e6 for start in starts], worst=True)
    return figures


def _report_variant(measured: VariantMeasurement) -> VariantReport:
    samples = measured.samples
    return VariantReport(
        id=measured.id,
        size_bytes=measured.size_bytes,
        backend=measured.backend,
        backend_version=measured.backend_version,
        threads=measured.threads,
        latency=None if samples is None else summarise(samples),
        steady=samples is not None and samples.steady,
        starts=measured.starts,
        figures=_figures(measured),
        reason=measured.failure,
    )


def _unmeasured(variants: Sequence[_Variant], profile: DeviceProfile) -> tuple[VariantReport, ...]:
    reason = f"not timed: this machine is not a {profile.name}"
    return tuple(VariantReport(id=item.id, size_bytes=item.size_bytes, reason=reason) for item in variants)


def _auto_on(profile: DeviceProfile, model: _Model) -> str | None:
    """The variant ``auto`` would pick on the device, were every backend installed there."""
    able = (variant.id for variant in model.variants if set(variant.requires_isa) <= set(profile.isa))
    return next(able, None)


def _notes(
    model: _Model, profile: DeviceProfile, budgets: Sequence[Budget], variants: Sequence[VariantReport]
) -> list[str]:
    notes = []
    if not budgets:
        others = sorted({budget.profile for budget in model.budgets})
        known = f"; it has budgets for {', '.join(others)}" if others else ""
        what = "a bare model has no contract" if bare_format(model.path) else "the contract has none"
        notes.append(f"no budgets for {profile.name} were checked: {what}{known}")
    moving = (variant.id for variant in variants if variant.latency is not None and not variant.steady)
    notes += [f"{variant}: its times had not settled after the warm-up" for variant in moving]
    return notes


def _assemble(
    model: _Model,
    profile: DeviceProfile,
    machine: Machine,
    matched: Match,
    variants: tuple[VariantReport, ...],
    measurement: Measurement | None,
    default_threads: int,
) -> BenchReport:
    budgets = tuple(budget for budget in model.budgets if budget.profile == profile.name)
    evidence = Evidence(
        provenance=None if measurement is None else Provenance.MEASURED,
        variants={variant.id: variant for variant in variants},
        auto_variant=_auto_on(profile, model) if measurement is None else measurement.auto_variant,
        default_threads=default_threads,
        bundle_bytes=model.size_bytes,
    )
    measured = () if measurement is None else measurement.variants
    return BenchReport(
        model=model.path,
        profile=profile,
        machine=machine,
        provenance=evidence.provenance,
        mismatch=matched.reasons,
        auto_variant=evidence.auto_variant,
        variants=variants,
        budgets=check_budgets(budgets, evidence),
        notes=tuple(_notes(model, profile, budgets, variants)),
        samples={variant.id: variant.samples for variant in measured if variant.samples is not None},
    )


def bench(
    path: str | os.PathLike[str],
    *,
    device: str = HOST,
    variants: Sequence[str] | None = None,
    threads: int | None = None,
    seconds: float = DEFAULT_SECONDS,
    starts: int = DEFAULT_STARTS,
    project: Path | None = None,
    target: Target | None = None,
    progress: Progress = silent,
) -> BenchReport:
    """Measure a model for a device and judge the contract's budgets for it.

    Where the machine does not count as the device, nothing is timed: the report states every reason, the figures are
    empty, and only ``bundle_mb`` is decided.

    Args:
        path: A bundle, or a bare ``.onnx`` or ``.tflite`` file.
        device: Name of a device profile; ``host`` is the machine at hand.
        variants: Variant ids to measure, or None for all of them.
        threads: Threads for the backends, or None for the profile's number.
        seconds: How long to time each variant, warm-up apart.
        starts: Fresh processes per variant for cold start and memory; six are the fewest that give an interval.
        project: Folder whose ``devices/*.toml`` are known as well; None means the one the bundle lies in.
        target: Where to measure, or None for the machine at hand.
        progress: Told what is being measured.

    Returns:
        The report.

    Raises:
        InputError: The file cannot be measured, a variant is not in it, or a number makes no sense.
        ProjectError: The profile is unknown or broken.
        BundleError: The bundle must not be used.
        TargetError: The measuring process crashed or hung.
    """
    if seconds <= 0 or starts < 1 or (threads is not None and threads < 1):
        raise InputError(f"expected seconds > 0, starts ≥ 1, threads ≥ 1; found {seconds}, {starts}, {threads}")
    target = target or LocalTarget()
    model = _read_model(os.fspath(path))
    selected = _select(model, variants)
    if device == HOST:
        machine = target.probe()
        profile = host_profile(machine)
    else:
        profile = load_profile(device, project=project or Path(path).absolute().parent)
        machine = target.probe()
    matched = match(profile, machine)
    if not matched.ok:
        return _assemble(model, profile, machine, matched, _unmeasured(selected, profile), None, profile.threads)
    request = MeasureRequest(
        path=model.path,
        variants=None if variants is None else tuple(variant.id for variant in selected),
        threads=threads or profile.threads,
        seconds=seconds,
        starts=starts,
    )
    measurement = target.measure(request, variants=len(selected), progress=progress)
    reports = tuple(_report_variant(measured) for measured in measurement.variants)
    return _assemble(model, profile, machine, matched, reports, measurement, profile.threads)
