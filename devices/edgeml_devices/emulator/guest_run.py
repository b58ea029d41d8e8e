"""One guest process: started with a request, limited in time, and its ending told in words."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeml_runtime
from edgeml_devices.emulator import guest
from edgeml_devices.emulator.identity import make_root
from edgeml_runtime.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_devices.emulator.identity import CpuIdentity
    from edgeml_devices.emulator.sysroot import Emulator, Site, Sysroot

__all__ = ["GUESTS", "GUEST_LIMIT_S", "GuestFailure", "GuestJob", "GuestTimeout", "Guests", "run_guest"]

GUEST_LIMIT_S = 300.0
"""A guest that has not ended by then is killed."""

# Seconds of CPU time for each second of the limit: never reached before it, also by a guest with some threads.
CPU_LIMIT = 4

RECORDS = "counts.bin"
PLUGIN = "count.so"
# EX_IOERR of sysexits(3): the plug-in cannot write.
CANNOT_WRITE = 74
# What backends say though nothing is wrong.
CHATTER = ("INFO:", "WARNING: ")
# What no guest does to itself: the system where memory is short, a service manager, or the user.
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class GuestFailure(Exception):  # noqa: N818 - a variant that fails on a CPU is a result here, not an error of the caller
    """A guest gave no answer; the message says why."""


class GuestTimeout(GuestFailure):
    """A guest was killed, at its time limit or from outside, which says nothing about what it would have given."""


class Guests:
    """The guests that run side by side, to be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    @contextmanager
    def start(self, command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A guest, killed at the end of the block if it still runs.

        Args:
            command: Its command line.
            **options: Those of :class:`subprocess.Popen`.

        Raises:
            GuestTimeout: All guests were ended.
            OSError: It cannot be started.
        """
        with self._lock:
            if self._ended:
                raise GuestTimeout("the guest was not started, because the bench was ended")
            process = subprocess.Popen(command, **options)
            self._running.add(process)
        try:
            with process:
                try:
                    yield process
                finally:
                    process.kill()
        finally:
            with self._lock:
                self._running.discard(process)

    def end(self) -> None:
        """Kill all, and start no further ones."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.kill()


GUESTS: ContextVar[Guests] = ContextVar("GUESTS")
"""Those that a thread's guests belong to, where somebody may want to end them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestJob:
    """What a guest is to run, and on what.

    Attributes:
        sysroot: The set-up.
        site: Backends to run it with.
        emulator: The QEMU to run it under.
        identity: The CPU.
        request: See :func:`edgeml_devices.emulator.guest.job.answer`.
        plugin: The compiled plug-in, or None not to count.
        limit_s: Seconds after which the guest is killed.
    """

    sysroot: Sysroot
    site: Site
    emulator: Emulator
    identity: CpuIdentity
    request: dict[str, Any]
    plugin: Path | None = None
    limit_s: float = GUEST_LIMIT_S


def run_guest(job: GuestJob) -> tuple[dict[str, Any], bytes]:
    """Run a guest to its end.

    Args:
        job: What to run.

    Returns:
        Its answer, and what the plug-in wrote; empty without one.

    Raises:
        GuestFailure: It crashed, or answered with an error.
        GuestTimeout: It hung, or was ended from outside.
        StorageError: The disk is full.
    """
    with _folder(job) as folder:
        done = _run(job, folder)
        if done.returncode == CANNOT_WRITE:
            raise StorageError(f"{folder}: expected room for the counts, found: {_last_line(done.stderr)}")
        if -done.returncode in FROM_OUTSIDE:
            raise GuestTimeout(
                f"{_ending(job, done)}. It was ended from outside, as a system does where memory is short: bench again"
            )
        answer = _answer(job, done)
        records = folder / RECORDS
        return answer, records.read_bytes() if records.exists() else b""


@contextmanager
def _folder(job: GuestJob) -> Iterator[Path]:
    """A folder with the code the guest imports, the root it sees, and room for what it writes.

    The guest names everything relative to it: how long paths are moves its stack and its heap, and counts by some
    hundred instructions, which on a small model is more than is put up with.
    """
    with tempfile.TemporaryDirectory(prefix="edgeml-emulator-") as name:
        folder = Path(name)
        package = folder / "code/edgeml_devices/emulator"
        package.mkdir(parents=True)
        for inner in (package.parent, package):
            (inner / "__init__.py").touch()
        (package / "guest").symlink_to(Path(str(guest.__file__)).parent)
        (folder / "code/edgeml_runtime").symlink_to(Path(str(edgeml_runtime.__file__)).parent)
        (folder / "tmp").mkdir()
        (folder / "root").mkdir()
        make_root(job.sysroot, job.identity, folder / "root")
        for number, place in enumerate(job.site.folders):
            (folder / f"site{number}").symlink_to(place)
        (folder / _model_name(job)).symlink_to(os.path.abspath(job.request["path"]))
        if job.plugin is not None:
            (folder / PLUGIN).symlink_to(job.plugin)
        yield folder


def _model_name(job: GuestJob) -> str:
    """A name of one length for all bundles; a bare model's ending says its format."""
    return f"model{Path(job.request['path']).suffix}"


def _run(job: GuestJob, folder: Path) -> subprocess.CompletedProcess[str]:
    request = {**job.request, "path": _model_name(job)}
    sites = tuple(Path(f"site{number}") for number in range(len(job.site.folders)))
    command = job.sysroot.command(
        ("-m", "edgeml_devices.emulator.guest", json.dumps(request)),
        cpu=job.identity.cpu,
        emulator=job.emulator,
        # Relative to the folder: QEMU splits the words at commas.
        plugin=None if job.plugin is None else f"./{PLUGIN},out={RECORDS}",
        root=Path("root"),
    )
    environment = {
        **job.sysroot.environment(replace(job.site, folders=sites), (Path("code"),)),
        "TMPDIR": "tmp",
    }
    if job.sysroot.root is not None:  # whether the host has compiled the runtime would be seen in the heap, too
        environment["PYTHONPYCACHEPREFIX"] = "tmp"
    try:
        with (GUESTS.get(None) or Guests()).start(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            _bound(process.pid, job.limit_s)
            stdout, stderr = process.communicate(timeout=job.limit_s)
            return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
    except subprocess.TimeoutExpired:
        raise GuestTimeout(f"the guest did not end within {job.limit_s:g} s and was killed") from None
    except OSError as error:
        raise GuestFailure(f"QEMU {job.emulator.version} cannot be started: {error}") from error


def _bound(pid: int, limit_s: float) -> None:
    """Have the system end a guest that goes on computing when this process is killed and cannot end it."""
    import resource  # not on Windows, where this module is imported as well

    seconds = math.ceil(limit_s * CPU_LIMIT)
    with suppress(ProcessLookupError):  # it has ended already
        resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))


def _answer(job: GuestJob, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise GuestFailure(_ending(job, done)) from None
    if not isinstance(answer, dict) or done.returncode != 0:
        raise GuestFailure(_ending(job, done))
    if "error" in answer:
        raise GuestFailure(str(answer["error"]).replace(_model_name(job), job.request["path"]))
    return answer


def _ending(job: GuestJob, done: subprocess.CompletedProcess[str]) -> str:
    where = f"under QEMU {job.emulator.version} with CPU {job.identity.cpu}"
    if done.returncode == -signal.SIGILL:
        return f"the guest executed an instruction that the CPU does not have (illegal instruction), {where}"
    if done.returncode < 0:
        try:
            name = signal.Signals(-done.returncode).name
        except ValueError:
            name = str(-done.returncode)
        text = f"the guest was ended by signal {name} {where}"
    else:
        text = f"the guest ended with status {done.returncode} and no answer {where}"
    last = _last_line(done.stderr)
    return f"{text}: {last}" if last else text


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith(CHATTER)]
    return lines[-1] if lines else ""
