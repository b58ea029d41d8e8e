"""What a bench has on a device, and the process that removes it.

Runs on the device (:mod:`edgeml_devices.remote.agent`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MARKER", "PREFIX", "Estate", "Janitor", "kill_group", "sweep"]

PREFIX = "edgeml-bench-"
MARKER = "EDGEML_BENCH_FOLDER"
STALE_AFTER_S = 120
CLEAN_WITHIN_S = 10.0


class Estate:
    """What has to be removed: a folder, control groups, and processes, known by their group or by ``MARKER``."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self._groups: list[str] = []
        self._leaders: list[int] = []

    def note(self, kind: str, value: str) -> None:
        """Take one message of :class:`Janitor`."""
        if kind == "folder":
            self.folder = value
        elif kind == "group":
            self._groups.append(value)
        elif kind == "process":
            self._leaders.append(int(value))
        else:
            self._leaders.remove(int(value))

    def remove(self) -> None:
        """Remove it all; tries again for a while, because killed processes take their time."""
        deadline = time.monotonic() + CLEAN_WITHIN_S
        while not self._removed() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _removed(self) -> bool:
        for leader in self._leaders:
            kill_group(leader)
        marked = [] if self.folder is None else list(_marked(self.folder))
        for pid in marked:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for group in self._groups:
            with contextlib.suppress(OSError):
                os.rmdir(group)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        places = [*self._groups, *([] if self.folder is None else [self.folder])]
        return not marked and not any(os.path.lexists(place) for place in places)


def kill_group(leader: int) -> None:
    """End a process that leads a group, and the group."""
    with contextlib.suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


def _marked(folder: str) -> Iterator[int]:
    """Running processes that were started with ``MARKER`` set to the folder, where the system has ``/proc``."""
    mark = f"\0{MARKER}={folder}\0".encode()
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark in b"\0" + file.read() + b"\0":
                    yield int(name)


class Janitor:
    """A process that cleans up once this one has ended, however it did."""

    def __init__(self) -> None:
        self._estate = Estate()
        self._open = True
        reader, self._writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._writer)
                _wait_and_clean(reader)
            finally:
                os._exit(0)
        os.close(reader)

    def note(self, kind: str, value: str) -> None:
        """Tell it what there will be to clean up, before it is there.

        Args:
            kind: ``folder``, ``group``, ``process``, or ``ended`` for a process that is no more.
            value: A path, or the process id.
        """
        self._estate.note(kind, value)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, json.dumps([kind, value]).encode("ascii") + b"\n")

    def clean(self) -> None:
        """Have everything cleaned up now, and wait for that; should the janitor have been killed, do it here."""
        if self._open:
            self._open = False
            os.close(self._writer)
            os.waitpid(self._pid, 0)
            self._estate.remove()


def _wait_and_clean(reader: int) -> None:
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    estate = Estate()
    with open(reader, encoding="ascii") as messages:
        for line in messages:
            estate.note(*json.loads(line))
    estate.remove()


def sweep(base: str, *, age_s: float = STALE_AFTER_S) -> None:
    """Remove what an earlier bench left that was killed together with its janitor.

    Args:
        base: Folder in which to look.
        age_s: Younger folders may belong to a bench that is about to begin.
    """
    for name in os.listdir(base):
        path = os.path.join(base, name)
        if not name.startswith(PREFIX) or os.path.islink(path):
            continue
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > age_s and not _is_locked(path):
                _estate_of(path).remove()


def _is_locked(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _estate_of(folder: str) -> Estate:
    estate = Estate()
    estate.note("folder", folder)
    with contextlib.suppress(OSError), open(os.path.join(folder, "groups"), encoding="utf-8") as groups:
        for line in groups:
            estate.note("group", line.rstrip("\n"))
    return estate
