"""Single commands of the adb client, each with a time limit and a bound on what it may say."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import suppress

from edgeml_devices.remote.adb import NO_ADB, adb_words
from edgeml_runtime.errors import TargetError

__all__ = ["DeviceShell"]

_LOOK_S = 0.02


class DeviceShell:
    """Single commands on a device.

    Args:
        serial: The device.
    """

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._running: subprocess.Popen[bytes] | None = None

    def interrupt(self) -> None:
        """End what is running, from another thread."""
        if self._running is not None:
            self._running.kill()

    def run(self, *words: str, within_s: float, most_bytes: int) -> tuple[str, bool]:
        """Run the client and take what it prints on either output.

        Args:
            *words: What adb is to do with the device.
            within_s: Seconds after which the client is ended.
            most_bytes: After that much output it is ended as well.

        Returns:
            The output, and whether it ended by itself.

        Raises:
            TargetError: There is no adb.
        """
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    adb_words(self._serial, *words),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise TargetError(NO_ADB) from error
            self._running = process
            deadline = time.monotonic() + within_s
            whole = True
            while process.poll() is None:
                if time.monotonic() > deadline or output.tell() > most_bytes:
                    whole = False
                    process.kill()
                    process.wait()
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
            self._running = None
            output.seek(0)
            return output.read(most_bytes).decode("utf-8", "replace"), whole
