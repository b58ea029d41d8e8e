"""A device without Python, as a target of the bench: a native program measures bare models there, over adb."""

from __future__ import annotations

import os
import random
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Self

from edgeml_devices.conditions import Conditions, Watch
from edgeml_devices.model_file import read_model
from edgeml_devices.native.measurement import NativeMeasurement
from edgeml_devices.native.output import OutputError, read_calls, read_statistics, runner_words
from edgeml_devices.native.runner import RunnerKind
from edgeml_devices.remote.adb import AdbLimits, check_device
from edgeml_devices.remote.adb_shell import DeviceShell
from edgeml_devices.remote.keeper import Keeper, kill_script
from edgeml_devices.remote.link import last_line
from edgeml_devices.remote.look import (
    CONDITIONS_SCRIPT,
    MACHINE_SCRIPT,
    conditions_of,
    machine_of,
    share_of_others,
)
from edgeml_devices.remote.run_script import RESULT_FILE, explain_status, read_run, run_script
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.measure.bare import bare_format
from edgeml_runtime.measure.report import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.memory import MemoryLimit
    from edgeml_devices.model_file import VariantFile
    from edgeml_devices.native.runner import Runner
    from edgeml_devices.remote.address import AdbAddress
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.measure.cli import MeasureRequest
    from edgeml_runtime.progress import Progress

__all__ = ["NativeTarget"]

_MOST_BYTES = 64 << 20
# What a system of the first kind runs besides its own programs (uname(2) then names the second): 32 bits on 64.
_NARROW = {("aarch64", "armv7l"): "armv8l", ("x86_64", "i686"): "i686"}


class _Failure(Exception):  # noqa: N818 - a variant that cannot be measured is a result
    """Why a variant has no figures."""


class _NativeWatch(Watch):
    """The device after each measurement, as far as a shell can tell."""

    def __init__(self, target: NativeTarget) -> None:
        super().__init__()
        self._target = target

    def __enter__(self) -> _NativeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.conditions = self._target.last_conditions


