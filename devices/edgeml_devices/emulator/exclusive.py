"""One process at a time changes the cache."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeml_runtime.progress import Progress

__all__ = ["exclusive"]

POLL_S = 0.2


@contextmanager
def exclusive(path: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock file; wait while another process holds it.

    The kernel lets go of it when the process ends, however it ends.

    Args:
        path: The lock file; its folder is made if need be.
        progress: Told when there is something to wait for.
    """
    descriptor = _acquire(path, progress)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path, progress: Progress) -> int:
    import fcntl

    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the folder was removed in between
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(descriptor, path):
                return descriptor
        except BlockingIOError:
            progress(ProgressEvent(step="wait", done=0, total=None, message="another process is changing the cache"))
            time.sleep(POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the path still names the locked file: who removes the cache removes the lock file with it."""
    held = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
