"""Keeping layers float in a QDQ graph, against ONNX Runtime's own will.

ONNX Runtime takes a convolution or Gemm with float weights between a DequantizeLinear and a QuantizeLinear for one that
was forgotten: when it loads the model it quantizes the weights, in 8 bits with one scale for all of them (seen with
1.32: onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc). A layer that stays float for the sake of
accuracy would be int8 after all, and wrong where there is no VNNI. It does so only where the input has a single scale;
the same scale, stated for every position on an axis, dequantizes to the same numbers and stops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["keep_float"]

# What ONNX Runtime looks at.
_REQUANTIZED = frozenset({"Conv", "ConvTranspose", "Gemm"})


def keep_float(model: ModelProto, float_nodes: Collection[str]) -> None:
    """Give layers that are to stay float an input that is dequantized by a scale per position.

    Args:
        model: The QDQ model; it is changed.
        float_nodes: Names of the nodes that stay float.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    shapes = _shapes(model)
    for node in list(graph.node):
        dequantize = makers.get(node.input[0]) if node.op_type in _REQUANTIZED and node.name in float_nodes else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        sizes = shapes.get(dequantize.output[0], [])
        axis = next((place for place, size in enumerate(sizes) if place > 0 and size > 1), None)
        if axis is not None:
            own = _per_position(model, dequantize, f"{node.name}:input", axis, sizes[axis])
            node.input[0] = own.output[0]
            graph.node.insert(list(graph.node).index(dequantize) + 1, own)


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """Sizes of every value; 0 where one is open."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    infos = (*inferred.value_info, *inferred.input)
    return {info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in infos}


def _per_position(model: ModelProto, dequantize: NodeProto, name: str, axis: int, size: int) -> NodeProto:
    """The same dequantization, with scale and zero point repeated along an axis."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = [dequantize.input[0]]
    for parameter, suffix in zip(dequantize.input[1:], ("scale", "zero_point"), strict=False):
        value = numpy_helper.to_array(constants[parameter])
        repeated = np.ascontiguousarray(np.broadcast_to(value.reshape(-1)[0], (size,)))
        model.graph.initializer.append(numpy_helper.from_array(repeated, f"{name}:{suffix}"))
        inputs.append(f"{name}:{suffix}")
    return helper.make_node("DequantizeLinear", inputs, [name], name, axis=axis)
