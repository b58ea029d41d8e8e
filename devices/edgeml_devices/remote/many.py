"""Benching on several targets at once, into one report."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.target import EmulatorTarget
from edgeml_devices.remote.address import LOCAL, AdbAddress, EmulatorAddress, SshAddress, parse_target
from edgeml_devices.remote.native import NativeTarget
from edgeml_devices.remote.target import AdbTarget, PythonTarget, SshTarget
from edgeml_devices.targets import LocalTarget
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeml_devices.emulator.target import BenchTarget
    from edgeml_devices.native.runner import Runner
    from edgeml_devices.remote.adb import AdbLimits
    from edgeml_devices.remote.ssh import SshLimits
    from edgeml_devices.report import BenchReport
    from edgeml_runtime.progress import Progress, ProgressEvent

__all__ = ["ManyReport", "TargetReport", "bench_targets"]

_Address = SshAddress | AdbAddress | EmulatorAddress
_DeviceTarget = PythonTarget | NativeTarget
_HereTarget = LocalTarget | EmulatorTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReport:
    """What a bench found on one target.

    Attributes:
        target: Its name, such as ``ssh://pi@192.168.0.7``.
        report: The report, or None where the target was lost before it measured anything.
        lost: Why the target was lost before the end, or None.
        left: Paths there that could not be removed; the device says so.
    """

    target: str
    report: BenchReport | None
    lost: str | None = None
    left: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 for a lost target, else the report's."""
        if self.lost is not None or self.report is None:
            return TargetError.exit_code
        return self.report.exit_code

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values with ``target``, ``lost`` and ``left``; no more where there is no report."""
        found = {} if self.report is None else self.report.to_dict()
        return {"target": self.target, **found, "lost": self.lost, "left": list(self.left)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyReport:
    """What a bench found on several targets.

    Attributes:
        targets: In the order in which they were named.
    """

    targets: tuple[TargetReport, ...]

    @property
    def exit_code(self) -> int:
        """3 where a target was lost; else 1 where a budget failed; else 4 where evidence is missing; else 0."""
        codes = {one.exit_code for one in self.targets}
        return next((code for code in (3, 1, 4) if code in codes), 0)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"targets": [one.to_dict() for one in self.targets]}


def _addresses(names: Sequence[str]) -> dict[str, _Address | None]:
    """The targets by their names."""
    found: dict[str, _Address | None] = {}
    for text in names:
        address = parse_target(text)
        name = LOCAL if address is None else str(address)
        if name in found:
            raise InputError(f"target {name} is named twice: one machine measures one thing at a time")
        found[name] = address
    return found


class _Job:
    """One target's bench; its outcome is kept until all have ended."""

    def __init__(
        self, name: str, target: _HereTarget | _DeviceTarget, run: Callable[[BenchTarget, Progress], BenchReport]
    ) -> None:
        self.name, self.target, self._run_bench = name, target, run
        self.report: BenchReport | None = None
        self.error: Exception | None = None

    def run(self, progress: Progress) -> None:
        """Bench; never raises but for an interrupt."""
        try:
            self.report = self._run_bench(self.target, progress)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the thread
            self.error = error
        finally:
            if not isinstance(self.target, _HereTarget):
                self.target.close()

    def conclude(self) -> TargetReport:
        """What was found; the target was closed."""
        lost = str(self.error) if self.report is None else self.report.lost
        left = () if isinstance(self.target, _HereTarget) else self.target.left
        return TargetReport(target=self.name, report=self.report, lost=lost, left=left)


def _named(name: str, progress: Progress, lock: threading.Lock) -> Progress:
    def tell(event: ProgressEvent) -> None:
        with lock:
            progress(replace(event, message=f"{name}  {event.message}"))

    return tell


def bench_targets(
    path: str | os.PathLike[str],
    names: Sequence[str],
    run: Callable[[BenchTarget, Progress], BenchReport],
    *,
    config: Path | None = None,
    runners: Sequence[Runner] = (),
    limits: SshLimits | None = None,
    adb_limits: AdbLimits | None = None,
    layers: bool = True,
    progress: Progress = silent,
) -> ManyReport:
    """Bench on every target at the same time.

    Args:
        path: The model, of whose size there must be room on the devices.
        names: ``local``, ``emulator[://CPU]``, ``ssh://[user@]host[:port][/path/of/python]`` or
            ``adb://serial[/path/of/python]``, at least one; each machine once.
        run: Benches on one target: :func:`edgeml_devices.bench.bench` with the other arguments bound.
        config: ssh configuration in place of the user's, or None.
        runners: Programs that measure a bare model on the devices reached over adb, in place of a Python there.
        limits: Bounds of the connections over ssh.
        adb_limits: Bounds of the connections over adb.
        layers: Whether to count each layer under emulation.
        progress: Told what is measured; the message begins with the target's name where there are several.

    Returns:
        One report for all; a target that is lost keeps what was measured there before.

    Raises:
        InputError: A name is no target, there are runners but no device reached over adb, or the model cannot be
            measured.
        TargetError: The only target was lost before it measured anything.
        EdgemlError: Whatever else ``run`` raises.
    """
    if not names:
        raise InputError(f"expected at least one target, such as {LOCAL}")
    addresses = _addresses(names)
    if runners and not any(isinstance(address, AdbAddress) for address in addresses.values()):
        given = ", ".join(names)
        raise InputError(f"a runner measures on devices reached over adb; expected an adb://serial, found {given}")
    room = os.path.getsize(path) if os.path.exists(path) else 0

    def reach(address: _Address | None) -> _HereTarget | _DeviceTarget:
        if address is None:
            return LocalTarget()
        if isinstance(address, EmulatorAddress):
            return EmulatorTarget(cpu=address.cpu, layers=layers)
        if isinstance(address, SshAddress):
            return SshTarget(address, config=config, room_bytes=room, limits=limits)
        if runners:
            return NativeTarget(address, runners, limits=adb_limits)
        return AdbTarget(address, room_bytes=room, limits=adb_limits)

    jobs = [_Job(name, reach(address), run) for name, address in addresses.items()]
    _run_all(jobs, progress)
    for job in jobs:
        if job.error is not None and (not isinstance(job.error, TargetError) or len(jobs) == 1):
            raise job.error
    return ManyReport(targets=tuple(job.conclude() for job in jobs))


def _run_all(jobs: Sequence[_Job], progress: Progress) -> None:
    """Run the job of this machine in this thread, where an interrupt reaches it, and the others in theirs."""
    lock = threading.Lock()
    tell = {job.name: _named(job.name, progress, lock) if len(jobs) > 1 else progress for job in jobs}
    remote = [job for job in jobs if not isinstance(job.target, _HereTarget)]
    # A second interrupt need not wait for them: a device cleans up without its driver as well.
    threads = [threading.Thread(target=job.run, args=(tell[job.name],), daemon=True) for job in remote]
    for thread in threads:
        thread.start()
    try:
        for job in jobs:
            if job not in remote:
                job.run(tell[job.name])
        for thread in threads:
            thread.join()
    except BaseException:
        for job in remote:
            if not isinstance(job.target, _HereTarget):
                job.target.cancel()
        for thread in threads:
            thread.join()
        raise
