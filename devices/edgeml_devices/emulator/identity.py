"""What the guest's kernel says of its CPU.

QEMU in user mode answers most system calls with the host's kernel, so that a program which reads ``/proc/cpuinfo`` sees
the host's CPU. Backends choose kernels by what they read there: XNNPACK has some for single cores of Arm, and takes
others where it does not recognise the core. So the guest is given a file of the emulated CPU, with one core.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.isa import parse_cpuinfo

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_devices.emulator.sysroot import Sysroot

__all__ = ["CpuIdentity", "ask_cpu", "make_root"]

LIMIT_S = 60.0
STDERR_TAIL = 400
# QEMU 8.1 and later make the file themselves for Arm (linux-user/arm/cpu_proc.c); for x86 numpy tells the features.
ARM_PROGRAM = "print(open('/proc/cpuinfo').read().split(chr(10) + chr(10))[0])"
X86_PROGRAM = "from numpy._core._multiarray_umath import __cpu_features__ as f; print(*(k for k, v in f.items() if v))"
# numpy/_core/src/common/npy_cpu_features.c on the left, arch/x86/include/asm/cpufeatures.h of Linux on the right.
X86_FLAGS = {
    "SSE": "sse",
    "SSE2": "sse2",
    "SSE3": "pni",
    "SSSE3": "ssse3",
    "SSE41": "sse4_1",
    "SSE42": "sse4_2",
    "POPCNT": "popcnt",
    "AVX": "avx",
    "F16C": "f16c",
    "FMA3": "fma",
    "AVX2": "avx2",
    "AVX512F": "avx512f",
    "AVX512CD": "avx512cd",
    "AVX512VL": "avx512vl",
    "AVX512BW": "avx512bw",
    "AVX512DQ": "avx512dq",
    "AVX512VNNI": "avx512_vnni",
}


class CpuIdentity:
    """An emulated CPU.

    Args:
        cpu: QEMU's name of the model.
        cpuinfo: What ``/proc/cpuinfo`` says.
    """

    __slots__ = ("cpu", "cpuinfo", "features")

    def __init__(self, cpu: str, cpuinfo: str) -> None:
        self.cpu = cpu
        self.cpuinfo = cpuinfo
        self.features = parse_cpuinfo(cpuinfo.splitlines())


def ask_cpu(sysroot: Sysroot, cpu: str) -> CpuIdentity:
    """Ask the newest QEMU what a CPU model has.

    Args:
        sysroot: The set-up.
        cpu: QEMU's name of the model, with options such as ``max,sve=off``.

    Returns:
        The CPU.

    Raises:
        InputError: QEMU does not know the model.
        TargetError: The guest does not run.
    """
    arm = sysroot.root is not None
    program = ARM_PROGRAM if arm else X86_PROGRAM
    command = sysroot.command(("-c", program), cpu=cpu, emulator=sysroot.newest)
    try:
        done = subprocess.run(
            command,
            env=sysroot.environment(sysroot.sites[0]),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TargetError(f"the emulator cannot be started: {error}") from error
    said = done.stderr.strip()[-STDERR_TAIL:]
    if done.returncode != 0 and "CPU" in said and "Traceback" not in said:
        raise InputError(
            f"expected a CPU model of {' '.join(sysroot.newest.command)} (-cpu help lists them), found {cpu!r}: {said}"
        )
    if done.returncode != 0:
        raise TargetError(f"a guest with CPU {cpu} does not run (exit status {done.returncode}): {said}")
    return CpuIdentity(cpu, f"{done.stdout.strip()}\n" if arm else _x86_cpuinfo(cpu, done.stdout.split()))


def _x86_cpuinfo(cpu: str, features: list[str]) -> str:
    flags = " ".join(X86_FLAGS[name] for name in features if name in X86_FLAGS)
    return f"processor\t: 0\nmodel name\t: QEMU {cpu}\nflags\t\t: {flags}\n"


def make_root(sysroot: Sysroot, identity: CpuIdentity, folder: Path) -> None:
    """Make a root with files of the CPU beside those of the sysroot: QEMU looks there before it asks the host.

    Args:
        sysroot: The set-up.
        identity: The CPU.
        folder: An empty folder.
    """
    if sysroot.root is not None:
        for entry in sysroot.root.iterdir():
            (folder / entry.name).symlink_to(entry)
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(identity.cpuinfo, encoding="ascii")
    cpus = folder / "sys/devices/system/cpu"
    cpus.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0\n", encoding="ascii")
