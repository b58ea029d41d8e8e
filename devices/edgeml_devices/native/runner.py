"""The programs that measure a bare model: which they are, for which machines they are built, what they need."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from enum import Enum

from edgeml_runtime.errors import InputError
from edgeml_runtime.manifest import ModelFormat

__all__ = ["Runner", "RunnerKind", "elf_arch", "read_runner"]

# e_machine (System V ABI, gABI 4.1, and the supplements of the architectures), little-endian files only.
_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class RunnerKind(Enum):
    """A program whose options and output are known; its file's name has to contain the value."""

    LITERT = "benchmark_model"
    ONNXRUNTIME = "perf_test"

    @property
    def title(self) -> str:
        """What its makers call it."""
        return "benchmark_model" if self is RunnerKind.LITERT else "onnxruntime_perf_test"

    @property
    def formats(self) -> tuple[ModelFormat, ...]:
        """The model files it takes."""
        return (ModelFormat.TFLITE,) if self is RunnerKind.LITERT else (ModelFormat.ONNX, ModelFormat.ORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A program for the device.

    Attributes:
        path: Where it is here.
        kind: What it is.
        arch: For which machine it is built, as ``uname -m`` names it; None where the file does not say.
        libraries: Shared libraries that lie beside it and that it names.
    """

    path: str
    kind: RunnerKind
    arch: str | None = None
    libraries: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return os.path.basename(self.path)


def elf_arch(content: bytes) -> str | None:
    """For which machine an ELF file is built.

    Args:
        content: The file, or its first 20 bytes.

    Returns:
        The architecture; None for a file that is not ELF, such as a script, or that is for an unknown machine.
    """
    if len(content) < 20 or content[:4] != b"\x7fELF" or content[5] != 1:
        return None
    return _MACHINES.get(struct.unpack_from("<H", content, 18)[0])


def _libraries(path: str, content: bytes) -> tuple[str, ...]:
    folder = os.path.dirname(os.path.abspath(path))
    beside = (name for name in sorted(os.listdir(folder)) if ".so" in name)
    return tuple(os.path.join(folder, name) for name in beside if b"\0" + os.fsencode(name) + b"\0" in content)


def read_runner(path: str | os.PathLike[str]) -> Runner:
    """Look at a program that is to measure on a device.

    Args:
        path: LiteRT's ``benchmark_model`` or ONNX Runtime's ``onnxruntime_perf_test``, by these names or longer ones
            such as ``android_aarch64_benchmark_model``.

    Returns:
        The runner.

    Raises:
        InputError: It is neither, or cannot be read.
    """
    path = os.fspath(path)
    kind = next((kind for kind in RunnerKind if kind.value in os.path.basename(path)), None)
    if kind is None:
        raise InputError(
            f"runner {path}: expected LiteRT's benchmark_model (for .tflite) or ONNX Runtime's onnxruntime_perf_test "
            "(for .onnx and .ort), with that in the file's name"
        )
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"runner {path}: cannot be read: {error.strerror}") from error
    return Runner(path=path, kind=kind, arch=elf_arch(content), libraries=_libraries(path, content))
