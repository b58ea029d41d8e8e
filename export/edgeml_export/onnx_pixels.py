"""Pixels in front of an ONNX graph: the uint8 input that a graph of normalised values is given back.

Which form is fastest was measured (docs/results.md): in float, interleaved pixels are read as one channel as wide as
all of them, so that nothing is transposed; in QDQ, a plain transpose of uint8, which ONNX Runtime's optimizer cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import GraphProto

    from edgeml_export.graph.folding import PixelQuantization

__all__ = ["DetachedInput", "attach_pixels", "detach_layout", "quantized_pixels"]

_LAYOUT = frozenset({"Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten"})
_TO_CHANNELS_FIRST = [0, 3, 1, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedInput:
    """Layout nodes that were taken off an input of a graph, to be done on pixels instead of normalised values.

    Attributes:
        name: Name of the input.
        nodes: The nodes, in order, as they were.
        constants: What they read besides, such as shapes.
        values: Name of the tensor behind them, which the graph takes instead.
        source: The input as it was declared.
    """

    name: str
    nodes: tuple[NodeProto, ...]
    constants: tuple[TensorProto, ...]
    values: str
    source: onnx.ValueInfoProto


def attach_pixels(model: ModelProto, pixels: Mapping[str, PixelQuantization], *, interleave: bool) -> None:
    """Let inputs take pixels and normalise them by one DequantizeLinear.

    Args:
        model: Takes normalised values; it is changed.
        pixels: Input name → its normalisation.
        interleave: Whether a convolution that reads interleaved channels may be rewritten to read them as they lie.
    """
    for name, pixel in pixels.items():
        graph = model.graph
        conv = _interleaved_convolution(model, name) if interleave else None
        values = f"{name}:values"
        _rename_readers(graph, name, values)
        front: list[NodeProto] = []
        source = name
        if conv is not None:
            source = f"{name}:interleaved"
            front.append(_read_as_one_channel(graph, name, source, conv))
        parameters = _parameters(graph, name, pixel)
        front.append(helper.make_node("DequantizeLinear", [source, *parameters], [values], f"{name}:normalise"))
        next(item for item in graph.input if item.name == name).type.tensor_type.elem_type = TensorProto.UINT8
        _prepend(graph, front)


def detach_layout(model: ModelProto, name: str) -> DetachedInput:
    """Take changes of layout off an input, so that the graph begins with the first real operator.

    Args:
        model: The model; it is changed.
        name: One of its inputs.

    Returns:
        What was taken off.
    """
    graph = model.graph
    shapes = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    declared = next(item for item in graph.input if item.name == name)
    source = onnx.ValueInfoProto.FromString(declared.SerializeToString())
    nodes: list[NodeProto] = []
    values = name
    while (node := _only_reader(graph, values)) is not None and node.op_type in _LAYOUT:
        if node.output[0] not in shapes or not constants.keys() >= set(node.input[1:]):
            break
        nodes.append(node)
        values = node.output[0]
    copies = tuple(NodeProto.FromString(node.SerializeToString()) for node in nodes)
    read = [constants[other] for node in nodes for other in node.input[1:]]
    for node in nodes:
        graph.node.remove(node)
    if nodes:
        declared.CopyFrom(shapes[values])
    return DetachedInput(
        name=name,
        nodes=copies,
        constants=tuple(TensorProto.FromString(tensor.SerializeToString()) for tensor in read),
        values=values,
        source=source,
    )


def quantized_pixels(model: ModelProto, detached: DetachedInput, pixel: PixelQuantization) -> None:
    """Let the pixels of an input be its quantized values, and do on them what was taken off.

    Args:
        model: The quantized model; it is changed.
        detached: The input, as :func:`detach_layout` gave it.
        pixel: Its normalisation.
    """
    graph = model.graph
    declared = next(item for item in graph.input if item.name == detached.values)
    declared.CopyFrom(detached.source)
    declared.type.tensor_type.elem_type = TensorProto.UINT8
    pixel_values = f"{detached.name}:pixels" if detached.nodes else detached.name
    front = _attached(graph, detached, pixel_values)
    quantizing = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == detached.values]
    for node in quantizing:
        graph.node.remove(node)
    if any(detached.values in node.input for node in graph.node):  # by what stays float
        floats = f"{detached.name}:values"
        _rename_readers(graph, detached.values, floats)
        parameters = _parameters(graph, detached.name, pixel)
        front.append(helper.make_node("DequantizeLinear", [pixel_values, *parameters], [floats], f"{detached.name}:dq"))
    for node in quantizing:
        _rename_readers(graph, node.output[0], pixel_values)
    _prepend(graph, front)


def _attached(graph: GraphProto, detached: DetachedInput, output: str) -> list[NodeProto]:
    """The nodes that were taken off an input, with what they read put back into the graph."""
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in detached.nodes]
    if nodes:
        nodes[0].input[0] = detached.name
        nodes[-1].output[0] = output
    stored = {tensor.name for tensor in graph.initializer}
    graph.initializer.extend(
        {tensor.name: tensor for tensor in detached.constants if tensor.name not in stored}.values()
    )
    return nodes


def _parameters(graph: GraphProto, name: str, pixel: PixelQuantization) -> list[str]:
    scale, zero_point = f"{name}:scale", f"{name}:zero_point"
    graph.initializer.append(numpy_helper.from_array(np.array(pixel.scale, np.float32), scale))
    graph.initializer.append(numpy_helper.from_array(np.array(pixel.zero_point, np.uint8), zero_point))
    return [scale, zero_point]


def _interleaved_convolution(model: ModelProto, name: str) -> NodeProto | None:
    """The convolution that reads an input [n, h, w, c] through a transpose alone, where it can read it as it lies."""
    graph = model.graph
    transpose = _only_reader(graph, name)
    if transpose is None or transpose.op_type != "Transpose" or _attribute(transpose, "perm") != _TO_CHANNELS_FIRST:
        return None
    conv = _only_reader(graph, transpose.output[0])
    if conv is None or conv.op_type != "Conv" or _attribute(conv, "group", 1) != 1:
        return None
    weight = next((tensor for tensor in graph.initializer if tensor.name == conv.input[1]), None)
    if weight is None or len(weight.dims) != 4 or len([node for node in graph.node if weight.name in node.input]) != 1:
        return None
    plain = _attribute(conv, "dilations", [1, 1]) == [1, 1] and _attribute(conv, "auto_pad", b"NOTSET") == b"NOTSET"
    return conv if plain else None


def _read_as_one_channel(graph: GraphProto, name: str, output: str, conv: NodeProto) -> NodeProto:
    """Rewrite a convolution over c interleaved channels as one over a single channel c times as wide.

    A window of w pixels is a window of c · w values; it moves by c · stride of them, and padding is c times as wide.
    """
    declared = next(item for item in graph.input if item.name == name)
    height, width, channels = (dim.dim_value for dim in declared.type.tensor_type.shape.dim[1:])
    transpose = next(node for node in graph.node if node.output[0] == conv.input[0])
    weight = next(tensor for tensor in graph.initializer if tensor.name == conv.input[1])
    values = numpy_helper.to_array(weight)
    outputs, _, kernel_height, kernel_width = values.shape
    wide = values.transpose(0, 2, 3, 1).reshape(outputs, 1, kernel_height, kernel_width * channels)
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(wide), weight.name))
    strides = _attribute(conv, "strides", [1, 1])
    top, left, bottom, right = _attribute(conv, "pads", [0, 0, 0, 0])
    del conv.attribute[:]
    conv.attribute.extend(
        [
            helper.make_attribute("kernel_shape", [kernel_height, kernel_width * channels]),
            helper.make_attribute("strides", [strides[0], strides[1] * channels]),
            helper.make_attribute("pads", [top, left * channels, bottom, right * channels]),
        ]
    )
    conv.input[0] = transpose.input[0]
    graph.node.remove(transpose)
    shape = f"{name}:one_channel"
    graph.initializer.append(numpy_helper.from_array(np.array([0, 1, height, width * channels], np.int64), shape))
    return helper.make_node("Reshape", [name, shape], [output], f"{name}:interleave")


def _only_reader(graph: GraphProto, name: str) -> NodeProto | None:
    readers = [node for node in graph.node if name in node.input]
    return readers[0] if len(readers) == 1 and not any(item.name == name for item in graph.output) else None


def _rename_readers(graph: GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _prepend(graph: GraphProto, nodes: list[NodeProto]) -> None:
    rest = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)
