"""A hardware profile: what decides how fast a model is on a kind of device, with the source of every figure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.emulator.classes import ClassCounts

__all__ = ["DeviceProfile", "Range", "ReferenceLatency", "Statistic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Smallest and largest value, both inclusive."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def to_list(self) -> list[float]:
        """The same as JSON values."""
        return [self.low, self.high]


class Statistic(Enum):
    """Which of many measured times a published figure is."""

    MIN = "min"
    MEDIAN = "median"
    MEAN = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLatency:
    """What somebody measured on the device with a well-known network: for orientation, never for a verdict.

    Attributes:
        model: The network, such as ``mobilenet-v1``; width 1.0 and 224 × 224 pixels where it does not say otherwise.
        precision: ``fp32`` or ``int8``, or None where the source does not say.
        runtime: The inference library, such as ``xnnpack``.
        threads: Threads it used, or None where the source does not say.
        latency_ms: The time of one inference at batch 1.
        statistic: Which of the measured times that is, or None where that is not known.
        source: Where the figure was published.
        file_bytes: Size of the network's file, or None for a network whose instructions come along.
        instructions: Those of one inference on such a core, which estimates are calibrated with, or None likewise.
    """

    model: str
    precision: str | None
    runtime: str
    threads: int | None
    latency_ms: float
    statistic: Statistic | None
    source: str
    file_bytes: int | None = None
    instructions: ClassCounts | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        statistic = None if self.statistic is None else self.statistic.value
        instructions = None if self.instructions is None else self.instructions.to_dict()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"statistic": statistic, "instructions": instructions}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """A kind of device, or the machine at hand (``host``).

    Attributes:
        name: What ``--device`` and ``[budgets.NAME]`` call it.
        title: One line for people.
        arch: ``x86_64``, ``aarch64``, ``armv7l`` …
        cpu: Core type, such as ``cortex-a72``, several in alphabetical order with plus signs between, or None for a
            class of machines that differ in it.
        boards: Beginnings of the board names that are this device; empty where machines have no board name.
        isa: CPU features a machine needs to count as this device.
        cores: Logical CPUs.
        clock_mhz: Highest sustained clock of the fastest cores, or None when it is not known.
        memory_bytes: Memory built in, or None where devices of this kind differ in it.
        memory_usable_bytes: Memory the operating system has of it, or None when it is not known.
        memcpy_gb_per_s: Measured copy bandwidth of one core in 10⁹ bytes copied per second, or None when not known.
        memset_gb_per_s: Measured fill bandwidth of one core, likewise.
        fp32_gmac_per_s: Measured rate of one core in 10⁹ multiply-accumulates of float32 per second, or None.
        int8_gmac_per_s: The same for 8-bit integers summed up in 32 bits.
        threads: Threads to measure with, where neither the command nor the budget says.
        runtimes: Packages of inference runtimes that have a build for the device.
        emulator_cpu: The CPU model of QEMU whose instruction sets come nearest, or None where there is none.
        match_cores: Logical CPUs a machine may have to count as this device.
        match_memory_bytes: Usable memory it may have, or None where it does not matter.
        references: Published latencies.
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
    memory_bytes: int | None
    memory_usable_bytes: int | None
    memcpy_gb_per_s: float | None
    memset_gb_per_s: float | None
    fp32_gmac_per_s: float | None
    int8_gmac_per_s: float | None
    threads: int
    runtimes: tuple[str, ...]
    emulator_cpu: str | None
    match_cores: Range
    match_memory_bytes: Range | None
    references: tuple[ReferenceLatency, ...]
    sources: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, with the keys of the file; ``null`` where it states nothing."""
        memory = self.match_memory_bytes
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
            "fp32_gmac_per_s": self.fp32_gmac_per_s,
            "int8_gmac_per_s": self.int8_gmac_per_s,
            "threads": self.threads,
            "runtimes": list(self.runtimes),
            "emulator_cpu": self.emulator_cpu,
            "match": {
                "cores": self.match_cores.to_list(),
                "memory_bytes": None if memory is None else memory.to_list(),
            },
            "references": [reference.to_dict() for reference in self.references],
            "sources": dict(self.sources),
        }