class NativeTarget:
    """A device reached over adb that measures with native programs; a context manager that leaves nothing behind.

    Each measurement of a variant is a process of its own. What a bare model on such a program does not tell, the full
    way of the runtime among it, is left open with the reason.

    Args:
        address: The device.
        runners: The programs, of each kind one.
        limits: Bounds of the connection, or None for the usual ones.

    Raises:
        InputError: There are two of a kind, or none.
    """

    def __init__(self, address: AdbAddress, runners: Sequence[Runner], *, limits: AdbLimits | None = None) -> None:
        self.last_conditions = Conditions()
        self._name, self._serial, self._limits = str(address), address.serial, limits or AdbLimits()
        self._runners = {runner.kind: runner for runner in runners}
        if not runners or len(self._runners) != len(runners):
            raise InputError(f"expected one runner of a kind, found {', '.join(one.path for one in runners) or 'none'}")
        self._shell = DeviceShell(self._serial)
        self._keeper: Keeper | None = None
        self._machine: Machine | None = None
        self._cancelled = False
        self._sent: dict[str, str] = {}
        self._others: list[float | None] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def left(self) -> tuple[str, ...]:
        """Paths the device could not remove; known once the target was closed."""
        return () if self._keeper is None else self._keeper.left

    def close(self) -> None:
        """Clean up on the device."""
        if self._keeper is not None:
            self._keeper.close()

    def cancel(self) -> None:
        """Have what is being waited for end with an error, from another thread."""
        self._cancelled = True
        self._shell.interrupt()

    def probe(self) -> Machine:
        """What the device is; a runner of 32 bits makes it one of 32 bits.

        Raises:
            TargetError: It cannot be reached, a runner is for another architecture, or its shell does not say what it
                is.
        """
        if self._machine is None:
            check_device(self._name, self._serial, within_s=self._limits.connect_s)
            text, _ = self._run_shell(MACHINE_SCRIPT, self._limits.answer_s)
            machine = machine_of(text)
            if machine is None:
                raise TargetError(
                    f"{self._name}: its shell does not say what the device is: /proc/cpuinfo, /proc/meminfo and uname "
                    f"are needed ({last_line(text)})"
                )
            for runner in self._runners.values():
                machine = self._as_run_by(runner, machine)
            self._machine = machine
        return self._machine

    def _as_run_by(self, runner: Runner, machine: Machine) -> Machine:
        if runner.arch in {None, machine.arch}:
            return machine
        narrow = _NARROW.get((machine.arch, str(runner.arch)))
        if narrow is None:
            raise TargetError(
                f"{self._name}: {runner.path} is built for {runner.arch}, the device is {machine.arch}: take the "
                f"program for {machine.arch}"
            )
        return replace(machine, arch=narrow)

    def watch(self) -> Watch:
        """The device after what is measured there: clock, temperature, throttling."""
        return _NativeWatch(self)

    def limit_memory(self, memory_bytes: int) -> MemoryLimit | None:
        """None: there is no way on such a device."""
        return None

    def measure(
        self,
        request: MeasureRequest,
        *,
        variants: int,
        limit: MemoryLimit | None = None,
        progress: Progress,
    ) -> Measurement:
        """Measure each variant once, in a process of its own, in shuffled order.

        Args:
            request: What to measure; its path names a file on this machine, of which each model is sent once. Starts
                are not measured.
            variants: Not used: the request names them.
            limit: None; there is no way to limit memory.
            progress: Not told anything.

        Returns:
            What was measured.

        Raises:
            InputError: The file cannot be measured at all.
            TargetError: The device is lost or full.
        """
        machine = self.probe()
        model = read_model(request.path)
        wanted = [one for one in model.variants if request.variants is None or one.id in request.variants]
        self._others.clear()
        turns = list(wanted)
        random.Random().shuffle(turns)
        measured = {variant.id: self._measure_one(request, variant, machine) for variant in turns}
        text, whole = self._run_shell(CONDITIONS_SCRIPT, self._limits.answer_s)
        shares = [share for share in self._others if share is not None]
        self.last_conditions = replace(
            conditions_of(text) if whole else Conditions(), other_share=mean(shares) if shares else None
        )
        able = (one.id for one in model.variants if self._obstacle(one, request, machine) is None)
        return Measurement(
            machine=machine, auto_variant=next(able, None), variants=tuple(measured[one.id] for one in wanted)
        )

    def _runner(self, variant: VariantFile) -> Runner | None:
        return next((runner for kind, runner in self._runners.items() if variant.format in kind.formats), None)

    def _obstacle(self, variant: VariantFile, request: MeasureRequest, machine: Machine) -> str | None:
        """Why a variant cannot be measured here, or None."""
        if self._runner(variant) is None:
            names = ", ".join(runner.name for runner in self._runners.values())
            fitting = next(kind.title for kind in RunnerKind if variant.format in kind.formats)
            return f"{names} does not run .{variant.format.value} files: give --runner …/{fitting} as well"
        if request.backend not in {None, variant.backend}:
            return f"the native program is {variant.backend}; it does not run {request.backend}"
        missing = sorted(set(variant.requires_isa) - set(machine.isa))
        return f"it needs the CPU features {', '.join(missing)}" if missing else None

    def _measure_one(self, request: MeasureRequest, variant: VariantFile, machine: Machine) -> NativeMeasurement:
        runner = self._runner(variant)
        found = NativeMeasurement(
            id=variant.id, size_bytes=variant.size_bytes, runner=runner.name if runner is not None else ""
        )
        obstacle = self._obstacle(variant, request, machine)
        if runner is None or obstacle is not None:
            return replace(found, failure=obstacle)
        try:
            output, result = self._run(runner, self._send_model(request.path, variant), request)
            told = (
                replace(found, statistics=read_statistics(output))
                if runner.kind is RunnerKind.LITERT
                else replace(found, samples=read_calls(result))
            )
        except _Failure as failure:
            return replace(found, failure=f"{runner.name}: {failure}")
        except OutputError as error:
            return replace(found, failure=f"{runner.name}: {error}; its last words: {last_line(output)}")
        return replace(told, backend=variant.backend, threads=request.threads)

    def _run(self, runner: Runner, model: str, request: MeasureRequest) -> tuple[str, str]:
        """Run the program on a model; gives its output and its result file."""
        program = self._send_runner(runner)
        folder, limit_s = self._folder(), request.latency_s(1)
        words = runner_words(
            runner.kind,
            program,
            model,
            RESULT_FILE,
            threads=request.threads,
            seconds=request.seconds,
            longest_s=limit_s,
        )
        text, whole = self._run_shell(run_script(folder, words), limit_s)
        if not whole:
            self._kill()
            raise _Failure(f"did not end within {limit_s:g} s, or said too much, and was killed")
        ended = read_run(text)
        if ended is None:
            raise TargetError(f"{self._name}: the connection was lost while {runner.name} was running")
        if ended.status != 0:
            last = last_line(ended.output)
            raise _Failure(f"{explain_status(ended.status, last)}: {last}")
        self._others.append(share_of_others(ended.before, ended.after))
        return ended.output, ended.result

    def _kill(self) -> None:
        """End what runs in the folder.

        Raises:
            TargetError: The device does not answer either.
        """
        _, whole = self._run_shell(kill_script(self._folder()), self._limits.connect_s)
        check_device(self._name, self._serial, within_s=self._limits.connect_s)
        if not whole:
            raise TargetError(f"{self._name}: the connection was lost (no answer)")

    def _run_shell(self, script: str, within_s: float) -> tuple[str, bool]:
        if self._cancelled:
            raise TargetError(f"{self._name}: cancelled")
        answer = self._shell.run("shell", "-T", script, within_s=within_s, most_bytes=_MOST_BYTES)
        if self._cancelled:
            raise TargetError(f"{self._name}: cancelled")
        return answer

    def _folder(self) -> str:
        if self._keeper is None:
            self._keeper = Keeper(self._name, self._serial, self._limits)
        return self._keeper.folder

    def _push(self, path: str, name: str) -> str:
        """Send a file once; gives its name there."""
        if path not in self._sent:
            there = f"{self._folder()}/{name}"
            within_s = self._limits.answer_s + os.path.getsize(path) / 1e5  # 100 kB/s is a slow radio
            text, whole = self._shell.run("push", path, there, within_s=within_s, most_bytes=_MOST_BYTES)
            if self._cancelled:
                raise TargetError(f"{self._name}: cancelled")
            failed = next((line for line in text.splitlines() if "error: " in line), None)
            if "No space left" in text:
                size_mb = os.path.getsize(path) / 1e6
                raise TargetError(f"{self._name}: {size_mb:.1f} MB of space are needed in {there}, and there are not")
            if not whole or failed is not None or "1 file pushed" not in text:
                raise TargetError(f"{self._name}: {path} could not be sent ({failed or last_line(text)})")
            self._sent[path] = there
        return self._sent[path]

    def _send_runner(self, runner: Runner) -> str:
        for library in runner.libraries:
            self._push(library, os.path.basename(library))
        known = runner.path in self._sent
        there = self._push(runner.path, f"runner-{runner.kind.value}")
        if not known:
            self._run_shell(f"chmod 700 {shlex.quote(there)}", self._limits.answer_s)
        return there

    def _send_model(self, path: str, variant: VariantFile) -> str:
        if bare_format(path) is not None:
            return self._push(path, f"model.{variant.format.value}")
        key = f"{path}\0{variant.id}"
        if key not in self._sent:
            with Bundle.open(path) as bundle, tempfile.TemporaryDirectory(prefix="edgeml-bench-") as folder:
                entry = next(one for one in bundle.manifest.variants if one.id == variant.id)
                name = f"{variant.id}.{variant.format.value}"
                copy = Path(folder) / name
                copy.write_bytes(bundle.read(entry.file))
                self._sent[key] = self._push(str(copy), name)
        return self._sent[key]
