"""Reading a model file of unknown origin: what kind it is, by its content, and how large it may be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ForeignFile", "ForeignKind", "ForeignLimits", "read_foreign"]


class ForeignKind(Enum):
    """What can be wrapped."""

    ONNX = "onnx"
    TFLITE = "tflite"
    PT2 = "pt2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLimits:
    """What is taken from a file that someone else wrote; checked before anything of that size is allocated.

    Attributes:
        max_file_bytes: Size of the file; what readers of bundles take of one variant.
        max_operators: Operators of its graph.
        max_tensor_elements: Elements of one tensor that the file declares.
        max_unpacked_bytes: Size of what an archive (``.pt2``, ``.npz``) unpacks to.
        max_memory_bytes: Address space of the process that loads the file.
        max_silence_s: Seconds after which that process is killed when it neither ends nor reports a step.
        reference_items: Test items that the reference kernels run, spread evenly; they can be a hundred times slower.
    """

    max_file_bytes: int = 256 << 20
    max_operators: int = 100_000
    max_tensor_elements: int = 1 << 28
    max_unpacked_bytes: int = 4 << 30
    max_memory_bytes: int = 16 << 30
    max_silence_s: float = 120.0
    reference_items: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFile:
    """A model file.

    Attributes:
        name: Its name, without the folder, for messages.
        kind: What it is.
        content: Its bytes.
    """

    name: str
    kind: ForeignKind
    content: bytes


# Where formats put what they are known by: FlatBuffers its file identifier (flatbuffers.dev/internals), ZIP and HDF5
# their signatures (APPNOTE 4.3.7; HDF5 file format specification, superblock).
_IDENTIFIER = slice(4, 8)
_ZIP = b"PK\x03\x04"
_NOT_WRAPPED = {
    b"\x89HDF\r\n\x1a\n": "a Keras or HDF5 file; convert it with tf.lite.TFLiteConverter or tf2onnx first",
    b"\x80": "a pickle, which can run any code and is never loaded; save the model with torch.export.save",
}
_KNOWN = ".onnx, .tflite, or .pt2 of torch.export.save"


def read_foreign(source: Path, limits: ForeignLimits) -> ForeignFile:
    """Read a model file and tell what it is.

    Args:
        source: Its path.
        limits: How large it may be.

    Returns:
        The file. ONNX has no signature: what is nothing else and is named ``.onnx`` is taken for it.

    Raises:
        ProjectError: It cannot be read, is too large, empty, or of another kind.
    """
    try:
        if source.is_dir():
            raise ProjectError(f"{source}: expected a model file ({_KNOWN}), found a folder")
        with source.open("rb") as file:
            content = file.read(limits.max_file_bytes + 1)
    except OSError as error:
        raise ProjectError(f"{source}: cannot be read: {error.strerror or error}") from error
    if len(content) > limits.max_file_bytes:
        raise ProjectError(
            f"{source}: expected at most {limits.max_file_bytes} bytes, which is what readers of bundles take of one "
            "variant, found more"
        )
    return ForeignFile(name=source.name, kind=_kind(source, content), content=content)


def _kind(source: Path, content: bytes) -> ForeignKind:
    if not content:
        raise ProjectError(f"{source}: expected a model file ({_KNOWN}), found an empty file")
    if content[_IDENTIFIER] == b"TFL3":
        return ForeignKind.TFLITE
    if content[_IDENTIFIER] == b"ORTM":
        raise ProjectError(
            f"{source}: found a session that ONNX Runtime saved for one instruction set; wrap the .onnx file that it "
            "was made of"
        )
    if content.startswith(_ZIP):
        return ForeignKind.PT2
    for signature, found in _NOT_WRAPPED.items():
        if content.startswith(signature):
            raise ProjectError(f"{source}: expected {_KNOWN}, found {found}")
    if source.suffix.lower() == ".onnx":
        return ForeignKind.ONNX
    raise ProjectError(
        f"{source}: expected {_KNOWN}; it does not begin as a TFLite file or an archive does, and is not named .onnx: "
        "it is damaged, truncated, or of another kind"
    )
