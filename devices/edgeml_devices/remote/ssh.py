"""The system's OpenSSH client: its command line, and what its messages mean."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.remote.link import SessionLimits, agent_command, explain_no_python, last_line

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_devices.remote.address import SshAddress

__all__ = ["SshLimits", "SshLink", "explain_end", "ssh_command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshLimits(SessionLimits):
    """Bounds of a connection over ssh.

    Attributes:
        alive_s: Seconds of silence after which the device is asked for a sign of life.
        alive_count: Unanswered signs after which it counts as dead.
    """

    alive_s: int = 10
    alive_count: int = 3


def ssh_command(address: SshAddress, limits: SshLimits, *, config: Path | None = None) -> list[str]:
    """The words that start the agent's bootstrap on the device.

    With ``BatchMode`` an unknown host key is refused and not asked about, as ``StrictHostKeyChecking=yes`` does, unless
    the user's configuration says otherwise; a changed one is refused as well (ssh_config(5)).

    Args:
        address: The device.
        limits: Bounds of the connection.
        config: ssh configuration in place of the user's, or None.

    Returns:
        Words of the command line.
    """
    options = {
        "BatchMode": "yes",
        "ClearAllForwardings": "yes",
        "ConnectTimeout": str(limits.connect_s),
        "ControlMaster": "no",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        "ServerAliveCountMax": str(limits.alive_count),
        "ServerAliveInterval": str(limits.alive_s),
    }
    words = ["ssh", "-T"] if config is None else ["ssh", "-T", "-F", str(config)]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    if address.port is not None:
        words += ["-p", str(address.port)]
    if address.user is not None:
        words += ["-l", address.user]
    return [*words, "--", address.host, agent_command(address.python)]


def _manual(address: SshAddress, config: Path | None) -> str:
    """The command with which a person logs in."""
    words = ["ssh"] if config is None else ["ssh", "-F", shlex.quote(str(config))]
    if address.port is not None:
        words += ["-p", str(address.port)]
    return " ".join([*words, address.host if address.user is None else f"{address.user}@{address.host}"])


def _forget(address: SshAddress, messages: str) -> str:
    """The command that forgets the old host key: under the name and in the file that ssh itself tells.

    Configuration may give the host another name and port, and name another file (``HostName``, ``HostKeyAlias``,
    ``UserKnownHostsFile`` of ssh_config(5)).
    """
    name = re.search(r"^Host key for (\S+) has changed", messages, re.MULTILINE)
    file = re.search(r"^Offending .* key in (.+):\d+\s*$", messages, re.MULTILINE)
    usual = address.host if address.port in {None, 22} else f"[{address.host}]:{address.port}"
    words = ["ssh-keygen"] if file is None else ["ssh-keygen", "-f", shlex.quote(file[1])]
    return " ".join([*words, "-R", shlex.quote(usual if name is None else name[1])])


def _refusal(address: SshAddress, messages: str, config: Path | None) -> str:
    """What ssh's own messages mean, and what to do."""
    manual = _manual(address, config)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in messages or "has changed and you have requested" in messages:
        return (
            "the host key is not the one that known_hosts has. Someone may be in between, or the system there was "
            "installed anew: compare fingerprints at the device itself (ssh-keygen -lf "
            f"/etc/ssh/ssh_host_ed25519_key.pub) before you forget the old key ({_forget(address, messages)})"
        )
    if "Host key verification failed" in messages:
        return (
            f"the host key is not known: log in once with `{manual}`, and compare the fingerprint it shows "
            "with the device's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)"
        )
    if "Permission denied" in messages:
        return f"the device accepts none of your keys: `ssh-copy-id` installs one; `{manual}` has to log in"
    return f"cannot be reached ({last_line(messages)}): `{manual}` has to log in"


def explain_end(
    address: SshAddress, status: int | None, messages: str, *, python_ran: bool, config: Path | None = None
) -> str:
    """Why a connection ended, in words.

    Args:
        address: The device.
        status: How ``ssh`` ended: 255 for its own errors, else the status of the command on the device; None where it
            had to be killed.
        messages: What was written to standard error, by ssh or on the device.
        python_ran: Whether the agent had answered before.
        config: ssh configuration in place of the user's, or None.

    Returns:
        The text, with the address.
    """
    if python_ran:
        return f"{address}: the connection was lost ({last_line(messages)})"
    if status == 255:
        return f"{address}: {_refusal(address, messages, config)}"
    return explain_no_python(str(address), address.python, status, messages)


class SshLink:
    """The way to a device over ssh.

    Args:
        address: The device.
        config: ssh configuration in place of the user's, or None.
        limits: Bounds of the connection, or None for the usual ones.
    """

    no_client = "ssh is not installed here: apt install openssh-client"
    silent_s = None  # ssh itself asks for signs of life

    def __init__(self, address: SshAddress, *, config: Path | None = None, limits: SshLimits | None = None) -> None:
        self._address, self._config = address, config
        self.name, self.python, self.limits = str(address), address.python, limits or SshLimits()

    def command(self) -> list[str]:
        """The words that start the agent's bootstrap on the device."""
        return ssh_command(self._address, self.limits, config=self._config)

    def explain_end(self, status: int | None, messages: str, *, python_ran: bool) -> str:
        """Why a connection ended, in words (:func:`explain_end`)."""
        return explain_end(self._address, status, messages, python_ran=python_ran, config=self._config)
