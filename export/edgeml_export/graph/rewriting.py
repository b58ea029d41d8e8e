"""Writing what a traced graph does to an input in its shortest form: changes of layout, one cast, one or two steps."""

from __future__ import annotations

from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from edgeml_export.graph.first_layer import add_constant
from edgeml_export.graph.input_chain import (
    is_arithmetic,
    is_layout,
    operator_name,
    permutation_of,
    readers_of,
    shape_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch._ops import OpOverload
    from torch.fx import GraphModule, Node

    from edgeml_export.graph.affine import Affine
    from edgeml_export.graph.input_chain import InputChain

__all__ = ["Remainder", "rewrite"]

_ATEN = torch.ops.aten
_VIEWS = frozenset({"view", "_unsafe_view"})
# Elements of a row over which constants are repeated: kernels are hardly faster on longer ones, and constants grow.
_ROW = 255


class Remainder(Enum):
    """What of an affine map stays in a graph."""

    NOTHING = "x"
    CENTRE = "x + offset / scale"
    WHOLE = "(x + offset / scale) · scale"


def rewrite(module: GraphModule, chain: InputChain, remainder: Remainder) -> None:
    """Write a chain as its changes of layout, a cast to float32 where it is one, and one or two steps with constants.

    Args:
        module: The traced model; it is changed.
        chain: The chain, of one of its inputs.
        remainder: What of its map stays; ``CENTRE`` needs a scale that is nowhere zero.
    """
    place, affine = _placed(chain, remainder)
    origin = next((node for node in reversed(chain.nodes) if is_arithmetic(node)), chain.end).meta
    dtype = chain.source.meta["val"].dtype
    moved_dtype = dtype if dtype.itemsize == 1 else torch.float32
    front = _moves(module, chain.nodes[:place], chain.source, moved_dtype)
    _moves(module, chain.nodes[place:], front, torch.float32)
    steps = _steps(affine, remainder)
    row = _row(front.meta["val"].shape) if affine.is_row and steps else 1
    if dtype != moved_dtype:
        cast = _cast_flat(module, chain.source, origin)
        front = cast if front is chain.source else front
    _insert(module, front, steps, row, origin)


def _placed(chain: InputChain, remainder: Remainder) -> tuple[int, Affine]:
    """Behind how many operators of a chain its map is best written, and what it is there.

    Where its constants lie along the last axis, it can be written over rows of many such groups. Elsewhere it is best
    late, as long as its constants do not grow: values of 8 bits are then moved instead of floats.
    """
    nodes = chain.nodes
    if remainder is Remainder.NOTHING:
        return len(nodes), chain.affine
    first = max((position for position, node in enumerate(nodes, start=1) if is_arithmetic(node)), default=0)
    places = [(at, chain.maps[at]) for at in range(first, len(nodes) + 1)]
    places = [(at, affine) for at, affine in places if affine.elements <= places[0][1].elements]
    affine = chain.maps[first]
    for at in range(first, 0, -1):
        order = permutation_of(nodes[at - 1])
        if order is None:
            break
        affine = affine.permuted_back(order)
        places.insert(0, (at - 1, affine))
    return next((place for place in places if place[1].is_row), places[-1])


def _moves(module: GraphModule, nodes: Sequence[Node], start: Node, dtype: torch.dtype) -> Node:
    """Leave of operators behind a node their changes of layout, several reshapes as one; returns the last of them."""
    current = start
    for node in nodes:
        if operator_name(node) in _VIEWS:  # what made its operand contiguous is gone
            node.target = _ATEN.reshape.default
        is_reshape = operator_name(node) == "reshape"
        if is_reshape and operator_name(current) == "reshape" and current is not start:
            before = current.all_input_nodes[0]
            node.update_arg(0, before)
            module.graph.erase_node(current)
            current = before
        if is_layout(node) and not (is_reshape and shape_of(node) == shape_of(current)):
            node.meta["val"] = node.meta["val"].to(dtype)
            current = node
        else:
            node.replace_all_uses_with(current)
            module.graph.erase_node(node)
    return current


def _steps(affine: Affine, remainder: Remainder) -> list[tuple[OpOverload, Tensor]]:
    """The operators that compute what stays of a map, each with its constant.

    The offset is added first: a mean that is large beside the deviation cancels before anything is rounded.
    """
    add, multiply = (_ATEN.add.Tensor, affine.offset), (_ATEN.mul.Tensor, affine.scale)
    if remainder is Remainder.NOTHING:
        steps = []
    elif bool((affine.scale == 0).any()):
        steps = [multiply, add]
    else:
        centre = (_ATEN.add.Tensor, affine.offset / affine.scale)
        steps = [centre, multiply] if remainder is Remainder.WHOLE else [centre]
    neutral = {_ATEN.add.Tensor: 0, _ATEN.mul.Tensor: 1}
    return [(operator, value) for operator, value in steps if bool((value != neutral[operator]).any())]


def _row(sizes: Sequence[int | torch.SymInt]) -> int:
    """How many elements a row has, over which constants of the last axis are repeated; 1 where they stay as they are.

    Kernels are slow where a constant is as short as the channels of a pixel and is broadcast over all pixels: on
    96 × 96 × 3 values an addition and a multiplication took 210 µs in ONNX Runtime 1.32 and 115 µs in LiteRT 2.3, over
    rows of about 200 they took 20 and 8 µs.
    """
    inner = [size for size in sizes[1:] if isinstance(size, int)]
    if len(inner) < max(2, len(sizes) - 1):
        return 1
    counts = range(2, _ROW // inner[-1] + 1)
    return inner[-1] * max((count for count in counts if prod(inner[:-1]) % count == 0), default=0) or 1


def _insert(
    module: GraphModule,
    front: Node,
    steps: Sequence[tuple[OpOverload, Tensor]],
    row: int,
    origin: Mapping[str, Any],
) -> None:
    """Put a cast to float32, where it is one, and steps behind a node, as of the module that the steps come from."""
    current, sizes = front, front.meta["val"].shape
    if row > 1:
        current = _append(module, current, _ATEN.reshape.default, [[-1, prod(sizes[1:]) // row, row]], origin)
    if front.meta["val"].dtype != torch.float32:
        current = _append(module, current, _ATEN.to.dtype, [torch.float32], origin)
    for operator, value in steps:
        current = _append(module, current, operator, [1.0], origin)
        constant = value if row == 1 else value.reshape(-1).expand(sizes[-1]).repeat(row // sizes[-1])
        current.update_arg(1, add_constant(module, current, "constant", constant))
    if row > 1:
        _append(module, current, _ATEN.reshape.default, [[-1, *sizes[1:]]], origin)


def _cast_flat(module: GraphModule, source: Node, origin: Mapping[str, Any]) -> Node:
    """Cast an input to float32 before anything is moved, and as a vector, through which nothing else is moved either.

    TFLite's converter moves its own transposes to the inputs, and has none for integers of 16 bits.
    """
    shape = source.meta["val"].shape
    node = _append(module, source, _ATEN.reshape.default, [[-1, prod(shape[1:])]], origin) if len(shape) > 3 else source
    node = _append(module, node, _ATEN.to.dtype, [torch.float32], origin)
    return _append(module, node, _ATEN.reshape.default, [[-1, *shape[1:]]], origin) if len(shape) > 3 else node


def _append(
    module: GraphModule, node: Node, operator: OpOverload, arguments: Sequence[Any], origin: Mapping[str, Any]
) -> Node:
    """Put an operator between a node and all that read its values."""
    graph, readers = module.graph, readers_of(node)
    with graph.inserting_before(next((other for other in graph.nodes if other in readers), graph.output_node())):
        added = graph.call_function(operator, (node, *arguments))
    added.meta = {**origin, "val": operator(node.meta["val"], *arguments)}
    node.replace_all_uses_with(added, delete_user_cb=lambda user: user in readers)
    return added
