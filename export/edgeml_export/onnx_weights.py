"""ONNX variants whose weights are stored in fewer bits and computed with in float.

ONNX Runtime folds operators of constants when it loads a model, so a weight that is cast back costs nothing per call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgeml_export.small_constants import MIN_ELEMENTS, small_constant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray
    from onnx import GraphProto

    Float32 = NDArray[np.float32]
    _Stored = tuple[list[TensorProto], list[NodeProto]]

__all__ = ["WEIGHTED_OPERATORS", "store_constants_int8", "store_weights_fp16", "store_weights_int8"]

# The node that casts a constant back takes about as many bytes as this many elements save.
_MIN_ELEMENTS = 64
_FP16_MAX = float(np.finfo(np.float16).max)
_INT8_MAX = 127

# Operator → axis of its weight, the second input, that holds output channels.
WEIGHTED_OPERATORS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}


def store_weights_fp16(model: ModelProto, keep: Collection[str]) -> ModelProto:
    """Store weights of layers as 16-bit floats; those too large for them stay as they are.

    Args:
        model: The fp32 model; it is not changed.
        keep: Names of nodes whose weights stay as they are.

    Returns:
        The model with a cast behind every such weight.
    """

    def stored(name: str, values: Float32, _: int) -> _Stored | None:
        if float(np.abs(values).max()) > _FP16_MAX:
            return None
        constant = numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16")
        cast = helper.make_node("Cast", [constant.name], [name], f"{name}.cast", to=TensorProto.FLOAT)
        return [constant], [cast]

    return _stored_weights(model, keep, stored)


def store_weights_int8(model: ModelProto, keep: Collection[str]) -> ModelProto:
    """Store weights of layers as symmetric int8 with a scale per output channel.

    Args:
        model: The fp32 model; it is not changed.
        keep: Names of nodes whose weights stay float.

    Returns:
        The model with a cast and a multiplication behind every such weight.
    """

    def stored(name: str, values: Float32, axis: int) -> _Stored:
        return _as_int8(name, *_quantized(values, axis))

    return _stored_weights(model, keep, stored)


def store_constants_int8(model: ModelProto, nodes: Collection[str]) -> ModelProto:
    """Store the large float constants that some nodes read as int8 with a scale along one axis.

    Args:
        model: The model; it is not changed.
        nodes: Names of the nodes.

    Returns:
        The model with a cast and a multiplication behind every such constant that no other node reads.
    """
    copied = ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    front: list[NodeProto] = []
    for tensor in list(graph.initializer):
        readers = [node.name for node in graph.node if tensor.name in node.input]
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < MIN_ELEMENTS or not set(readers) <= set(nodes):
            continue
        small = small_constant(values)
        constants, turned_back = _as_int8(tensor.name, small.values, small.scale)
        graph.initializer.extend(constants)
        graph.initializer.remove(tensor)
        front += turned_back
    _prepend(graph, front)
    return copied


def _as_int8(name: str, integers: NDArray[np.int8], scale: Float32) -> _Stored:
    constants = [numpy_helper.from_array(integers, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
    cast = helper.make_node("Cast", [f"{name}.int8"], [f"{name}.float"], f"{name}.cast", to=TensorProto.FLOAT)
    times = helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name], f"{name}.times")
    return constants, [cast, times]


def _prepend(graph: GraphProto, nodes: list[NodeProto]) -> None:
    rest = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _stored_weights(
    model: ModelProto, keep: Collection[str], store: Callable[[str, Float32, int], _Stored | None]
) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    front: list[NodeProto] = []
    for tensor in list(graph.initializer):
        axis = _channel_axis(tensor, readers.get(tensor.name, []), keep)
        made = None if axis is None else store(tensor.name, numpy_helper.to_array(tensor), axis)
        if made is not None:
            graph.initializer.extend(made[0])
            graph.initializer.remove(tensor)
            front += made[1]
    _prepend(graph, front)
    return copied


def _channel_axis(tensor: TensorProto, readers: list[NodeProto], keep: Collection[str]) -> int | None:
    """The axis of output channels, where a constant is the weight of layers that are to be quantized; else None."""
    if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < _MIN_ELEMENTS:
        return None
    axes = set()
    for node in readers:
        if node.op_type not in WEIGHTED_OPERATORS or node.input[1] != tensor.name or node.name in keep:
            return None
        axis = WEIGHTED_OPERATORS[node.op_type]
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        axes.add((0 if transposed else axis) % len(tensor.dims))
    return axes.pop() if len(axes) == 1 else None


def _quantized(values: Float32, axis: int) -> tuple[NDArray[np.int8], Float32]:
    """Symmetric int8 per channel: round(w / s) with s = max |w| / 127, which is 1 where float32 has no such number."""
    others = tuple(index for index in range(values.ndim) if index != axis)
    scale = np.abs(values).max(axis=others, keepdims=True) / np.float32(_INT8_MAX)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.clip(np.rint(values / scale), -_INT8_MAX, _INT8_MAX).astype(np.int8), scale
