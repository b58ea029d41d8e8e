"""A memory limit for processes that load models: a control group where this process may make one, else ``ulimit``.

A control group counts the memory that is used and cannot be read again from a file, as the device has to.
``RLIMIT_DATA`` counts what is reserved as well (getrlimit(2)), about twice as much for an inference library, so a
refusal under it proves nothing by itself.
"""

from __future__ import annotations

import logging
import os
import shlex
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MemoryLimit", "limit_memory"]

_LOG = logging.getLogger(__name__)
_EMPTY_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """A limit that a process enters before it becomes Python.

    Attributes:
        memory_bytes: The limit.
        group: The control group's folder, or None for ``RLIMIT_DATA``.
    """

    memory_bytes: int
    group: Path | None

    @property
    def exact(self) -> bool:
        """Whether used memory is counted, and not reserved memory."""
        return self.group is not None

    def script(self, python: str) -> str:
        """A shell script that enters the limit and becomes the interpreter, with the arguments it was given.

        The process that only describes the model (``python -c CODE describe REQUEST``,
        :mod:`edgeml_runtime.measure.child`) stays outside: a model that is too big is described as well.

        Args:
            python: Path of the interpreter.
        """
        if self.group is not None:
            enter = f"echo $$ > {shlex.quote(str(self.group / 'cgroup.procs'))}"
        else:
            enter = f"ulimit -d {self.memory_bytes // 1024}"
        outside = '[ "$#" = 4 ] && [ "$3" = describe ]'
        return f'#!/bin/sh\n{{ {outside}; }} || {enter} || exit 1\nexec {shlex.quote(python)} "$@"\n'

    def remove(self) -> None:
        """Remove the control group, once the processes in it have ended."""
        deadline = time.monotonic() + _EMPTY_WITHIN_S
        while self.group is not None:
            try:
                self.group.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    _LOG.warning("the control group %s could not be removed: %s", self.group, error)
                    return
                time.sleep(0.05)
            else:
                return


def _parents(root: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Folders in which a control group of memory may be made, with the files that limit memory, and memory with swap.

    In version 2 a group with processes in it cannot have groups below it that limit memory, so the new group stands
    beside this process's own (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint").
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = root / "sys/fs/cgroup" / controllers / path.lstrip("/")
            yield folder, ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        elif number == "0" and path != "/":
            yield (root / "sys/fs/cgroup" / path.lstrip("/")).parent, ("memory.max", "memory.swap.max")


def _make_group(parent: Path, files: tuple[str, str], memory_bytes: int) -> Path:
    group = Path(tempfile.mkdtemp(prefix="edgeml-bench-", dir=parent))
    memory, swap = group / files[0], group / files[1]
    try:
        if not memory.exists():
            raise FileNotFoundError(memory)
        memory.write_text(str(memory_bytes), encoding="ascii")
        if swap.exists():
            swap.write_text("0" if swap.name == "memory.swap.max" else str(memory_bytes), encoding="ascii")
    except OSError:
        with suppress(OSError):
            group.rmdir()
        raise
    return group


def limit_memory(memory_bytes: int, *, root: Path = Path("/")) -> MemoryLimit | None:
    """Make a limit; the caller removes it.

    Args:
        memory_bytes: The limit.
        root: Folder in which ``proc`` and ``sys`` lie.

    Returns:
        The limit, or None where the system has neither control groups this process may make nor limits of processes.
    """
    for parent, files in _parents(root):
        try:
            return MemoryLimit(memory_bytes=memory_bytes, group=_make_group(parent, files, memory_bytes))
        except OSError as error:
            _LOG.debug("no control group in %s: %s", parent, error)
    return MemoryLimit(memory_bytes=memory_bytes, group=None) if os.name == "posix" else None
