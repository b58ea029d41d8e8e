"""The two things that wrapping may change in a file, both of them beside its graph.

A TFLite output of integers with a scale gets a DEQUANTIZE behind it where the contract says float32. An ONNX file of an
IR version that is newer than the contract's oldest ONNX Runtime reads, as libraries write it whatever the graph needs,
is marked with the newest one that it reads. Every other file is wrapped byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.foreign.file import ForeignKind
from edgeml_export.foreign.onnx import opset_of, parse_onnx
from edgeml_export.opset import choose_opset
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from edgeml_export.foreign.facts import ForeignTensor
    from edgeml_export.foreign.file import ForeignFile, ForeignLimits
    from edgeml_export.foreign.mapping import TensorMapping
    from edgeml_runtime.contract import Contract

__all__ = ["Normalised", "normalise"]

_NEWEST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A file as it is to ship.

    Attributes:
        file: The file.
        mapping: The contract's tensors in it.
        min_backend_version: The oldest release of the backend that reads it; None where only the file itself says so.
        notes: What was changed, one sentence each.
    """

    file: ForeignFile
    mapping: TensorMapping
    min_backend_version: str | None
    notes: tuple[str, ...]


def normalise(file: ForeignFile, mapping: TensorMapping, contract: Contract, limits: ForeignLimits) -> Normalised:
    """Change what must be changed for a file to keep the contract.

    Args:
        file: A file that was inspected.
        mapping: The contract's tensors in it.
        contract: The contract.
        limits: How much the file may hold.

    Returns:
        The file to ship.

    Raises:
        ProjectError: The oldest ONNX Runtime of the contract does not read its operator set.
    """
    if file.kind is ForeignKind.ONNX:
        return _normalise_onnx(file, mapping, contract, limits)
    if not mapping.dequantized:
        return Normalised(file=file, mapping=mapping, min_backend_version=None, notes=())
    return _dequantize(file, mapping)


def _normalise_onnx(file: ForeignFile, mapping: TensorMapping, contract: Contract, limits: ForeignLimits) -> Normalised:
    model = parse_onnx(file.content, limits)
    newest, opset = choose_opset(contract, emitted=_NEWEST), opset_of(model)
    if opset > newest.opset:
        raise ProjectError(
            f"expected operator set {newest.opset} at most, which ONNX Runtime {newest.min_onnxruntime}, the oldest "
            f"that the contract names, reads; found {opset}: name a newer one in export.oldest_onnxruntime, or export "
            f"the model with opset_version={newest.opset}"
        )
    notes = []
    if model.ir_version > newest.ir_version:
        notes.append(
            f"the file's IR version {model.ir_version} is marked as {newest.ir_version}, the newest that ONNX Runtime "
            f"{newest.min_onnxruntime} reads; its graph is as it was"
        )
        model.ir_version = newest.ir_version
        file = replace(file, content=model.SerializeToString(deterministic=True))
    return Normalised(file=file, mapping=mapping, min_backend_version=newest.min_onnxruntime, notes=tuple(notes))


def _dequantize(file: ForeignFile, mapping: TensorMapping) -> Normalised:
    """Append a DEQUANTIZE behind outputs of integers, in the signature too."""
    from edgeml_export.tflite_file import read_tflite, write_tflite

    model = read_tflite(file.content)
    outputs, notes = dict(mapping.outputs), []
    for name in mapping.dequantized:
        tensor = outputs[name]
        outputs[name] = _append_dequantize(model, tensor)
        scale = tensor.quantization
        assert scale is not None
        notes.append(
            f"a DEQUANTIZE of scale {scale.scale:.6g} and zero point {scale.zero_point} was put behind the output "
            f"{tensor}, because the contract's is float32"
        )
    return Normalised(
        file=replace(file, content=write_tflite(model)),
        mapping=replace(mapping, outputs=outputs, dequantized=()),
        min_backend_version=None,
        notes=tuple(notes),
    )


def _append_dequantize(model: Any, tensor: ForeignTensor) -> ForeignTensor:
    from ai_edge_litert import schema_py_generated as schema

    from edgeml_export.tflite_dequantize import dequantize_operator

    graph = model.subgraphs[0]
    source = graph.tensors[tensor.index]
    taken = {item.name for item in graph.tensors}
    text = f"{source.name.decode() if source.name else 'output'}_float"
    while text.encode() in taken:
        text += "_"
    result = schema.TensorT()
    result.name, result.type, result.buffer, result.hasRank = (
        text.encode(),
        schema.TensorType.FLOAT32,
        0,
        source.hasRank,
    )
    result.shape, result.shapeSignature = source.shape, source.shapeSignature
    index = len(graph.tensors)
    graph.tensors.append(result)
    graph.operators.append(dequantize_operator(model, tensor.index, index))
    graph.outputs = np.array([index if int(other) == tensor.index else int(other) for other in graph.outputs], np.int32)
    signed = False
    for entry in (entry for signature in model.signatureDefs or [] for entry in signature.outputs or []):
        if entry.tensorIndex == tensor.index:
            entry.tensorIndex, signed = index, True
    name = tensor.name if signed and len(model.signatureDefs) == 1 else text
    return replace(tensor, name=name, dtype="float32", quantization=None, index=index)
