"""How a device is reached. Every target runs the same measuring loop, the runtime's, and reads the same JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Protocol

from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.machine import Machine, probe_machine
from edgeml_runtime.measure_report import Measurement
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from edgeml_runtime.measure_cli import MeasureRequest
    from edgeml_runtime.progress import Progress

__all__ = ["LocalTarget", "Target"]


class Target(Protocol):
    """A machine that can measure."""

    def probe(self) -> Machine:
        """What the machine is.

        Raises:
            TargetError: It cannot be reached.
        """
        ...

    def measure(self, request: MeasureRequest, *, variants: int, progress: Progress) -> Measurement:
        """Measure a model there.

        Args:
            request: What to measure; its path names a file on this machine.
            variants: How many variants that are, which bounds how long it may take.
            progress: Told what the measuring process tells.

        Returns:
            What was measured.

        Raises:
            InputError: The file cannot be measured at all.
            TargetError: The machine cannot be reached, or did not answer.
        """
        ...


def measure_arguments(request: MeasureRequest) -> list[str]:
    """The words after ``python`` that measure what ``request`` says.

    ``-P`` keeps the folder the command is started in from shadowing what the process imports.

    Args:
        request: What to measure.

    Returns:
        Words of the command line.
    """
    words = ["-P", "-m", "edgeml_runtime.measure", "model", request.path]
    for variant in request.variants or ():
        words += ["--variant", variant]
    if request.threads is not None:
        words += ["--threads", str(request.threads)]
    return [*words, "--seconds", str(request.seconds), "--starts", str(request.starts)]


def _forward(stream: IO[str], progress: Progress, messages: list[str]) -> None:
    """Hand progress lines on, and keep every other line."""
    for line in stream:
        try:
            row = json.loads(line)
            event = ProgressEvent(step=row["step"], done=row["done"], total=row["total"], message=row["message"])
        except (ValueError, KeyError, TypeError):
            messages.append(line.rstrip("\n"))
        else:
            progress(event)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and those it started: it leads a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class LocalTarget:
    """The machine at hand.

    Args:
        limit_s: Seconds after which the measuring process is killed, or None for what the request can take at most.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self.limit_s = limit_s

    def probe(self) -> Machine:
        """What this machine is, with the limits of its control groups applied."""
        return probe_machine()

    def measure(self, request: MeasureRequest, *, variants: int, progress: Progress) -> Measurement:
        """Measure in fresh processes of this interpreter.

        Args:
            request: What to measure.
            variants: How many variants that are.
            progress: Told after every start.

        Returns:
            What was measured.

        Raises:
            InputError: The file cannot be measured at all.
            TargetError: The measuring process crashed or hung.
        """
        answer: list[str] = []
        messages: list[str] = []
        expired = threading.Event()
        with subprocess.Popen(
            [sys.executable, *measure_arguments(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            watch = threading.Timer(self.limit_s or request.longest_s(variants), _expire, (process, expired))
            listener = threading.Thread(target=_keep, args=(process.stdout, answer), daemon=True)
            watch.start()
            listener.start()
            try:
                _forward(process.stderr, progress, messages)
                process.wait()
            finally:
                watch.cancel()
                _end(process)
                listener.join()
        if expired.is_set():
            raise TargetError(f"{request.path}: the measuring process did not end in time and was killed")
        return _read_answer(request.path, process.returncode, "".join(answer), "\n".join(messages))


def _expire(process: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    _end(process)


def _keep(stream: IO[str], answer: list[str]) -> None:
    answer.append(stream.read())


def _read_answer(path: str, status: int, answer: str, messages: str) -> Measurement:
    if status == InputError.exit_code and messages:
        raise InputError(messages)
    try:
        return Measurement.from_dict(json.loads(answer))
    except (ValueError, KeyError, TypeError) as error:
        detail = f": {messages}" if messages else ""
        raise TargetError(f"{path}: the measuring process ended with status {status} and no answer{detail}") from error
