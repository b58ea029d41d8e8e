"""Keeps what was measured for the rest of a test session, and lets one process at a time measure.

The processes of pytest-xdist share a folder of the session. Two of them that measure at the same time would disturb
each other, so measuring happens under a lock, and what one has measured, the others read. The lock is the operating
system's: it is gone with a process that dies. The files are pickled: they hold every sample, lie in a folder that only
this user may enter, and are read by the same program within the same session.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeml_devices.remote import TargetReport

__all__ = ["GateStore"]


class GateStore:
    """The figures of one test session.

    Args:
        folder: A folder that the session's processes share, or None where there is only this one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, TargetReport] = {}
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait until no other process of the session measures, and keep the others from it meanwhile."""
        if self._folder is None:
            yield
            return
        import fcntl

        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def get(self, key: str) -> TargetReport | None:
        """What was measured, by this process or another one; to be called within :meth:`exclusive`.

        Args:
            key: What identifies the measurement.

        Returns:
            The newest, or None where it was not measured.
        """
        if self._folder is None:
            return self._known.get(key)
        file = self._file(self._folder, key)
        if not file.exists():
            return None
        found: TargetReport = pickle.loads(file.read_bytes())
        return found

    def put(self, key: str, report: TargetReport) -> None:
        """Keep what was measured; to be called within :meth:`exclusive`.

        Args:
            key: What identifies the measurement.
            report: The figures.
        """
        if self._folder is None:
            self._known[key] = report
            return
        file = self._file(self._folder, key)
        draft = file.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(report))
        draft.replace(file)

    @staticmethod
    def _file(folder: Path, key: str) -> Path:
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()}.pickle"
