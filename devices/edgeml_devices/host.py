"""The machine at hand as a profile, and whether a machine is the device a profile describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.profile import DeviceProfile, Range
from edgeml_runtime.machine import Machine, probe_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HOST", "Match", "host_profile", "match", "probe_host"]

HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Whether figures of a machine count as figures of a device.

    Attributes:
        ok: Whether they do.
        reasons: Every difference, in words; empty where they do.
    """

    ok: bool
    reasons: tuple[str, ...]


def host_profile(machine: Machine) -> DeviceProfile:
    """The profile ``host``, which describes exactly the given machine.

    Args:
        machine: The machine at hand.

    Returns:
        Its profile; what would have to be measured, such as bandwidth, is not known.
    """
    probed = "probed on the machine itself"
    figures = ("cpu", "boards", "isa", "cores", "clock_mhz", "memory_bytes", "memory_usable_bytes")
    return DeviceProfile(
        name=HOST,
        title=machine.board or machine.cpu,
        arch=machine.arch,
        cpu=machine.cpu,
        boards=(machine.board,) if machine.board else (),
        isa=machine.isa,
        cores=machine.cores,
        clock_mhz=machine.clock_mhz,
        memory_bytes=machine.memory_bytes,
        memory_usable_bytes=machine.memory_bytes,
        memcpy_gb_per_s=None,
        memset_gb_per_s=None,
        fp32_gmac_per_s=None,
        int8_gmac_per_s=None,
        threads=1,
        runtimes=(),
        emulator_cpu=None,
        match_cores=Range(low=machine.cores, high=machine.cores),
        match_memory_bytes=Range(low=machine.memory_bytes, high=machine.memory_bytes),
        references=(),
        sources=dict.fromkeys(figures, probed) | {"threads": "a choice, the same as in the other profiles"},
    )


def probe_host() -> DeviceProfile:
    """The profile ``host`` of the machine this process runs on, with the limits of its control groups applied."""
    return host_profile(probe_machine())


def _differences(profile: DeviceProfile, machine: Machine) -> Iterator[str]:
    if machine.arch != profile.arch:
        yield f"architecture {profile.arch} is needed, this machine is {machine.arch}"
    if profile.cpu is not None and machine.cpu != profile.cpu:
        yield f"cores of type {profile.cpu} are needed, this machine has {machine.cpu}"
    if profile.boards and not (machine.board or "").startswith(profile.boards):
        found = f"is a {machine.board}" if machine.board else "names no board"
        yield f"the board must be a {' or a '.join(profile.boards)}, this machine {found}"
    missing = sorted(set(profile.isa) - set(machine.isa))
    if missing:
        yield f"CPU features {', '.join(missing)} are missing"
    if machine.cores not in profile.match_cores:
        low, high = profile.match_cores.low, profile.match_cores.high
        needed = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        yield f"{needed} cores are needed, this process may use {machine.cores}"
    if profile.match_memory_bytes is not None and machine.memory_bytes not in profile.match_memory_bytes:
        low, high = profile.match_memory_bytes.low / 1e9, profile.match_memory_bytes.high / 1e9
        usable = machine.memory_bytes / 1e9
        yield f"{low:.1f} to {high:.1f} GB of memory are needed, this process may use {usable:.1f} GB"


def match(profile: DeviceProfile, machine: Machine) -> Match:
    """Decide whether figures of ``machine`` count as figures of the device ``profile`` describes.

    Architecture, core type, board, CPU features, cores and memory must all fit. Cores and architecture alone would not
    do: a cloud server with four Cortex-A72 cores is no Raspberry Pi 4. ``host`` matches always.

    Args:
        profile: The device.
        machine: The machine.

    Returns:
        The decision with every reason against it.
    """
    reasons = () if profile.name == HOST else tuple(_differences(profile, machine))
    return Match(ok=not reasons, reasons=reasons)
