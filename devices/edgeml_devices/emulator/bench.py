"""Benching under emulation: golden vectors decide, and instructions are counted."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from edgeml_devices.emulator.guest_run import GUESTS, Guests, GuestTimeout
from edgeml_devices.emulator.identity import ask_cpu
from edgeml_devices.emulator.layout import Layout
from edgeml_devices.emulator.plugin_build import build_plugin
from edgeml_devices.emulator.set_up import open_sysroot
from edgeml_devices.emulator.variant import Bay, emulate_variant, unable
from edgeml_devices.host import Match
from edgeml_devices.intervals import Figure
from edgeml_devices.report import VariantReport
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import InputError
from edgeml_runtime.machine import Machine
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_devices.emulator.found import EmulatedVariant, GoldenRun
    from edgeml_devices.emulator.target import EmulatorTarget
    from edgeml_devices.model_file import VariantFile
    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.progress import Progress

__all__ = ["INSTRUCTIONS_MARGIN", "emulate_variants", "emulated_machine", "emulation_notes", "open_bay"]

SYSROOTS = {"aarch64": "aarch64", "armv7l": "armv7", "x86_64": "x86-64"}
"""Architecture of a device profile → what ``edgeml devices setup-emulator`` calls it."""

INSTRUCTIONS_MARGIN = 0.002
"""Counts of one inference lie this near each other, as a share, however memory is laid out (docs/results.md)."""

# Guests count the same beside others; more of them than cores would only take memory.
MOST_GUESTS = 4


def open_bay(target: EmulatorTarget, profile: DeviceProfile | None, path: str, threads: int | None) -> Bay:
    """Make ready what the variants of a bench have in common.

    Args:
        target: The emulated CPU.
        profile: The device, or None for the machine at hand, which is not emulated.
        path: The bundle or bare model.
        threads: Threads that were asked for, or None.

    Returns:
        The bay.

    Raises:
        InputError: No emulated CPU belongs to the profile, or several threads were asked for.
        TargetError: The emulator is not set up, or there is no compiler.
    """
    if profile is None:
        raise InputError("the emulator stands for a device: name one, such as --device raspberry-pi-4b")
    cpu = target.cpu or profile.emulator_cpu
    if profile.arch not in SYSROOTS or cpu is None:
        raise InputError(
            f"{profile.name} cannot be emulated: expected a profile of {', '.join(SYSROOTS)} with emulator_cpu, found "
            f"arch {profile.arch} and emulator_cpu {cpu}"
        )
    if threads not in (None, 1):
        raise InputError(f"instructions are counted with one thread, found --threads {threads}: leave it out")
    layout = target.layout or Layout.default()
    sysroot = open_sysroot(SYSROOTS[profile.arch], layout=layout)
    return Bay(
        path=path,
        profile=profile,
        sysroot=sysroot,
        identity=ask_cpu(sysroot, cpu),
        plugin=build_plugin(layout),
        limit_s=target.limit_s,
        layers=target.layers,
    )


def emulated_machine(bay: Bay) -> tuple[Machine, Match]:
    """The emulated machine, and whether it stands for the device.

    It has one core, and of board, memory and clock nothing of its own.

    Args:
        bay: Where.

    Returns:
        The machine; and a match if its CPU is the one that the device profile names.
    """
    profile, cpu = bay.profile, bay.identity.cpu
    machine = Machine(
        arch=profile.arch,
        cpu=cpu,
        board=None,
        cores=1,
        isa=tuple(sorted(bay.identity.features)),
        memory_bytes=profile.memory_bytes or 0,
        clock_mhz=None,
    )
    if cpu == profile.emulator_cpu:
        return machine, Match(ok=True, reasons=())
    return machine, Match(ok=False, reasons=(f"{profile.name} is emulated by {profile.emulator_cpu}, this is {cpu}",))


def emulate_variants(
    bay: Bay, variants: Sequence[VariantFile], backend: str | None, progress: Progress
) -> tuple[VariantReport, ...]:
    """Test and count variants, as many at a time as there are cores.

    Args:
        bay: Where.
        variants: Which.
        backend: What is to run them, or None for each one's own.
        progress: Told of each that is done.

    Returns:
        One report for each, in their order.

    Raises:
        StorageError: The disk is full.
    """
    progress(ProgressEvent(step="emulate", done=0, total=len(variants), message=bay.identity.cpu))
    workers = min(MOST_GUESTS, len(os.sched_getaffinity(0)), len(variants))
    guests = Guests()
    with ThreadPoolExecutor(max_workers=workers, initializer=GUESTS.set, initargs=(guests,)) as pool:
        futures = [pool.submit(_emulate, bay, variant, backend or variant.backend) for variant in variants]
        reports = []
        try:
            for number, (variant, future) in enumerate(zip(variants, futures, strict=True), 1):
                reports.append(future.result())
                progress(ProgressEvent(step="emulate", done=number, total=len(variants), message=variant.id))
        except BaseException:  # a full disk, or Ctrl-C: what still runs would be waited for
            guests.end()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(reports)


def _emulate(bay: Bay, variant: VariantFile, backend: str) -> VariantReport:
    reason = unable(bay, variant, backend)
    if reason is not None:
        return VariantReport(id=variant.id, size_bytes=variant.size_bytes, reason=reason)
    try:
        return _report(variant, emulate_variant(bay, variant, backend))
    except GuestTimeout as error:
        return VariantReport(id=variant.id, size_bytes=variant.size_bytes, reason=str(error))


def _report(variant: VariantFile, found: EmulatedVariant) -> VariantReport:
    run = found.counting or found.newest
    failed = next((one for one in (found.newest, found.counting) if one is not None and not one.passed), None)
    return VariantReport(
        id=variant.id,
        size_bytes=variant.size_bytes,
        backend=run.backend,
        backend_version=run.version,
        threads=1,
        figures={} if found.counts is None else {BudgetName.INSTRUCTIONS: _figure(found.calls)},
        emulated=found,
        reason=found.uncounted if failed is None else _failure(failed),
    )


def _failure(run: GoldenRun) -> str:
    """Where, and what; backends begin with their names themselves where they refuse a model."""
    failure = str(run.failure)
    return failure if failure.startswith(f"{run.backend} ") else f"{run.backend} {run.version or ''}: {failure}"


def _figure(calls: Sequence[int]) -> Figure:
    middle = sorted(calls)[len(calls) // 2]
    return Figure(
        value=float(middle),
        low=middle * (1 - INSTRUCTIONS_MARGIN),
        high=middle * (1 + INSTRUCTIONS_MARGIN),
        n=len(calls),
    )


def emulation_notes(variants: Sequence[VariantReport], profile: DeviceProfile, machine: Machine) -> Iterator[str]:
    """What a reader should know of an emulated bench, one sentence each; nothing of another one.

    Args:
        variants: Their reports.
        profile: The device.
        machine: The emulated machine.
    """
    found = [variant.emulated for variant in variants if variant.emulated is not None]
    lacking = sorted(set(profile.isa) - set(machine.isa))
    if found and lacking:
        yield (
            f"{machine.cpu} as QEMU emulates it lacks {', '.join(lacking)}, which {profile.name} has: other kernels "
            "may run there, with other counts"
        )
    others = (
        f"{one.newest.backend}: counted with {one.counting.version} under QEMU {one.counting.qemu}; devices get "
        f"{one.newest.version}, which QEMU {one.newest.qemu} runs and cannot count"
        for one in found
        if one.counting is not None and one.counts is not None and not one.same_version
    )
    yield from dict.fromkeys(others)
    yield from (one.warning for one in found if one.warning is not None)
