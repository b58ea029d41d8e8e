"""Constants of a TFLite file's float operators, stored as int8 and turned back by DEQUANTIZE.

XNNPACK turns static weights back once, when the model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeml_export.small_constants import MIN_ELEMENTS, small_constant
from edgeml_export.tflite_dequantize import dequantize_operator
from edgeml_export.tflite_file import constant, read_tflite, write_tflite

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["store_constants_int8"]


def store_constants_int8(content: bytes, outputs: Collection[str]) -> bytes:
    """Store the float constants of some operators as int8 with a scale along one axis.

    Args:
        content: The file.
        outputs: Names of the tensors that those operators compute.

    Returns:
        The file with a DEQUANTIZE for each such constant.
    """
    model = read_tflite(content)
    graph = model.subgraphs[0]
    places = {
        int(place)
        for operator in graph.operators
        if any(graph.tensors[output].name.decode() in outputs for output in operator.outputs)
        for place in operator.inputs
        if place >= 0 and _is_large(model, graph.tensors[place])
    }
    front = [_stored(model, place) for place in sorted(places)]
    graph.operators = [*front, *graph.operators]
    return write_tflite(model)


def _is_large(model: Any, tensor: Any) -> bool:
    data = constant(model, tensor)
    return data is not None and tensor.type == schema.TensorType.FLOAT32 and len(data) >= 4 * MIN_ELEMENTS


def _stored(model: Any, place: int) -> Any:
    """Put an int8 constant behind a tensor; returns the operator that turns it back."""
    graph = model.subgraphs[0]
    tensor = graph.tensors[place]
    values = constant(model, tensor)
    small = small_constant(np.frombuffer(values.tobytes(), np.float32).reshape(tensor.shape))  # type: ignore[union-attr]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(small.values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    stored = schema.TensorT()
    stored.name = f"{tensor.name.decode()}:int8"
    stored.type, stored.shape, stored.hasRank = schema.TensorType.INT8, tensor.shape, True
    stored.buffer = len(model.buffers) - 1
    stored.quantization = schema.QuantizationParametersT()
    stored.quantization.scale = small.scale.ravel()
    stored.quantization.zeroPoint = np.zeros(small.scale.size, np.int64)
    stored.quantization.quantizedDimension = small.axis
    graph.tensors.append(stored)
    tensor.buffer = 0
    return dequantize_operator(model, len(graph.tensors) - 1, place)
