"""A profile of the machine at hand, with what can be measured of it measured."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from edgeml_devices.ceilings import Ceiling, measure_ceilings
from edgeml_devices.host import HOST, host_profile
from edgeml_devices.profile import Range
from edgeml_devices.profile_files import shipped_profiles
from edgeml_runtime.errors import InputError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.progress import ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeml_devices.profile import DeviceProfile
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.progress import Progress

__all__ = ["Probe", "probe_profile", "suggested_name"]

_X86 = (
    "sse4_1 sse4_2 avx avx2 fma f16c avx_vnni avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni avx512_bf16 "
    "avx512_fp16 amx_tile amx_int8 amx_bf16"
)
_ARM = "neon vfpv3 vfpv4 asimd fp16 dotprod asimdrdm asimdfhm i8mm bf16 sve sve2 svei8mm svebf16 sme sme2"
KERNEL_FEATURES = frozenset(f"{_X86} {_ARM}".split())
"""CPU features that inference kernels choose by: MLAS (onnxruntime/core/mlas/lib/platform.cpp) and XNNPACK
(src/configs/hardware-config.c). The others come and go with kernels and hypervisors and say nothing of speed."""

RUNTIME_PACKAGES = ("ai-edge-litert", "onnxruntime", "openvino", "tensorflow", "tflite-runtime")
MEMORY_TOLERANCE = 0.05
"""What the operating system has of the memory differs by some percent from one kernel to the next."""

_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*", re.IGNORECASE)
_MARKS = re.compile(r"\((?:r|tm|c)\)|\bcpu\b|\bprocessor\b|@.*", re.IGNORECASE)
_LONGEST_NAME = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was found out about a machine.

    Attributes:
        profile: Its profile.
        ceilings: What was measured, with every round.
    """

    profile: DeviceProfile
    ceilings: tuple[Ceiling, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"profile": self.profile.to_dict(), "measured": [ceiling.to_dict() for ceiling in self.ceilings]}


def suggested_name(machine: Machine) -> str:
    """A name for a machine's profile, from what its board or its processor calls itself.

    Args:
        machine: The machine.

    Returns:
        Such as ``raspberry-pi-5-model-b-rev-1-0``.
    """
    words = re.findall(r"[a-z0-9]+", _MARKS.sub(" ", machine.board or machine.cpu).lower())
    name = ""
    for word in words:
        if len(name) + len(word) >= _LONGEST_NAME:
            break
        name = f"{name}-{word}" if name else word
    name = name or machine.arch.lower().replace("_", "-")
    return f"{name}-here" if name in (HOST, *shipped_profiles()) else name


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"expected a name of letters and digits with dashes or underscores between, found {name!r}")
    if name in (HOST, *shipped_profiles()):
        raise InputError(f"the profile name {name!r} is taken by one that comes along; choose another")


def _installed(packages: Iterable[str]) -> tuple[str, ...]:
    found = []
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        found.append(package)
    return tuple(found)


def describe_machine(
    name: str, machine: Machine, ceilings: Sequence[Ceiling], runtimes: Sequence[str], when: datetime
) -> DeviceProfile:
    """Put a profile together from what is known.

    Args:
        name: The profile's name.
        machine: What the system says.
        ceilings: What was measured.
        runtimes: Packages that are installed.
        when: The time of measuring.

    Returns:
        A profile that the machine counts as, also after an update of its kernel, and hardly any other machine.
    """
    day = f"{when:%Y-%m-%d}"
    stated = f"as the system stated it on {day}"
    values: dict[str, Any] = {ceiling.name: float(f"{ceiling.value:.4g}") for ceiling in ceilings}
    sources = {ceiling.name: f"measured on {day}: {ceiling.describe()}" for ceiling in ceilings}
    profile = replace(
        host_profile(machine),
        name=name,
        cpu=None if machine.cpu == "unknown" else machine.cpu,
        clock_mhz=None if machine.clock_mhz is None else round(machine.clock_mhz),
        isa=tuple(feature for feature in machine.isa if feature in KERNEL_FEATURES),
        runtimes=tuple(runtimes),
        match_memory_bytes=Range(
            low=round(machine.memory_bytes * (1 - MEMORY_TOLERANCE)),
            high=round(machine.memory_bytes * (1 + MEMORY_TOLERANCE)),
        ),
        memory_bytes=None,
        **values,
    )
    figures = ("cpu", "boards", "isa", "cores", "clock_mhz", "memory_usable_bytes")
    sources |= {figure: stated for figure in figures if getattr(profile, figure) not in (None, ())}
    sources |= {"isa": f"{stated}, those that inference kernels choose by"}
    sources |= {"threads": "a choice, the same as in the profiles that come along"}
    sources |= {"runtimes": f"installed on {day}"} if runtimes else {}
    return replace(profile, sources=sources)


def probe_profile(name: str | None = None, *, progress: Progress = silent) -> Probe:
    """Look at the machine this process runs on, and measure it; takes about three seconds.

    Memory is what the process may use, control groups and CPU affinity considered; how much is built in, the system
    does not say.

    Args:
        name: What to call the profile, or None to take the machine's own name.
        progress: Told when measuring begins and ends.

    Returns:
        The profile and the measurements.

    Raises:
        InputError: The name is taken, or none that a profile can have.
        TargetError: The measuring process crashed or hung.
    """
    machine = probe_machine()
    name = suggested_name(machine) if name is None else name
    _check_name(name)
    progress(ProgressEvent(step="measure the machine", done=0, total=1))
    ceilings = measure_ceilings()
    progress(ProgressEvent(step="measure the machine", done=1, total=1))
    profile = describe_machine(name, machine, ceilings, _installed(RUNTIME_PACKAGES), datetime.now(UTC))
    return Probe(profile=profile, ceilings=ceilings)
