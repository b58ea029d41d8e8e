"""The names of targets.

``local``, ``emulator[://CPU]``, ``ssh://[user@]host[:port][/path/of/python]`` and ``adb://serial[/path/of/python]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from edgeml_runtime.errors import InputError

__all__ = ["LOCAL", "AdbAddress", "EmulatorAddress", "SshAddress", "parse_target"]

LOCAL = "local"
_EMULATOR = "emulator"
_FORM = (
    f"expected {LOCAL}, {_EMULATOR}[://CPU], ssh://[user@]host[:port][/path/of/python] or adb://serial[/path/of/python]"
)
_ADB = "adb://"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAddress:
    """A device that is reached over ssh.

    Attributes:
        host: Name, address, or a ``Host`` of the user's ssh configuration.
        user: User there, or None for what the ssh configuration says.
        port: Port there, or None for what the ssh configuration says.
        python: The Python to measure with: a path, relative to the user's home, or ``python3`` as found there.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str = "python3"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.user is None else f"{self.user}@"
        port = "" if self.port is None else f":{self.port}"
        return f"ssh://{user}{host}{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbAddress:
    """A device that is reached over adb.

    Attributes:
        serial: Its name in ``adb devices``: a serial number, or ``host:port``.
        python: The Python to measure with: an absolute path, or ``python3`` as found there.
    """

    serial: str
    python: str = "python3"

    def __str__(self) -> str:
        return f"{_ADB}{self.serial}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorAddress:
    """An emulated CPU on this machine.

    Attributes:
        cpu: QEMU's name of the CPU model, or None for the one that the device profile names.
    """

    cpu: str | None = None

    def __str__(self) -> str:
        return _EMULATOR if self.cpu is None else f"{_EMULATOR}://{self.cpu}"


def _parse_emulator(text: str) -> EmulatorAddress:
    cpu = text.removeprefix(_EMULATOR).removeprefix("://")
    if text != _EMULATOR and not cpu:
        raise InputError(f"target {text!r}: {_FORM}; name a CPU model of QEMU, such as {_EMULATOR}://cortex-a76")
    if any(sign.isspace() or not sign.isprintable() for sign in cpu):
        raise InputError(f"target {text!r}: {_FORM}; a CPU model holds no spaces")
    return EmulatorAddress(cpu=cpu or None)


def _parse_adb(text: str) -> AdbAddress:
    serial, _, path = text.removeprefix(_ADB).partition("/")
    if not serial:
        raise InputError(f"unknown target {text!r}: {_FORM}; `adb devices` lists the serials")
    if serial.startswith("-") or any(sign.isspace() or not sign.isprintable() for sign in text):
        raise InputError(f"target {text!r}: {_FORM}; a serial must not begin with - or hold spaces")
    if path.startswith("~"):
        raise InputError(f"target {text!r}: {_FORM}; the path must begin at /, a shell of adb has no home folder")
    return AdbAddress(serial=serial, python=f"/{unquote(path)}" if path else "python3")


def _python(path: str) -> str:
    """``/~/venv/bin/python`` lies in the user's home, as in the addresses of git."""
    if path in {"", "/"}:
        return "python3"
    return path.removeprefix("/~/")


def parse_target(text: str) -> SshAddress | AdbAddress | EmulatorAddress | None:
    """Read the name of a target.

    Args:
        text: What stands after ``--on``.

    Returns:
        The address, or None for the machine at hand.

    Raises:
        InputError: It is none.
    """
    if text == LOCAL:
        return None
    if text == _EMULATOR or text.startswith(f"{_EMULATOR}://"):
        return _parse_emulator(text)
    if text.startswith(_ADB):
        return _parse_adb(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InputError(f"target {text!r}: {_FORM}; {error}") from error
    host, user = parts.hostname, parts.username
    if parts.scheme != "ssh" or not host:
        raise InputError(f"unknown target {text!r}: {_FORM}")
    if parts.password is not None or parts.query or parts.fragment:
        raise InputError(f"target {text!r}: {_FORM}; log in by key, not by password")
    if host.startswith("-") or (user or "").startswith("-") or any(not sign.isprintable() for sign in text):
        raise InputError(f"target {text!r}: {_FORM}; a name must not begin with - or hold control characters")
    written = parts.netloc.rpartition("@")[2]
    spelled = written[: len(host)] if written.lower().startswith(host) else host  # a Host entry may have capitals
    return SshAddress(
        host=spelled, user=None if user is None else unquote(user), port=port, python=_python(unquote(parts.path))
    )
