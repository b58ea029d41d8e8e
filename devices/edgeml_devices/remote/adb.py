"""The system's adb client: which devices it knows, its command line, and what its messages mean.

Written for the client of Android platform-tools 29 (Debian 12) and its documentation, adb(1).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.remote.link import SessionLimits, agent_command, explain_no_python, last_line
from edgeml_runtime.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.remote.address import AdbAddress

__all__ = ["NO_ADB", "AdbLimits", "AdbLink", "adb_words", "check_device", "parse_devices"]

NO_ADB = "adb is not installed here: apt install adb (Debian, Ubuntu), or Android's platform-tools elsewhere"
# Without it input, output and messages go through one terminal, which alters the bytes (shell_protocol.h of adb).
_SHELL_PROTOCOL = "shell_v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbLimits(SessionLimits):
    """Bounds of a connection over adb.

    Attributes:
        silent_s: Seconds without a sign of life after which the device counts as lost: adb notices a cable that is
            pulled at once, and a device that is out of reach of the radio after many minutes.
    """

    silent_s: float = 60.0


def adb_words(serial: str, *words: str) -> list[str]:
    """The command line of the client for one device.

    Args:
        serial: The device, as ``adb devices`` names it.
        *words: What to do.
    """
    return ["adb", "-s", serial, *words]


def _ask(name: str, words: list[str], within_s: float) -> str:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise TargetError(NO_ADB) from error
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"{name}: `{' '.join(words)}` gave no answer within {within_s:g} s") from error
    if done.returncode != 0:
        raise TargetError(f"{name}: cannot be reached ({last_line(done.stderr + done.stdout)})")
    return done.stdout


def parse_devices(text: str) -> dict[str, str]:
    """The states of the devices by their serials.

    Args:
        text: What ``adb devices`` prints: a line of its own, then ``serial``, a tab and the state per line; the daemon
            may have said that it was started.

    Returns:
        The states, such as ``device``, ``offline`` or ``unauthorized``.
    """
    rows = (line.partition("\t") for line in text.splitlines())
    return {serial.strip(): state.strip() for serial, tab, state in rows if tab}


def _explain_state(serial: str, devices: Mapping[str, str]) -> str | None:
    """Why a device cannot be used, or None where it can."""
    state = devices.get(serial)
    if state is None:
        others = ", ".join(f"{other} ({its})" for other, its in devices.items()) or "none"
        wireless = f"; over the network: `adb connect {serial}`" if ":" in serial else ""
        return f"there is no device {serial}; adb knows: {others}{wireless}"
    if state in {"unauthorized", "authorizing"}:
        return (
            "the device has not allowed this computer: unlock its screen, accept the question about debugging, and "
            "bench again"
        )
    if state == "offline":
        return f"the device is offline: plug it in again, or `adb -s {serial} reconnect`"
    if state.startswith("no permissions"):
        return f"this user may not use the device ({state})"
    if state != "device":
        return f"the device is in the state {state}: start its system, and bench again"
    return None


def check_device(name: str, serial: str, *, within_s: float) -> None:
    """See that the device is there and can be used.

    Args:
        name: The target.
        serial: The device.
        within_s: Seconds within which adb has to answer; it may have to start its server.

    Raises:
        TargetError: There is no such device, adb is not installed, or the device has too old a daemon.
    """
    problem = _explain_state(serial, parse_devices(_ask(name, ["adb", "devices"], within_s)))
    if problem is not None:
        raise TargetError(f"{name}: {problem}")
    if _SHELL_PROTOCOL not in _ask(name, adb_words(serial, "features"), within_s).split():
        raise TargetError(
            f"{name}: its adb daemon does not keep input, output and exit status apart (feature {_SHELL_PROTOCOL}), "
            "which Android 7 and later do; where the device has an ssh server, use ssh://"
        )


class AdbLink:
    """The way to a device over adb.

    Args:
        address: The device.
        limits: Bounds of the connection, or None for the usual ones.
    """

    no_client = NO_ADB

    def __init__(self, address: AdbAddress, *, limits: AdbLimits | None = None) -> None:
        self.name, self.serial, self.python = str(address), address.serial, address.python
        self.limits = limits or AdbLimits()
        self.silent_s: float | None = self.limits.silent_s

    def command(self) -> list[str]:
        """The words that start the agent's bootstrap on the device.

        Raises:
            TargetError: The device is not there, or cannot be used (:func:`check_device`).
        """
        check_device(self.name, self.serial, within_s=self.limits.connect_s)
        return adb_words(self.serial, "shell", "-T", agent_command(self.python))

    def explain_end(self, status: int | None, messages: str, *, python_ran: bool) -> str:
        """Why a connection ended; adb itself ends with 0 and no message where the device is gone."""
        last = last_line(messages)
        if python_ran or (status == 0 and not messages):
            return f"{self.name}: the connection was lost ({last})"
        if status == 1 and last.startswith(("error: ", "adb: ")):
            return f"{self.name}: cannot be reached ({last})"
        text = explain_no_python(self.name, self.python, status, messages)
        return f"{text}; --runner PATH measures a bare model without Python" if status in {126, 127} else text
