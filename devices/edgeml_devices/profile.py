"""A hardware profile: what decides how fast a model is on a kind of device, with the source of every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DeviceProfile", "Range"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Smallest and largest value, both inclusive."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """A kind of device, or the machine at hand (``host``).

    Attributes:
        name: What ``--device`` and ``[budgets.NAME]`` call it.
        title: One line for people.
        arch: ``x86_64``, ``aarch64``, ``armv7l`` …
        cpu: Core type, such as ``cortex-a72``, or None for a class of machines that differ in it.
        boards: Beginnings of the board names that are this device; empty where machines have no board name.
        isa: CPU features a machine needs to count as this device.
        cores: Logical CPUs.
        clock_mhz: Highest sustained clock, or None when it is not known.
        memory_bytes: Memory built in.
        memory_usable_bytes: Memory the operating system has of it.
        memcpy_gb_per_s: Measured copy bandwidth of one core in 10⁹ bytes per second, or None when it is not known.
        memset_gb_per_s: Measured fill bandwidth of one core, likewise.
        threads: Threads to measure with, where neither the command nor the budget says.
        match_cores: Logical CPUs a machine may have to count as this device.
        match_memory_bytes: Usable memory it may have.
        sources: Where each figure comes from, by its key in the file.
    """

    name: str
    title: str
    arch: str
    cpu: str | None
    boards: tuple[str, ...]
    isa: tuple[str, ...]
    cores: int
    clock_mhz: float | None
    memory_bytes: int
    memory_usable_bytes: int
    memcpy_gb_per_s: float | None
    memset_gb_per_s: float | None
    threads: int
    match_cores: Range
    match_memory_bytes: Range
    sources: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "arch": self.arch,
            "cpu": self.cpu,
            "boards": list(self.boards),
            "isa": list(self.isa),
            "cores": self.cores,
            "clock_mhz": self.clock_mhz,
            "memory_bytes": self.memory_bytes,
            "memory_usable_bytes": self.memory_usable_bytes,
            "memcpy_gb_per_s": self.memcpy_gb_per_s,
            "memset_gb_per_s": self.memset_gb_per_s,
            "threads": self.threads,
            "match": {
                "cores": [self.match_cores.low, self.match_cores.high],
                "memory_bytes": [self.match_memory_bytes.low, self.match_memory_bytes.high],
            },
            "sources": dict(self.sources),
        }
