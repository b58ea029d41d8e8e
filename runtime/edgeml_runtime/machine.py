"""The machine this process runs on, as far as it decides how fast a model is here.

Limits of control groups (containers) and of the CPU affinity count: a process that may use two cores of 64 is on a
machine with two cores.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_runtime.isa import cpu_features

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["Machine", "probe_machine"]

# Implementer 0x41 (Arm): arch/arm64/include/asm/cputype.h of Linux, the names as QEMU and GCC spell them.
_ARM_PARTS = {
    "0xd03": "cortex-a53",
    "0xd04": "cortex-a35",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd09": "cortex-a73",
    "0xd0a": "cortex-a75",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd41": "cortex-a78",
    "0xd42": "cortex-a78ae",
    "0xd44": "cortex-x1",
    "0xc07": "cortex-a7",
}
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What decides the speed of a model here.

    Attributes:
        arch: ``x86_64``, ``aarch64``, ``armv7l`` …, as the interpreter was built.
        cpu: Core type on ARM (``cortex-a72``), model name on x86, ``unknown`` where the system does not say.
        board: The board's own name from the device tree, such as ``Raspberry Pi 4 Model B Rev 1.4``, or None.
        cores: Logical CPUs this process may use.
        isa: CPU features, sorted, by the names of :func:`edgeml_runtime.isa.cpu_features`.
        memory_bytes: Memory this process may use.
        clock_mhz: Highest clock the system states, or None.
    """

    arch: str
    cpu: str
    board: str | None
    cores: int
    isa: tuple[str, ...]
    memory_bytes: int
    clock_mhz: float | None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "arch": self.arch,
            "cpu": self.cpu,
            "board": self.board,
            "cores": self.cores,
            "isa": list(self.isa),
            "memory_bytes": self.memory_bytes,
            "clock_mhz": self.clock_mhz,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Machine:
        """The inverse of :meth:`to_dict`.

        Raises:
            KeyError: A key is missing.
        """
        return cls(
            arch=values["arch"],
            cpu=values["cpu"],
            board=values["board"],
            cores=values["cores"],
            isa=tuple(values["isa"]),
            memory_bytes=values["memory_bytes"],
            clock_mhz=values["clock_mhz"],
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0\n")
    except OSError:
        return None


def _fields(cpuinfo: str, key: str) -> list[str]:
    found = (line.partition(":") for line in cpuinfo.splitlines())
    return [value.strip() for name, _, value in found if name.strip() == key]


def _cpu_name(cpuinfo: str) -> str:
    if set(_fields(cpuinfo, "CPU implementer")) == {"0x41"}:
        parts = sorted(set(_fields(cpuinfo, "CPU part")))
        return "+".join(_ARM_PARTS.get(part, f"arm-{part}") for part in parts)
    names = _fields(cpuinfo, "model name")
    return names[0] if names else platform.processor() or "unknown"


def _clock_mhz(root: Path, cpuinfo: str) -> float | None:
    files = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq"))
    stated = [int(text) / 1000 for text in map(_read, files) if text and text.isdigit()]
    stated = stated or [float(text) for text in _fields(cpuinfo, "cpu MHz")]
    return max(stated) if stated else None


def _cgroup_folders(root: Path, controller: str) -> Iterator[tuple[bool, Path]]:
    """Folders that can limit this process, from its own group up, each with whether it is of version 2."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        second = number == "0" and controllers == ""
        if not second and controller not in controllers.split(","):
            continue
        tops = ["sys/fs/cgroup", "sys/fs/cgroup/unified"] if second else [f"sys/fs/cgroup/{controllers}"]
        for top in tops:
            folder = root / top / path.lstrip("/")
            while True:
                yield second, folder
                if folder == root / top:
                    break
                folder = folder.parent


def _memory_bytes(root: Path) -> int:
    meminfo = _fields(_read(root / "proc/meminfo") or "", "MemTotal")
    if meminfo:
        limits = [int(meminfo[0].split()[0]) * 1024]
    else:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for second, folder in _cgroup_folders(root, "memory"):
        text = _read(folder / ("memory.max" if second else "memory.limit_in_bytes"))
        if text and text.isdigit():
            limits.append(int(text))
    return min(limits)


def _cores(root: Path, affinity: Collection[int]) -> int:
    limits = [len(affinity)]
    for second, folder in _cgroup_folders(root, "cpu"):
        if second:
            quota, _, period = (_read(folder / "cpu.max") or "").partition(" ")
        else:
            quota, period = _read(folder / "cpu.cfs_quota_us") or "", _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit():
            limits.append(max(1, int(quota) // int(period)))
    return min(limits)


def _affinity() -> Collection[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def probe_machine(
    *,
    root: Path = Path("/"),
    arch: str | None = None,
    affinity: Collection[int] | None = None,
    isa: Collection[str] | None = None,
) -> Machine:
    """Look at the machine this process runs on.

    Args:
        root: Folder in which ``proc`` and ``sys`` lie.
        arch: Architecture, or None to ask the interpreter.
        affinity: Numbers of the CPUs this process may use, or None to ask the system.
        isa: CPU features, or None to ask the system.

    Returns:
        The machine, with the limits of control groups applied.
    """
    arch = (arch or platform.machine()).lower()
    cpuinfo = _read(root / "proc/cpuinfo") or ""
    board = _read(root / "proc/device-tree/model") or next(iter(_fields(cpuinfo, "Model")), None)
    return Machine(
        arch=_ARCHITECTURES.get(arch, arch),
        cpu=_cpu_name(cpuinfo),
        board=board,
        cores=_cores(root, _affinity() if affinity is None else affinity),
        isa=tuple(sorted(cpu_features() if isa is None else isa)),
        memory_bytes=_memory_bytes(root),
        clock_mhz=_clock_mhz(root, cpuinfo),
    )
