"""Pixels in front of a TFLite graph: the input of 8 bits that a graph of normalised values is given back.

In float graphs the uint8 input carries its quantization and one DEQUANTIZE, which XNNPACK takes, normalises it. In int8
graphs the input itself is int8: the pixel with its top bit flipped, which the runtime does while it copies the pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeml_export.tflite_dequantize import dequantize_operator
from edgeml_export.tflite_file import operator_name, read_tflite, write_tflite
from edgeml_runtime.errors import DefectError
from edgeml_runtime.manifest import InputEncoding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_export.graph.folding import PixelQuantization

__all__ = ["attach_pixels"]

_HALF = 128
# A scale that the quantizer computed from the ends of the pixels' range comes back within float32's rounding.
_ROUNDING = 1e-6
# Changes of layout → their version for 8 bits (tensorflow/lite/tools/versioning/op_version.cc).
_LAYOUT_VERSIONS = {"TRANSPOSE": 2, "RESHAPE": 1}


def attach_pixels(
    content: bytes, pixels: Mapping[str, PixelQuantization], positions: Mapping[str, int]
) -> tuple[bytes, dict[str, InputEncoding]]:
    """Let inputs take pixels.

    Args:
        content: A file whose inputs take normalised float values.
        pixels: Contract input name → its normalisation.
        positions: Contract input name → position among the inputs of the graph.

    Returns:
        The file, and how inputs encode pixels where they are not uint8.
    """
    if not pixels:
        return content, {}
    model = read_tflite(content)
    encodings = {}
    for name, pixel in pixels.items():
        position = positions[name]
        way = _way_to_int8(model, int(model.subgraphs[0].inputs[position]))
        if way:
            _take_quantized(model, position, way, pixel)
            encodings[name] = InputEncoding.OFFSET_BINARY
        else:
            _dequantize(model, position, pixel)
    return write_tflite(model), encodings


def _way_to_int8(model: Any, index: int) -> list[Any]:
    """The changes of layout and the operator behind them that make an input int8; empty where it has another use."""
    graph = model.subgraphs[0]
    way: list[Any] = []
    while index not in list(graph.outputs):
        readers = [item for item in graph.operators if index in list(item.inputs)]
        name = operator_name(model, readers[0]) if len(readers) == 1 else ""
        if name not in (*_LAYOUT_VERSIONS, "QUANTIZE"):
            break
        way.append(readers[0])
        index = int(readers[0].outputs[0])
        if name == "QUANTIZE":
            return way if graph.tensors[index].type == schema.TensorType.INT8 else []
    return []


def _set_input(model: Any, position: int, index: int) -> None:
    """Let another tensor be an input of the graph, and of the signature where there is one."""
    graph = model.subgraphs[0]
    old = int(graph.inputs[position])
    graph.inputs = [index if at == position else int(other) for at, other in enumerate(graph.inputs)]
    for entry in (entry for signature in model.signatureDefs or [] for entry in signature.inputs):
        if entry.tensorIndex == old:
            entry.tensorIndex = index


def _take_quantized(model: Any, position: int, way: list[Any], pixel: PixelQuantization) -> None:
    """Let an input be int8, and move it as such; what rounds it then has nothing left to do, or rounds it once more."""
    graph = model.subgraphs[0]
    *moves, quantize = way
    result = int(quantize.outputs[0])
    found = graph.tensors[result].quantization
    scale, zero_point = float(found.scale[0]), int(found.zeroPoint[0])
    is_pixel = abs(scale - pixel.scale) <= _ROUNDING * pixel.scale and zero_point == pixel.zero_point - _HALF
    if not is_pixel and not moves:
        raise DefectError(
            f"export: expected an input quantized with scale {pixel.scale:.9g} and zero point "
            f"{pixel.zero_point - _HALF}, as its pixels are, found {scale:.9g} and {zero_point}"
        )
    if is_pixel:
        graph.operators.remove(quantize)
        if moves:
            moves[-1].outputs = [result]
        else:
            _set_input(model, position, result)
    for index in {int(graph.inputs[position]), *(int(move.outputs[0]) for move in moves)} - {result}:
        graph.tensors[index].type = schema.TensorType.INT8
        graph.tensors[index].quantization = _parameters(pixel.scale, pixel.zero_point - _HALF)
    for move in moves:
        code = model.operatorCodes[move.opcodeIndex]
        code.version = max(code.version, _LAYOUT_VERSIONS[operator_name(model, move)])


def _dequantize(model: Any, position: int, pixel: PixelQuantization) -> None:
    graph = model.subgraphs[0]
    index = int(graph.inputs[position])
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = f"pixels_{position}", schema.TensorType.UINT8, graph.tensors[index].shape
    tensor.buffer, tensor.hasRank = 0, True
    tensor.quantization = _parameters(pixel.scale, pixel.zero_point)
    graph.tensors.append(tensor)
    graph.operators.insert(0, dequantize_operator(model, len(graph.tensors) - 1, index))
    _set_input(model, position, len(graph.tensors) - 1)


def _parameters(scale: float, zero_point: int) -> Any:
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.array([scale], np.float32)
    parameters.zeroPoint = np.array([zero_point], np.int64)
    return parameters
