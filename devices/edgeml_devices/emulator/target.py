"""The emulator as a place to bench on, beside machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.emulator.guest_run import GUEST_LIMIT_S
from edgeml_devices.targets import Target
from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from edgeml_devices.emulator.layout import Layout

__all__ = ["BenchTarget", "EmulatorTarget", "timed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorTarget:
    """An emulated CPU on this machine.

    Attributes:
        cpu: QEMU's name of the CPU model, or None for the one the device profile names.
        layout: The cache, or None for the default one.
        limit_s: Seconds after which a guest is killed.
        layers: Whether to count each layer as well, which takes about as long again.
    """

    cpu: str | None = None
    layout: Layout | None = None
    limit_s: float = GUEST_LIMIT_S
    layers: bool = True


def timed(target: BenchTarget, purpose: str) -> Target:
    """The target as one that is timed.

    Args:
        target: Where to bench.
        purpose: What the times are for, in words.

    Returns:
        The same.

    Raises:
        InputError: Nothing is timed there.
    """
    if isinstance(target, EmulatorTarget):
        raise InputError(f"{purpose} needs times, and under emulation nothing is timed: name another target with --on")
    return target


BenchTarget = Target | EmulatorTarget
"""Where a bench can be made: on a machine that is timed, or under emulation."""
