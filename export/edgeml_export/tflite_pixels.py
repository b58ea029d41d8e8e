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

    from edgeml_export.folding import PixelQuantization

__all__ = ["attach_pixels"]

_HALF = 128
# A scale that the quantizer computed from the ends of the pixels' range comes back within float32's rounding.
_ROUNDING = 1e-6


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
    graph = model.subgraphs[0]
    encodings = {}
    for name, pixel in pixels.items():
        index = int(graph.inputs[positions[name]])
        quantize = _quantize(model, index)
        if quantize is not None and graph.tensors[quantize.outputs[0]].type == schema.TensorType.INT8:
            _take_quantized(model, positions[name], quantize, pixel)
            encodings[name] = InputEncoding.OFFSET_BINARY
        else:
            _dequantize(model, positions[name], index, pixel)
    return write_tflite(model), encodings


def _quantize(model: Any, index: int) -> Any:
    """The operator that quantizes an input, where nothing else has a use for the input."""
    graph = model.subgraphs[0]
    readers = [item for item in graph.operators if index in list(item.inputs)]
    is_alone = len(readers) == 1 and index not in list(graph.outputs)
    return readers[0] if is_alone and operator_name(model, readers[0]) == "QUANTIZE" else None


def _set_input(model: Any, position: int, index: int) -> None:
    """Let another tensor be an input of the graph, and of the signature where there is one."""
    graph = model.subgraphs[0]
    old = int(graph.inputs[position])
    graph.inputs = [index if at == position else int(other) for at, other in enumerate(graph.inputs)]
    for entry in (entry for signature in model.signatureDefs or [] for entry in signature.inputs):
        if entry.tensorIndex == old:
            entry.tensorIndex = index


def _take_quantized(model: Any, position: int, quantize: Any, pixel: PixelQuantization) -> None:
    graph = model.subgraphs[0]
    tensor = graph.tensors[quantize.outputs[0]]
    scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    if abs(scale - pixel.scale) > _ROUNDING * pixel.scale or zero_point != pixel.zero_point - _HALF:
        raise DefectError(
            f"export: expected an input quantized with scale {pixel.scale:.9g} and zero point "
            f"{pixel.zero_point - _HALF}, as its pixels are, found {scale:.9g} and {zero_point}"
        )
    _set_input(model, position, int(quantize.outputs[0]))
    graph.operators.remove(quantize)


def _dequantize(model: Any, position: int, index: int, pixel: PixelQuantization) -> None:
    graph = model.subgraphs[0]
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = f"pixels_{position}", schema.TensorType.UINT8, graph.tensors[index].shape
    tensor.buffer, tensor.hasRank = 0, True
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([pixel.scale], np.float32)
    tensor.quantization.zeroPoint = np.array([pixel.zero_point], np.int64)
    graph.tensors.append(tensor)
    graph.operators.insert(0, dequantize_operator(model, len(graph.tensors) - 1, index))
    _set_input(model, position, len(graph.tensors) - 1)
