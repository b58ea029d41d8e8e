"""The system's OpenSSH client: its command line, and what its messages mean."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_devices.remote.address import SshAddress

__all__ = ["SshLimits", "explain_end", "ssh_command"]

AGENT_BANNER = "edgeml-agent"

# The oldest Pythons have to understand it, and sh, csh and fish as well. It says which Python this is before it takes
# the agent's text: a syntax error would tell less.
_BOOTSTRAP = (
    "import sys;sys.path[:]=[p for p in sys.path if p];"
    f'sys.stdout.write("{AGENT_BANNER} %d.%d\\n"%sys.version_info[:2]);sys.stdout.flush();'
    "i=sys.stdin.buffer;exec(i.read(int(i.readline())))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshLimits:
    """Bounds of a connection.

    Attributes:
        connect_s: Seconds within which it is established.
        alive_s: Seconds of silence after which the device is asked for a sign of life.
        alive_count: Unanswered signs after which it counts as dead.
        answer_s: Seconds within which a request is answered that does not measure, the transfer of a file apart.
        beat_s: Seconds between the driver's own signs of life.
        lost_after_s: Seconds without one after which the device cleans up.
    """

    connect_s: int = 15
    alive_s: int = 10
    alive_count: int = 3
    answer_s: float = 120.0
    beat_s: float = 5.0
    lost_after_s: int = 60


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
    return [*words, "--", address.host, f"exec {shlex.quote(address.python)} -B -c {shlex.quote(_BOOTSTRAP)}"]


def _manual(address: SshAddress) -> str:
    """The command with which a person logs in."""
    port = "" if address.port is None else f"-p {address.port} "
    user = "" if address.user is None else f"{address.user}@"
    return f"ssh {port}{user}{address.host}"


def _known_as(address: SshAddress) -> str:
    return address.host if address.port in {None, 22} else f"[{address.host}]:{address.port}"


def _refusal(address: SshAddress, messages: str) -> str | None:
    """What ssh's own messages mean, or None for one that speaks for itself."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in messages or "has changed and you have requested" in messages:
        return (
            "the host key is not the one that known_hosts has. Someone may be in between, or the system there was "
            "installed anew: compare fingerprints at the device itself (ssh-keygen -lf "
            f"/etc/ssh/ssh_host_ed25519_key.pub) before you forget the old key (ssh-keygen -R '{_known_as(address)}')"
        )
    if "Host key verification failed" in messages:
        return (
            f"the host key is not known: log in once with `{_manual(address)}`, and compare the fingerprint it shows "
            "with the device's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)"
        )
    if "Permission denied" in messages:
        return f"the device accepts none of your keys: `ssh-copy-id` installs one; `{_manual(address)}` has to log in"
    return None


def explain_end(address: SshAddress, status: int | None, messages: str, *, python_ran: bool) -> str:
    """Why a connection ended, in words.

    Args:
        address: The device.
        status: How ``ssh`` ended: 255 for its own errors, else the status of the command on the device; None where it
            had to be killed.
        messages: What was written to standard error, by ssh or on the device.
        python_ran: Whether the agent had answered before.

    Returns:
        The text, with the address.
    """
    lines = [line.strip() for line in messages.splitlines() if line.strip() and not line.startswith("Warning: ")]
    last = lines[-1] if lines else "no message"
    if python_ran:
        return f"{address}: the connection was lost ({last})"
    if status == 255:
        return f"{address}: {_refusal(address, messages) or f'cannot be reached ({last})'}"
    if status in {126, 127}:
        return f"{address}: there is no {address.python} ({last}); name one: {address}/path/of/python"
    return f"{address}: {address.python} did not start, status {status} ({last})"
