"""What an ONNX file says of itself, where other tools look for it: labels, descriptions, what an image's pixels are.

Keys and values follow the ONNX specification where it has them (docs/IR.md, docs/Versioning.md, docs/MetadataProps.md,
docs/TypeDenotation.md and docs/DimensionDenotation.md of github.com/onnx/onnx), and otherwise what programs read:
``labels`` as a JSON list; ``names`` as a Python dictionary of class numbers, ``task`` and ``imgsz`` as in the files of
Ultralytics. ONNX Runtime hands the properties on as ``get_modelmeta().custom_metadata_map``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeml_export.descriptions import describe_input, describe_output
from edgeml_runtime.contract import TargetKind
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto, ValueInfoProto

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec

__all__ = ["describe_onnx"]

_PIXEL_FORMATS = {1: "Gray8", 3: "Rgb8"}
_PIXEL_RANGES: dict[tuple[float, float], str] = {(0, 255): "NominalRange_0_255", (16, 235): "NominalRange_16_235"}
_TYPES = {"image": "IMAGE", "wav": "AUDIO"}


def describe_onnx(model: ModelProto, contract: Contract) -> None:
    """Write the contract's words into a model: properties, descriptions of inputs and outputs, denotations.

    The same contract gives the same bytes; what the model said before under the same keys is replaced.

    Args:
        model: The model, which is changed. Its inputs and outputs have the contract's names; others are left alone.
        contract: The contract.
    """
    model.doc_string = contract.description
    model.model_version = _packed(contract.version)
    _set_properties(model, _properties(contract))
    inputs = {spec.name: spec for spec in contract.inputs}
    outputs = {spec.name: spec for spec in contract.outputs}
    for value in model.graph.input:
        if value.name in inputs:
            spec = inputs[value.name]
            value.doc_string = describe_input(spec)
            _denote(value, _type_denotation(spec), _input_dimensions(spec))
    for value in model.graph.output:
        if value.name in outputs:
            value.doc_string = describe_output(outputs[value.name], contract.target.name)
            _denote(value, "TENSOR", ["DATA_BATCH"])


def _packed(version: str) -> int:
    """A semantic version as ONNX packs it: 16 bits, 16 bits, 32 bits; 0, which is none, where a number is too large."""
    major, minor, patch = map(int, version.split("."))
    if major >= 1 << 15 or minor >= 1 << 16 or (major, minor) == (0, 0):
        return 0
    return major << 48 | minor << 32 | patch


def _properties(contract: Contract) -> dict[str, str]:
    properties = {"version": contract.version}
    images = [spec for spec in contract.inputs if _is_image(spec)]
    labels = next((spec.labels for spec in contract.outputs if spec.role is OutputRole.SCORES), ())
    if labels:
        properties["labels"] = json.dumps(labels, ensure_ascii=False)
        properties["names"] = repr(dict(enumerate(labels)))
    if len(images) == 1:
        properties["imgsz"] = str(list(images[0].shape[:2]))
        if contract.target.kind is TargetKind.CLASSIFICATION:
            properties["task"] = "classify"
    return properties | _image_properties(images)


def _image_properties(images: Sequence[InputSpec]) -> dict[str, str]:
    """The properties of MetadataProps.md, which hold for every image of the model: only those all of them share."""
    shared: dict[str, str] = {}
    for index, spec in enumerate(images):
        known = {
            "Image.BitmapPixelFormat": _PIXEL_FORMATS.get(spec.shape[2] if len(spec.shape) == 3 else 1),
            "Image.ColorSpaceGamma": "SRGB",
            "Image.NominalPixelRange": _PIXEL_RANGES.get(spec.range),
        }
        own = {key: value for key, value in known.items() if value is not None}
        shared = own if index == 0 else dict(shared.items() & own.items())
    return shared


def _set_properties(model: ModelProto, properties: dict[str, str]) -> None:
    others = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    for key, value in sorted((others | properties).items()):
        model.metadata_props.add(key=key, value=value)


def _is_image(spec: InputSpec) -> bool:
    return spec.loader is not None and spec.loader.name == "image"


def _type_denotation(spec: InputSpec) -> str:
    return "TENSOR" if spec.loader is None else _TYPES.get(spec.loader.name, "TENSOR")


def _input_dimensions(spec: InputSpec) -> list[str]:
    if _is_image(spec):
        return ["DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL"]
    if _type_denotation(spec) == "AUDIO":
        return ["DATA_BATCH", "DATA_TIME"]
    return ["DATA_BATCH"]


def _denote(value: ValueInfoProto, type_denotation: str, dimensions: Sequence[str]) -> None:
    """Name what a tensor holds, and its first dimensions."""
    value.type.denotation = type_denotation
    for dimension, denotation in zip(value.type.tensor_type.shape.dim, dimensions, strict=False):
        dimension.denotation = denotation
