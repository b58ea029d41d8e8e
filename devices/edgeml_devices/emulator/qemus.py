"""Which QEMU runs the guests: the newest one of the cache, and one with plug-ins of the system or of the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from edgeml_devices.emulator.sysroot import Emulator
from edgeml_runtime.errors import InputError, TargetError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BINARIES",
    "cached_counting",
    "cached_newest",
    "check_known",
    "find_counting",
    "is_counting",
    "loader_words",
]

BINARIES = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm", "x86-64": "qemu-x86_64"}
# The one whose plug-in interface (version 1) ours is written for; QEMU 9.0 no longer loads such plug-ins.
COUNTING_RELEASE = (7, 2)
BUNDLED_GLIBC = (2, 36)
HOST_LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
PROBE_TIMEOUT_S = 20.0


def check_known(architecture: str) -> None:
    """Refuse an architecture that there is no emulator for.

    Raises:
        InputError: Lists those there are.
    """
    if architecture not in BINARIES:
        raise InputError(f"expected an architecture ({', '.join(BINARIES)}), found {architecture!r}")


def cached_newest(root: Path, architecture: str) -> Emulator:
    """The newest QEMU, which is one static file.

    Raises:
        TargetError: It does not start.
    """
    command = (str(root / "usr/bin" / BINARIES[architecture]),)
    return Emulator(version=_version(command), command=command, plugins=False)


def cached_counting(root: Path, architecture: str) -> Emulator:
    """Debian's QEMU with plug-ins, started with the libraries that lie beside it.

    Raises:
        TargetError: It does not start.
    """
    command = (*loader_words(root, _host_glibc()), str(root / "usr/bin" / BINARIES[architecture]))
    return Emulator(version=_version(command), command=command, plugins=True)


def find_counting(architecture: str) -> Emulator | None:
    """The system's QEMU, if it is one that can count.

    Args:
        architecture: Of the guest.

    Returns:
        The emulator, or None.
    """
    path = shutil.which(BINARIES[architecture])
    if path is None:
        return None
    try:
        version, options = _version((path,)), _output((path, "-h"))
    except TargetError:
        return None
    return Emulator(version=version, command=(path,), plugins=True) if is_counting(version, options) else None


def is_counting(version: str, options: str) -> bool:
    """Whether a QEMU can count, by what it says of itself.

    Args:
        version: Such as ``"7.2.22"``.
        options: What ``qemu -h`` prints: a build without plug-ins, such as a static one, does not list the option.
    """
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return release == COUNTING_RELEASE and re.search(r"^-plugin\s", options, re.MULTILINE) is not None


def loader_words(root: Path, host_glibc: tuple[int, ...]) -> tuple[str, ...]:
    """How a program of the cache is started with the libraries of the cache.

    With the newer of two C libraries: a plug-in compiled on this machine needs this machine's or a later one, and the
    program needs its own or a later one.

    Args:
        root: Where the packages are unpacked; the C library in ``libc`` below it.
        host_glibc: Version of this machine's; ``(0,)`` where it has another one.

    Returns:
        The words before the program.
    """
    folders = [str(root / folder) for folder in LIBRARY_FOLDERS]
    if host_glibc >= BUNDLED_GLIBC:
        return (HOST_LOADER, "--library-path", os.pathsep.join(folders))
    own = root / "libc" / LIBRARY_FOLDERS[0]
    return (str(own / "ld-linux-x86-64.so.2"), "--library-path", os.pathsep.join([str(own), *folders]))


def _host_glibc() -> tuple[int, ...]:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        name = ""
    return tuple(int(part) for part in re.findall(r"\d+", name)) or (0,)


def _version(command: tuple[str, ...]) -> str:
    text = _output((*command, "--version"))
    found = re.search(r"version (\d+(?:\.\d+)+)", text)
    if found is None:
        raise TargetError(f"expected {command[-1]} --version to print a version, found {text[:200]!r}")
    return found[1]


def _output(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise TargetError(f"cannot start {command[-1]}: {error}") from error
    return done.stdout + done.stderr
