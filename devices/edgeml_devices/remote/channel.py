"""The agent's end of the connection with the driver: one JSON object per line, files after their request.

Runs on the device (:mod:`edgeml_devices.remote.agent`).
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOST_AFTER_S", "Channel", "Lost"]

LOST_AFTER_S = 60
MAX_REQUEST_BYTES = 1 << 20
_CHUNK = 1 << 16


class Lost(Exception):  # noqa: N818 - the way a session ends, not an error of anybody here
    """The driver is gone."""


class Channel:
    """The connection with the driver.

    Args:
        source: File descriptor of the requests.
        sink: File descriptor of the answers.
    """

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self.source, self._sink = source, sink
        self.lost_after_s = LOST_AFTER_S
        self._buffer = bytearray()

    def fill(self) -> None:
        """Read what there is, waiting for it, and set the alarm anew: its default action ends the process."""
        data = os.read(self.source, _CHUNK)
        if not data:
            raise Lost
        signal.alarm(self.lost_after_s)
        self._buffer += data
        if len(self._buffer) > MAX_REQUEST_BYTES + _CHUNK:
            raise Lost

    def pending(self) -> dict[str, Any] | None:
        """The next request that has arrived, or None."""
        line, found, _ = self._buffer.partition(b"\n")
        if not found:
            return None
        del self._buffer[: len(line) + 1]
        return dict(json.loads(line))

    def request(self) -> dict[str, Any]:
        """The next request but heartbeats, waiting for it."""
        while True:
            while (row := self.pending()) is None:
                self.fill()
            if row["do"] != "beat":
                return row
            self.say("alive")

    def content(self, size: int) -> Iterator[bytes]:
        """The bytes that follow a request."""
        while size:
            if not self._buffer:
                self.fill()
            part = bytes(self._buffer[:size])
            del self._buffer[: len(part)]
            size -= len(part)
            yield part

    def say(self, said: str, **fields: Any) -> None:
        """Send one answer."""
        data = json.dumps({"said": said, **fields}).encode("ascii") + b"\n"
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._sink, view) :]
            except BrokenPipeError:
                raise Lost from None
