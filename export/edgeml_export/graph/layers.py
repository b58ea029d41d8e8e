"""The layers of a traced model: its convolutions and matrix products with weights, by the module that called them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from edgeml_export.graph.input_chain import constant_value, inputs_of, operator_name, shape_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

__all__ = ["WEIGHTED_OPERATORS", "Layer", "find_layers", "module_path"]

WEIGHTED_OPERATORS = {
    "conv1d": (1, 0),
    "conv2d": (1, 0),
    "conv3d": (1, 0),
    "conv_transpose1d": (1, 1),
    "conv_transpose2d": (1, 1),
    "conv_transpose3d": (1, 1),
    "linear": (1, 0),
    "matmul": (1, -1),
    "mm": (1, -1),
    "addmm": (2, -1),
}
"""ATen name → the position of the weight among the arguments, and of the weight's axis of output channels."""

_TRANSPOSED = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
_TWO_SIDED = frozenset({"matmul", "mm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator with weights.

    Attributes:
        path: Dotted path of the module that called it, inside the fused model; ``""`` is the fused model itself.
        operator: ATen name, such as ``conv2d``.
        node: Its node in the graph.
        source: The node it reads its activations from.
        weight: Its weights.
        weight_position: Where among its arguments they stand.
        channel_axis: Their axis of output channels.
        macs: Multiplications and additions for one item, in pairs.
    """

    path: str
    operator: str
    node: Node
    source: Node
    weight: Tensor
    weight_position: int
    channel_axis: int
    macs: int


def find_layers(module: GraphModule) -> tuple[Layer, ...]:
    """List the operators with constant weights, in the order of the graph.

    Args:
        module: A traced model; a matrix product of which the left side is constant counts as well.

    Returns:
        The layers.
    """
    batch = next((shape_of(source)[0] for source in inputs_of(module) if shape_of(source)), 1)
    found = (_layer(module, node, batch) for node in module.graph.nodes if operator_name(node) in WEIGHTED_OPERATORS)
    return tuple(layer for layer in found if layer is not None)


def module_path(node: Node) -> str:
    """Dotted path, inside the fused model, of the innermost module that an operator was called in.

    Args:
        node: A node of a traced model whose fused model is the child ``model`` of what was traced.
    """
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return (str(stack[-1][0]) if stack else "").removeprefix("model").removeprefix(".")


def _layer(module: GraphModule, node: Node, batch: int) -> Layer | None:
    name = operator_name(node)
    sides = [WEIGHTED_OPERATORS[name]] + ([(0, -2)] if name in _TWO_SIDED else [])
    source = next((item for item in node.all_input_nodes if constant_value(module, item) is None), None)
    for position, channel_axis in sides:
        weight = constant_value(module, node.args[position])
        if weight is not None and weight.ndim >= 2 and source is not None:
            return Layer(
                path=module_path(node),
                operator=name,
                node=node,
                source=source,
                weight=weight,
                weight_position=position,
                channel_axis=channel_axis,
                macs=_macs(node, source, weight, channel_axis) // batch,
            )
    return None


def _macs(node: Node, source: Node, weight: Tensor, channel_axis: int) -> int:
    """For the whole batch: what each output sums over, or what each input of a transposed convolution spreads to."""
    name, outputs = operator_name(node), prod(shape_of(node))
    if name in _TRANSPOSED:
        return prod(shape_of(source)) * (weight.numel() // weight.shape[0])
    if name in _TWO_SIDED:
        return outputs * int(weight.shape[-2] if channel_axis == -1 else weight.shape[-1])
    return outputs * (weight.numel() // int(weight.shape[channel_axis]))
