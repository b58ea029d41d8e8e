"""Does the guest run? Every site is imported under every emulator that is to run it."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.errors import TargetError
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_devices.emulator.sysroot import Emulator, Site, Sysroot
    from edgeml_runtime.progress import Progress

__all__ = ["GuestCheck", "check_guests", "ensure_runs"]

CHECK_CPU = "max"
CHECK_TIMEOUT_S = 120.0
STDERR_TAIL = 600
MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "tflite-runtime": "tflite_runtime.interpreter",
}
PROGRAM = "import platform, sys, {modules}; print(platform.machine(), *sys.version_info[:3])"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestCheck:
    """A site that was imported.

    Attributes:
        site: Its name.
        qemu: Version of the emulator.
        machine: What the guest calls its architecture, such as ``"armv7l"``.
        python: Version of the guest's Python.
    """

    site: str
    qemu: str
    machine: str
    python: str


def ensure_runs(sysroot: Sysroot, seen: Path, progress: Progress, *, anew: bool) -> tuple[GuestCheck, ...]:
    """Check the guests, unless these ones were seen to run under these emulators before.

    Args:
        sysroot: The set-up.
        seen: File that says what was seen; removed with the part it lies in.
        progress: Told of each.
        anew: Check them in any case.

    Returns:
        What ran now.

    Raises:
        TargetError: A guest does not run.
    """
    signature = repr((sysroot.python, sysroot.sites, sysroot.newest, sysroot.counting))
    with suppress(OSError):
        if not anew and seen.read_text(encoding="utf-8") == signature:
            return ()
    with suppress(OSError):
        seen.unlink(missing_ok=True)
    checks = check_guests(sysroot, progress)
    with suppress(OSError):  # a cache that only others may write to: checked again next time
        seen.write_text(signature, encoding="utf-8")
    return checks


def check_guests(sysroot: Sysroot, progress: Progress) -> tuple[GuestCheck, ...]:
    """Import every site of an architecture.

    Args:
        sysroot: The set-up.
        progress: Told of each.

    Returns:
        What ran.

    Raises:
        TargetError: A guest ended with an error or not at all; says with what.
    """
    runs = [
        (site, emulator)
        for site in sysroot.sites
        for emulator in ((sysroot.newest, sysroot.counting) if site.countable else (sysroot.newest,))
    ]
    checks = []
    for number, (site, emulator) in enumerate(runs):
        message = f"{site.name} under QEMU {emulator.version}"
        progress(ProgressEvent(step="start guests", done=number, total=len(runs), message=message))
        checks.append(_check(sysroot, site, emulator))
    progress(ProgressEvent(step="start guests", done=len(runs), total=len(runs)))
    return tuple(checks)


def _check(sysroot: Sysroot, site: Site, emulator: Emulator) -> GuestCheck:
    modules = ", ".join(dict.fromkeys(("numpy", *(MODULES[name] for name, _ in site.versions))))
    command = sysroot.command(("-c", PROGRAM.format(modules=modules)), cpu=CHECK_CPU, emulator=emulator)
    try:
        done = subprocess.run(
            command,
            env=sysroot.environment(site),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=CHECK_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _failure(sysroot, site, emulator, str(error)) from error
    words = done.stdout.split()
    if done.returncode != 0 or len(words) != 4:
        raise _failure(sysroot, site, emulator, f"exit status {done.returncode}\n{done.stderr[-STDERR_TAIL:].strip()}")
    return GuestCheck(site=site.name, qemu=emulator.version, machine=words[0], python=".".join(words[1:]))


def _failure(sysroot: Sysroot, site: Site, emulator: Emulator, found: str) -> TargetError:
    return TargetError(
        f"expected the guest for {sysroot.architecture} to import {site.name} under QEMU {emulator.version} "
        f"({' '.join(emulator.command)}), found: {found}\n"
        "Run edgeml devices setup-emulator --verify, which compares every file and fetches again what is damaged."
    )
