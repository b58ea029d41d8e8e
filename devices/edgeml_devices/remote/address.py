"""The names of targets: ``local`` and ``ssh://[user@]host[:port][/path/of/python]``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from edgeml_runtime.errors import InputError

__all__ = ["LOCAL", "SshAddress", "parse_target"]

LOCAL = "local"
_FORM = f"expected {LOCAL} or ssh://[user@]host[:port][/path/of/python]"


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


def _python(path: str) -> str:
    """``/~/venv/bin/python`` lies in the user's home, as in the addresses of git."""
    if path in {"", "/"}:
        return "python3"
    return path.removeprefix("/~/")


def parse_target(text: str) -> SshAddress | None:
    """Read the name of a target.

    Args:
        text: What stands after ``--on``.

    Returns:
        The address, or None for the machine at hand.

    Raises:
        InputError: It is neither.
    """
    if text == LOCAL:
        return None
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
