"""How a device is reached. Every target runs the same measuring loop, the runtime's, and reads the same JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, runtime_checkable

from edgeml_devices.conditions import Watch
from edgeml_devices.memory import limit_memory
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.machine import Machine, probe_machine
from edgeml_runtime.measure.report import Measurement
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_devices.memory import MemoryLimit
    from edgeml_runtime.measure.cli import MeasureRequest
    from edgeml_runtime.progress import Progress

__all__ = [
    "MODEL",
    "Ended",
    "LocalTarget",
    "RunsPython",
    "Target",
    "limited_arguments",
    "measure_arguments",
    "progress_event",
    "read_answer",
]


MODEL = "{model}"
"""Where a model is on the machine that runs a Python, among the words for :meth:`RunsPython.run_python`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Its exit status; below 0 for the signal that ended it.
        output: What it wrote to standard output.
        messages: What it wrote to standard error, progress apart.
    """

    status: int
    output: str
    messages: str


@runtime_checkable
class RunsPython(Protocol):
    """A machine with a Python that edgeml can give work to, besides measuring."""

    def run_python(self, words: Sequence[str], *, model: str | None, limit_s: float, progress: Progress) -> Ended:
        """Run a fresh process of the Python there.

        Args:
            words: What comes after ``python``; :data:`MODEL` stands for the model's place there, as part of JSON.
            model: A model on this machine that the words name, or None.
            limit_s: Seconds after which it is killed.
            progress: Told what the process tells.

        Returns:
            How it ended.

        Raises:
            TargetError: The machine cannot be reached, or the process did not end in time.
        """
        ...


class Target(Protocol):
    """A machine that can measure."""

    def probe(self) -> Machine:
        """What the machine is.

        Raises:
            TargetError: It cannot be reached.
        """
        ...

    def watch(self) -> Watch:
        """Look at the machine while the block that this opens is running."""
        ...

    def limit_memory(self, memory_bytes: int) -> MemoryLimit | None:
        """A limit for what :meth:`measure` starts, or None where there is no way; the caller removes it."""
        ...

    def measure(
        self, request: MeasureRequest, *, variants: int, limit: MemoryLimit | None = None, progress: Progress
    ) -> Measurement:
        """Measure a model there.

        Args:
            request: What to measure; its path names a file on this machine.
            variants: How many variants that are, which bounds how long it may take.
            limit: The memory the measuring processes may use, from :meth:`limit_memory`, or None for all there is.
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
    if request.backend is not None:
        words += ["--backend", request.backend]
    return [*words, "--seconds", str(request.seconds), "--starts", str(request.starts)]


def progress_event(line: str) -> ProgressEvent | None:
    """What a line of the measuring process's standard error tells, or None for one that is not about progress."""
    try:
        row = json.loads(line)
        return ProgressEvent(step=row["step"], done=row["done"], total=row["total"], message=row["message"])
    except (ValueError, KeyError, TypeError):
        return None


def _forward(stream: IO[str], progress: Progress, messages: list[str]) -> None:
    """Hand progress lines on, and keep every other line."""
    for line in stream:
        event = progress_event(line)
        if event is None:
            messages.append(line.rstrip("\n"))
        else:
            progress(event)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and those it started: it leads a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# What the measuring process starts, and only that, enters the limit: it starts the interpreter by this name.
_LIMITED = (
    "import sys; sys.executable = sys.argv.pop(1); "
    "from edgeml_runtime.measure.cli import main; sys.exit(main(sys.argv[1:]))"
)


def limited_arguments(words: list[str], script: str) -> list[str]:
    """The words after ``python`` that measure within a memory limit.

    Args:
        words: Those that measure without, from :func:`measure_arguments`.
        script: Path of an executable file that holds :meth:`MemoryLimit.script`.

    Returns:
        Words of the command line.
    """
    return ["-P", "-c", _LIMITED, script, *words[words.index("model") :]]


@contextmanager
def _command(request: MeasureRequest, limit: MemoryLimit | None) -> Iterator[list[str]]:
    """The command that measures; the processes that load the model are started within the limit."""
    words = measure_arguments(request)
    if limit is None:
        yield [sys.executable, *words]
        return
    with tempfile.TemporaryDirectory(prefix="edgeml-bench-") as folder:
        script = Path(folder) / "python"
        script.write_text(limit.script(sys.executable), encoding="utf-8")
        script.chmod(0o700)
        yield [sys.executable, *limited_arguments(words, str(script))]


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

    def watch(self) -> Watch:
        """Look at this machine while the block that this opens is running."""
        return Watch()

    def limit_memory(self, memory_bytes: int) -> MemoryLimit | None:
        """A control group or a ``prlimit``, or None where this system has neither."""
        return limit_memory(memory_bytes)

    def measure(
        self, request: MeasureRequest, *, variants: int, limit: MemoryLimit | None = None, progress: Progress
    ) -> Measurement:
        """Measure in fresh processes of this interpreter.

        Args:
            request: What to measure.
            variants: How many variants that are.
            limit: The memory they may use, or None for all there is.
            progress: Told after every start.

        Returns:
            What was measured.

        Raises:
            InputError: The file cannot be measured at all.
            TargetError: The measuring process crashed or hung.
        """
        with _command(request, limit) as command:
            ended = _run(command, self.limit_s or request.longest_s(variants), progress)
        if ended is None:
            raise TargetError(f"{request.path}: the measuring process did not end in time and was killed")
        return read_answer(request.path, ended.status, ended.output, ended.messages)

    def run_python(self, words: Sequence[str], *, model: str | None, limit_s: float, progress: Progress) -> Ended:
        """Run a fresh process of this interpreter.

        Args:
            words: What comes after ``python``; :data:`MODEL` stands for the model's place.
            model: The model that the words name, or None.
            limit_s: Seconds after which it is killed.
            progress: Told what the process tells.

        Returns:
            How it ended.

        Raises:
            TargetError: It did not end in time.
        """
        command = [sys.executable, "-P", *(word.replace(MODEL, json.dumps(model)[1:-1]) for word in words)]
        ended = _run(command, limit_s, progress)
        if ended is None:
            raise TargetError(f"{model or 'this machine'}: a process did not end within {limit_s:g} s and was killed")
        return ended


def _run(command: Sequence[str], limit_s: float, progress: Progress) -> Ended | None:
    """Run a command until it ends; None where it did not in time and was killed."""
    answer: list[str] = []
    messages: list[str] = []
    expired = threading.Event()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        watch = threading.Timer(limit_s, _expire, (process, expired))
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
        return None
    return Ended(status=process.returncode, output="".join(answer), messages="\n".join(messages))


def _expire(process: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    _end(process)


def _keep(stream: IO[str], answer: list[str]) -> None:
    answer.append(stream.read())


def read_answer(path: str, status: int, answer: str, messages: str) -> Measurement:
    """What the measuring process answered.

    Args:
        path: The model, for messages.
        status: How the process ended.
        answer: What it wrote to standard output.
        messages: What it wrote to standard error, progress apart.

    Returns:
        What was measured.

    Raises:
        InputError: The file cannot be measured at all.
        TargetError: There is no answer.
    """
    if status == InputError.exit_code and messages:
        raise InputError(messages)
    try:
        return Measurement.from_dict(json.loads(answer))
    except (ValueError, KeyError, TypeError) as error:
        detail = f": {messages}" if messages else ""
        raise TargetError(f"{path}: the measuring process ended with status {status} and no answer{detail}") from error
