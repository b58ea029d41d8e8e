"""Looking at a device through its shell: the files that say what it is and how it does, read as if they were here."""

from __future__ import annotations

import re
import shlex
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices.conditions import Conditions, Watch
from edgeml_runtime.isa import cpu_features
from edgeml_runtime.machine import Machine, probe_machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CONDITIONS_SCRIPT", "MACHINE_SCRIPT", "TIMES_SCRIPT", "conditions_of", "machine_of", "share_of_others"]

_FILE, _ANSWER = "edgeml-file ", "edgeml-answer "
_CPU = "/sys/devices/system/cpu"
_MACHINE_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    f"{_CPU}/cpu[0-9]*/cpufreq/cpuinfo_max_freq",
)
_CONDITION_FILES = (
    f"{_CPU}/cpu[0-9]*/cpufreq/scaling_cur_freq",
    f"{_CPU}/cpu0/cpufreq/scaling_governor",
    "/sys/class/thermal/thermal_zone*/temp",
    "/sys/class/thermal/cooling_device*/type",
    "/sys/class/thermal/cooling_device*/cur_state",
    "/sys/devices/platform/*/*:firmware/get_throttled",
)


def _read_script(patterns: Sequence[str]) -> str:
    return (
        f"for f in {' '.join(patterns)}; do\n"
        f'  [ -r "$f" ] && {{ echo {shlex.quote(_FILE)}"$f"; cat "$f" 2>/dev/null; echo; }}\n'
        "done\n"
    )


MACHINE_SCRIPT = _read_script(_MACHINE_FILES) + (
    f'echo {shlex.quote(_ANSWER)}"arch $(uname -m)"\n'
    f'echo {shlex.quote(_ANSWER)}"cpus $(grep Cpus_allowed_list /proc/self/status)"\n'
    f'echo {shlex.quote(_ANSWER)}"count $(nproc 2>/dev/null)"\n'
    f'echo {shlex.quote(_ANSWER)}"board $(getprop ro.product.manufacturer 2>/dev/null)'
    ' $(getprop ro.product.model 2>/dev/null)"\n'
)
"""Prints what :func:`machine_of` reads."""

TIMES_SCRIPT = "cat /proc/uptime /proc/stat; times\n"
"""Prints what :func:`share_of_others` reads: before, and after what the same shell ran meanwhile."""

# What the kernel counts in, for programs, on every architecture but Alpha and Itanium (include/asm-generic/param.h).
_TICKS_PER_S = 100
_MINUTES = re.compile(r"(\d+)m(\d+(?:\.\d+)?)s")

CONDITIONS_SCRIPT = _read_script(_CONDITION_FILES)
"""Prints what :func:`conditions_of` reads."""


def _split(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Contents by path, and answers by name."""
    files: dict[str, list[str]] = {}
    answers: dict[str, str] = {}
    lines: list[str] | None = None
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.startswith(_FILE):
            lines = files.setdefault(line.removeprefix(_FILE), [])
        elif line.startswith(_ANSWER):
            name, _, value = line.removeprefix(_ANSWER).partition(" ")
            answers[name], lines = value.strip(), None
        elif lines is not None:
            lines.append(line)
    return {path: "\n".join(content).rstrip("\n") + "\n" for path, content in files.items()}, answers


def _write(root: Path, files: Mapping[str, str]) -> None:
    for path, content in files.items():
        place = root / path.lstrip("/")
        if ".." not in place.parts:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content, encoding="utf-8")


def _numbers(text: str) -> set[int]:
    """CPU numbers of a list such as ``0-3,6`` (cpuset(7), "List format")."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return set()
        found |= set(range(int(first), int(last or first) + 1))
    return found


def machine_of(text: str) -> Machine | None:
    """What a device is, from what :data:`MACHINE_SCRIPT` printed there.

    Args:
        text: Its output.

    Returns:
        The machine, or None where the output does not say its architecture, memory and CPUs.
    """
    files, answers = _split(text)
    cpus = _numbers(answers.get("cpus", "").rpartition(":")[2].strip())
    count = answers.get("count", "")
    cpus = cpus or set(range(int(count) if count.isdigit() else 0))
    if not answers.get("arch") or "MemTotal" not in files.get("/proc/meminfo", "") or not cpus:
        return None
    with tempfile.TemporaryDirectory(prefix="edgeml-look-") as folder:
        root = Path(folder)
        _write(root, files)
        isa = cpu_features(str(root / "proc/cpuinfo"))
        machine = probe_machine(root=root, arch=answers["arch"], affinity=cpus, isa=isa)
    return replace(machine, board=machine.board or answers.get("board") or None)


def conditions_of(text: str) -> Conditions:
    """Clock, temperature and throttling of a device, from what :data:`CONDITIONS_SCRIPT` printed there.

    Args:
        text: Its output.

    Returns:
        The conditions at that moment; what other processes take is not known.
    """
    with tempfile.TemporaryDirectory(prefix="edgeml-look-") as folder:
        root = Path(folder)
        _write(root, _split(text)[0])
        with Watch(root) as watch:
            pass
    return watch.conditions


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds since the device was started, and those its CPUs and the shell's own programs have spent."""

    uptime_s: float
    busy_s: float
    own_s: float
    cpus: int


def _times(text: str) -> _Times | None:
    lines = text.strip().splitlines()
    rows = [line.split() for line in lines if re.match(r"cpu\d", line)]
    own = _MINUTES.findall(" ".join(lines[-2:]))
    try:
        # user, nice, system, irq, softirq, steal (proc(5)); idle and waiting are no work
        busy = sum(int(row[at]) for row in rows for at in (1, 2, 3, 6, 7, 8)) / _TICKS_PER_S
        uptime_s = float(lines[0].split()[0])
    except (IndexError, ValueError):
        return None
    own_s = sum(60 * int(minutes) + float(seconds) for minutes, seconds in own)
    return _Times(uptime_s, busy, own_s, len(rows)) if rows and len(own) == 4 else None


def share_of_others(before: str, after: str) -> float | None:
    """CPU time that others took meanwhile, as a share of all cores.

    Args:
        before: What :data:`TIMES_SCRIPT` printed at the beginning.
        after: What it printed at the end, in the same shell: POSIX's ``times`` tells what that has run.

    Returns:
        The share, in [0, 1]; None where the device does not tell.
    """
    begun, ended = _times(before), _times(after)
    if begun is None or ended is None or ended.uptime_s <= begun.uptime_s:
        return None
    others = (ended.busy_s - begun.busy_s) - (ended.own_s - begun.own_s)
    return min(max(others / ((ended.uptime_s - begun.uptime_s) * ended.cpus), 0.0), 1.0)
