"""Running an ONNX variant as an x86 without VNNI does.

Without VNNI, ONNX Runtime multiplies u8 by s8 with VPMADDUBSW, which adds pairs of products in saturating int16 (Intel
64 and IA-32 Architectures Software Developer's Manual, volume 2, PMADDUBSW). With VNNI, VPDPBUSD adds four in int32. So
the same file can give other numbers on an older CPU. QEMU emulates such a CPU in user mode: ``-cpu Haswell`` has AVX2
and FMA and no VNNI, and ONNX Runtime picks its kernels accordingly.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.scratch import scratch_folder
from edgeml_runtime.errors import BackendFailedError, BackendMissingError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["emulator", "run_without_vnni"]

CPU = "Haswell"

# The first release that emulates AVX2 (QEMU's change log of 7.2, "TCG": https://wiki.qemu.org/ChangeLog/7.2).
_OLDEST = (7, 2)
_NAMES = ("qemu-x86_64", "qemu-x86_64-static")
_PACKAGES = ("numpy", "onnxruntime", "edgeml_runtime")


def emulator() -> Path | None:
    """Find QEMU's emulator of x86-64 programs.

    Returns:
        ``qemu-x86_64`` on the search path, 7.2 or newer; None where there is none, or this is no Linux on x86-64, whose
        Python it could run.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None and _release(found) >= _OLDEST:
            return Path(found)
    return None


def run_without_vnni(
    content: bytes,
    feeds: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    *,
    limit_s: float = 120.0,
) -> dict[str, NDArray[Any]]:
    """Run a model over items on an emulated Haswell, in the runtime's own backend: every optimization, one thread.

    Import and load take about two seconds there, and an item up to 200 times as long as without emulation.

    Args:
        content: The shipped ``.onnx`` file.
        feeds: Name of an input in the file → [n, *shape] of its dtype, n at least 1 and the same for all.
        outputs: Names of outputs in the file.
        limit_s: Seconds after which the emulator is killed.

    Returns:
        Name of an output → [n, *shape].

    Raises:
        InputError: When there are no items, or the inputs' lengths differ.
        BackendMissingError: When there is no emulator; see :func:`emulator`.
        BackendFailedError: When the model cannot be loaded or run there, or not in time.
        StorageError: When the temporary folder cannot be written.
    """
    lengths = {name: len(array) for name, array in feeds.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputError(f"expected the same number of items for every input, at least one, found {lengths}")
    qemu = emulator()
    if qemu is None:
        raise BackendMissingError(
            "running without VNNI needs qemu-x86_64 7.2 or newer on Linux x86-64, found none: apt-get install qemu-user"
        )
    with scratch_folder() as folder:
        (folder / "model.onnx").write_bytes(content)
        for index, array in enumerate(feeds.values()):
            np.save(folder / f"in-{index}.npy", array)
        _emulate(_command(qemu, folder, list(feeds), outputs), limit_s)
        return {name: np.load(folder / f"out-{index}.npy") for index, name in enumerate(outputs)}


def _release(qemu: str) -> tuple[int, int]:
    """What ``qemu-x86_64 version 7.2.22 (Debian …)`` begins with; (0, 0) where it says nothing of the kind."""
    with suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run([qemu, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
        if found := re.search(r"version (\d+)\.(\d+)", said):
            return int(found[1]), int(found[2])
    return 0, 0


def _command(qemu: Path, folder: Path, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """The child without ``site``, whose search takes longer under emulation than the run."""
    specs = [find_spec(package) for package in _PACKAGES]
    path = dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin)
    request = {"path": list(path), "folder": str(folder), "inputs": list(inputs), "outputs": list(outputs)}
    child = Path(__file__).with_name("without_vnni_child.py")
    return [str(qemu), "-cpu", CPU, sys.executable, "-I", "-S", str(child), json.dumps(request)]


def _emulate(command: Sequence[str], limit_s: float) -> None:
    """Run the child in a process group of its own, which ends with this call, whatever ends it."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise BackendMissingError(f"{command[0]} cannot be started: {error}; apt-get install qemu-user") from error
    try:
        answer, messages = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise BackendFailedError(
            f"no answer from an emulated {CPU} within {limit_s:g} s, the process was killed; hand in fewer items or "
            "allow more time"
        ) from None
    finally:
        _end(process)
    if process.returncode != 0:
        raise BackendFailedError(f"on an emulated {CPU}: {_ending(process.returncode, answer, messages)}")


def _end(process: subprocess.Popen[str]) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _ending(code: int, answer: str, messages: str) -> str:
    """What the child said, else how it ended; QEMU warns of every feature of the CPU that it leaves out."""
    if code == 1 and answer:
        return answer
    said = [line.strip() for line in messages.splitlines() if line.strip() and ": warning: TCG" not in line]
    ended = f"ended by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"the process {ended}{f': {said[-1]}' if said else ''}"
