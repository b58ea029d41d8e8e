"""What a machine was doing while it measured: other work, clock, temperature, throttling, where the system tells.

A slow measurement on a busy or throttled machine is no evidence against a model. What other processes took is the CPU
time of the whole system (``/proc/stat``, proc(5)), time stolen by the hypervisor included, less that of the measuring
processes themselves (``times(2)``).
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["BUSY_SHARE", "Conditions", "Watch", "calm", "disturbance"]

BUSY_SHARE = 0.10
"""Other work above this share of the cores: a background of a few per cent is what idle desktops and boards show."""

_SAMPLE_S = 0.5
# Bits 0 to 3: under-voltage, clock capped, throttled, soft temperature limit, each of them now (raspberrypi.com,
# documentation of vcgencmd get_throttled). The higher bits say the same of the time since the board was started.
_THROTTLED_NOW = 0xF
_PI_FIRMWARE = "sys/devices/platform/*/*:firmware/get_throttled"
_INTEL_COUNTS = "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
_COOLING = "sys/class/thermal/cooling_device*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The machine during one stretch of measuring; None for what the system does not tell.

    Attributes:
        other_share: CPU time of other processes and of other virtual machines, as a share of all cores this process
            may use; in [0, 1].
        clock_mhz: Median of the clocks read, over time and cores.
        temperature_c: Highest temperature of any zone.
        throttled: Whether heat or voltage held the clock down at some time.
        governor: How the clock is chosen, such as ``performance`` or ``schedutil``.
    """

    other_share: float | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    governor: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "other_share": self.other_share,
            "clock_mhz": self.clock_mhz,
            "temperature_c": self.temperature_c,
            "throttled": self.throttled,
            "governor": self.governor,
        }


def calm(conditions: Conditions) -> bool:
    """Whether nothing is known to have slowed the measurement.

    Args:
        conditions: The machine meanwhile.
    """
    return (conditions.other_share or 0.0) <= BUSY_SHARE and not conditions.throttled


def disturbance(conditions: Iterable[Conditions]) -> str | None:
    """What slowed more than half of the stretches, in words, or None.

    The quieter half of the rounds decides whether a limit is exceeded (:mod:`edgeml_devices.intervals`); that half
    needs to be quiet.

    Args:
        conditions: One for each stretch of measuring.
    """
    found = list(conditions)
    if sum(not calm(one) for one in found) * 2 <= len(found):
        return None
    shares = [one.other_share for one in found if one.other_share is not None]
    texts = []
    if shares and median(shares) > BUSY_SHARE:
        texts.append(f"other work took {median(shares):.0%} of the cores")
    if any(one.throttled for one in found):
        texts.append("the clock was held down by heat or voltage")
    return " and ".join(texts) or "the machine was busy or throttled"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _numbers(root: Path, pattern: str) -> list[int]:
    found = (_number(path) for path in sorted(root.glob(pattern)))
    return [number for number in found if number is not None]


def _busy_s(root: Path, cpus: Collection[int]) -> float | None:
    """CPU seconds spent on these cores since the start of the system: user, nice, system, irq, softirq, steal."""
    total, seen = 0, False
    for line in _text(root / "proc/stat").splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
            total, seen = total + user + nice + system + irq + softirq + steal, True
    return total / os.sysconf("SC_CLK_TCK") if seen else None


def _throttled_now(root: Path) -> bool | None:
    """Whether firmware or the kernel's thermal framework holds the clock down, or None where neither tells."""
    told: list[bool] = []
    for path in root.glob(_PI_FIRMWARE):
        try:
            told.append(bool(int(_text(path), 16) & _THROTTLED_NOW))
        except ValueError:
            continue
    cooling = (device for device in root.glob(_COOLING) if "cpufreq" in _text(device / "type"))
    told.extend((_number(device / "cur_state") or 0) > 0 for device in cooling)
    return any(told) if told else None


def _cpus() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _own_s() -> float:
    """CPU seconds of this process and of its ended children and theirs."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class Watch:
    """Looks at the machine twice a second from a thread of its own, while the block it opens is running.

    Args:
        root: Folder in which ``proc`` and ``sys`` lie.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root, self._cpus = root, _cpus()
        self._clocks: list[int] = []
        self._temperatures: list[int] = []
        self._throttled: list[bool] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.conditions = Conditions()

    def __enter__(self) -> Watch:
        self._began = self._counters()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.conditions = self._conclude(self._counters())

    def _counters(self) -> tuple[float, float | None, float, list[int]]:
        return time.monotonic(), _busy_s(self._root, self._cpus), _own_s(), _numbers(self._root, _INTEL_COUNTS)

    def _look_on(self) -> None:
        while True:
            self._clocks += _numbers(self._root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
            self._temperatures += _numbers(self._root, "sys/class/thermal/thermal_zone*/temp")
            now = _throttled_now(self._root)
            if now is not None:
                self._throttled.append(now)
            if self._done.wait(_SAMPLE_S):
                return

    def _conclude(self, ended: tuple[float, float | None, float, list[int]]) -> Conditions:
        (began_at, busy_before, own_before, counts_before) = self._began
        (ended_at, busy_after, own_after, counts_after) = ended
        other = None
        if busy_before is not None and busy_after is not None:
            spent = (busy_after - busy_before) - (own_after - own_before)
            other = min(max(spent / ((ended_at - began_at) * len(self._cpus)), 0.0), 1.0)
        throttled = any(self._throttled) if self._throttled else None
        if counts_before and counts_after:
            throttled = bool(throttled) or counts_after != counts_before
        governor = _text(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return Conditions(
            other_share=other,
            clock_mhz=median(self._clocks) / 1000 if self._clocks else None,
            temperature_c=max(self._temperatures) / 1000 if self._temperatures else None,
            throttled=throttled,
            governor=governor or None,
        )
