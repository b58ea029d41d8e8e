"""A way to a device: how the agent's bootstrap is started there, and what the end of the connection means."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AGENT_BANNER", "Link", "SessionLimits", "agent_command", "explain_no_python", "last_line"]

AGENT_BANNER = "edgeml-agent"

# The oldest Pythons have to understand it, and sh, csh and fish as well. It says which Python this is before it takes
# the agent's text: a syntax error would tell less.
_BOOTSTRAP = (
    "import sys;sys.path[:]=[p for p in sys.path if p];"
    f'sys.stdout.write("{AGENT_BANNER} %d.%d\\n"%sys.version_info[:2]);sys.stdout.flush();'
    "i=sys.stdin.buffer;exec(i.read(int(i.readline())))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of a connection, whatever it is made of.

    Attributes:
        connect_s: Seconds within which it is established.
        answer_s: Seconds within which a request is answered that does not measure, the transfer of a file apart.
        beat_s: Seconds between the driver's own signs of life.
        lost_after_s: Seconds without one after which the device cleans up.
    """

    connect_s: int = 15
    answer_s: float = 120.0
    beat_s: float = 5.0
    lost_after_s: int = 60


class Link(Protocol):
    """What a session needs to know of the way to a device."""

    @property
    def name(self) -> str:
        """The target's name, such as ``ssh://pi@192.168.0.7``."""
        ...

    @property
    def python(self) -> str:
        """The Python to measure with."""
        ...

    @property
    def limits(self) -> SessionLimits:
        """Bounds of the connection."""
        ...

    @property
    def silent_s(self) -> float | None:
        """Seconds of silence after which the device counts as lost, or None where the client itself looks after it."""
        ...

    @property
    def no_client(self) -> str:
        """What to say where the client program is not installed on this machine."""
        ...

    def command(self) -> list[str]:
        """The words that start the agent's bootstrap on the device, with a clean channel on standard input and output.

        Raises:
            TargetError: It is known already that the device cannot be reached.
        """
        ...

    def explain_end(self, status: int | None, messages: str, *, python_ran: bool) -> str:
        """Why a connection ended, in words, beginning with the name.

        Args:
            status: How the client ended, or None where it had to be killed.
            messages: What was written to standard error, by the client or on the device.
            python_ran: Whether the agent had answered before.
        """
        ...


def agent_command(python: str) -> str:
    """The shell command that becomes the agent's bootstrap.

    Args:
        python: Path of an interpreter, or its name.
    """
    return f"exec {shlex.quote(python)} -B -c {shlex.quote(_BOOTSTRAP)}"


def last_line(messages: str) -> str:
    """The last line that says something, or that there is none.

    Args:
        messages: What was written to standard error.
    """
    lines = [line.strip() for line in messages.splitlines() if line.strip() and not line.startswith("Warning: ")]
    return lines[-1] if lines else "no message"


def explain_no_python(name: str, python: str, status: int | None, messages: str) -> str:
    """Why the device's Python did not start.

    Args:
        name: The target.
        python: What was to be started.
        status: 126 or 127 where the shell could not run it (POSIX.1-2017, 2.8.2), else its own.
        messages: What was written to standard error.
    """
    last = last_line(messages)
    if status in {126, 127}:
        return f"{name}: there is no {python} ({last}); name one: {name}/path/of/python"
    return f"{name}: {python} did not start, status {status} ({last})"
