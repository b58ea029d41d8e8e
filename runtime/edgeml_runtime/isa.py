"""Instruction sets of this CPU, by the names that manifests and device profiles use.

Names are those of ``/proc/cpuinfo`` on Linux (``flags`` on x86, ``Features`` on ARM), where ARM's half precision and
dot product also go by the names of the field, ``fp16`` and ``dotprod``.
"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["cpu_features", "parse_cpuinfo"]

_LINE_NAMES = ("flags", "Features")

# Documentation/arch/arm64/elf_hwcaps.rst of Linux: asimddp is FEAT_DotProd; FEAT_FP16 shows as fphp and asimdhp.
_COMMON_NAMES = {"asimddp": "dotprod", "asimdhp": "fp16"}

# Every Apple M1 and later (Armv8.5-A): Apple Silicon CPU Optimization Guide, chapter 2.
_APPLE_SILICON = frozenset({"asimd", "fp16", "dotprod"})


def cpu_features(cpuinfo: str = "/proc/cpuinfo") -> frozenset[str]:
    """Ask the system what this CPU can do.

    Args:
        cpuinfo: The file to read on Linux.

    Returns:
        Names of features. Empty where the system does not say, as on Windows: a variant that requires a feature is then
        not used.
    """
    if sys.platform == "darwin":
        return _APPLE_SILICON if platform.machine() == "arm64" else frozenset()
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as lines:
            return parse_cpuinfo(lines)
    except OSError:
        return frozenset()


def parse_cpuinfo(lines: Iterable[str]) -> frozenset[str]:
    """Take the features of the first CPU that states any; Linux states what all CPUs have in common.

    Args:
        lines: Content of ``/proc/cpuinfo``.

    Returns:
        Names of features.
    """
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in _LINE_NAMES:
            words = value.split()
            return frozenset(words) | {_COMMON_NAMES[word] for word in words if word in _COMMON_NAMES}
    return frozenset()
