"""The manifest of a bundle as data: what stands in ``manifest.json`` (docs/bundle.md is its specification).

Building these values from JSON and checking them happens in :mod:`edgeml_runtime.manifest_json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_runtime.tensors import InputSpec, OutputSpec

__all__ = ["FORMAT_VERSION", "InputEncoding", "Manifest", "Member", "ModelFormat", "Variant"]

FORMAT_VERSION = 1


class ModelFormat(Enum):
    """File format of a variant."""

    ONNX = "onnx"
    ORT = "ort"
    TFLITE = "tflite"


class InputEncoding(Enum):
    """How a file's tensor holds an input that the contract states as uint8.

    ``OFFSET_BINARY``: as int8, p as p - 128, which is p with its top bit flipped. So a TFLite int8 file takes the pixel
    itself as its quantized input.
    """

    OFFSET_BINARY = "offset_binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file inside the bundle.

    Attributes:
        name: Path inside the bundle, with ``/``.
        size_bytes: Exact size.
        sha256: Lower-case hex digest of the content.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One exported representation of the model.

    Attributes:
        id: ``FORMAT-PRECISION``, such as ``onnx-int8``.
        file: The member that holds the model.
        format: File format.
        precision: The part after the first dash, such as ``int8-dynamic``.
        backend: A key of ``edgeml_runtime.backends.BACKENDS``.
        min_backend_version: Oldest backend release that runs it, such as ``"1.17"``.
        requires_isa: CPU features it needs to be right, such as ``avx512_vnni``; usually none.
        inputs: Contract input name → the name of that tensor in the file.
        outputs: Contract output name → the name of that tensor in the file.
        weight_bytes: Bytes of the model's parameters as stored, the front end's constants included.
        metrics: Metric on the test set, overall and per slice, and the paired loss against fp32.
        parity: How far the outputs lie from PyTorch's, as the exporter measured it.
        input_encodings: Contract input name → how the file's tensor encodes it, where it does.
        refused_by: Package that a backend can run on, such as ``tflite-runtime`` → why the variant is wrong there.
    """

    id: str
    file: str
    format: ModelFormat
    precision: str
    backend: str
    min_backend_version: str
    requires_isa: tuple[str, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    weight_bytes: int
    metrics: Mapping[str, Any]
    parity: Mapping[str, Any]
    input_encodings: Mapping[str, InputEncoding] = field(default_factory=dict)
    refused_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle states about itself.

    Attributes:
        name: Name of the model.
        version: Version of the model, ``MAJOR.MINOR.PATCH``.
        contract: The contract as JSON values, as ``edgeml_runtime.contract.Contract.from_dict`` reads it.
        contract_sha256: Digest of the contract's canonical JSON.
        inputs: The contract's inputs, parsed.
        outputs: The contract's outputs, parsed.
        variants: In the order in which ``variant="auto"`` tries them.
        members: Every file of the bundle but ``manifest.json`` itself.
    """

    name: str
    version: str
    contract: Mapping[str, Any]
    contract_sha256: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    variants: tuple[Variant, ...]
    members: tuple[Member, ...]
