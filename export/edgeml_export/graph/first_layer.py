"""The layer that an input chain ends at: what of an affine map its weights and its bias can take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from edgeml_export.graph.input_chain import constant_value, only_reader, operator_name, shape_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from edgeml_export.graph.input_chain import InputChain

__all__ = ["FirstLayer", "add_constant", "first_layer"]

_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
_PRODUCTS = frozenset({"matmul", "mm"})
_PADS = frozenset({"pad", "constant_pad_nd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLayer:
    """A convolution or matrix product with constant weights that reads the end of a chain.

    Attributes:
        node: The operator.
        weight: float32, its weights.
        bias: float32[outputs], or None.
        scale: float64, scale of the chain for every element of ``weight``, or 1 for several.
        offset: The same of the chain's offset.
        sums: Dimensions of ``weight`` that are summed over.
        obstacle: Why its bias cannot take over an offset; None where it can.
    """

    node: Node
    weight: Tensor
    bias: Tensor | None
    scale: Tensor
    offset: Tensor
    sums: tuple[int, ...]
    obstacle: str | None

    def multiply_weights(self, module: GraphModule, factor: Tensor) -> None:
        """Multiply what the layer reads by a factor, in its weights.

        Args:
            module: The traced model that it is in; it is changed.
            factor: float64, broadcastable to the weights.
        """
        weight = add_constant(module, self.node, "weight", self.weight.double() * factor)
        self.node.args = (self.node.args[0], weight, *self.node.args[2:])

    def add_to_bias(self, module: GraphModule, offset: Tensor) -> None:
        """Add an offset to what the layer reads, in its bias.

        Args:
            module: The traced model that it is in; it is changed.
            offset: float64, broadcastable to the weights.
        """
        shift = (self.weight.double() * offset).sum(self.sums)
        bias = add_constant(module, self.node, "bias", shift if self.bias is None else self.bias.double() + shift)
        self.node.args = (*self.node.args[:2], bias, *self.node.args[3:])


def first_layer(module: GraphModule, chain: InputChain) -> FirstLayer | None:
    """The layer behind a chain, perhaps with a padding between them.

    Args:
        module: The traced model.
        chain: The chain, of one of its inputs.

    Returns:
        The layer, or None where something else reads the chain, or the layer cannot take over so much as the scale.
    """
    padding = chain.reader if chain.reader is not None and _is_zero_padding(chain.reader) else None
    node, source = (chain.reader, chain.end) if padding is None else (only_reader(padding), padding)
    if node is None or node.args[0] is not source or node.kwargs:
        return None
    name = operator_name(node)
    if name not in (_CONVOLUTIONS if padding is not None else _CONVOLUTIONS | _PRODUCTS | {"linear"}):
        return None
    third = node.args[2] if len(node.args) > 2 else None
    weight, bias = constant_value(module, node.args[1]), constant_value(module, third)
    along = chain.affine.along(1 if name in _CONVOLUTIONS else -1)
    if weight is None or along is None or (bias is None and third is not None):
        return None
    if not _is_plain(node, weight):
        return None
    scale, offset = (_over_weights(part, node, weight) for part in along)
    return FirstLayer(
        node=node,
        weight=weight,
        bias=bias,
        scale=scale,
        offset=offset,
        sums=(0,) if name in _PRODUCTS else tuple(range(1, weight.ndim)),
        obstacle=_obstacle(node, padded=padding is not None),
    )


def add_constant(module: GraphModule, reader: Node, role: str, value: Tensor) -> Node:
    """A new constant of a graph.

    Args:
        module: The traced model; it is changed.
        reader: The operator that is to read it.
        role: What it is to that operator.
        value: The constant; it is stored as float32.

    Returns:
        Its node, in front of the operator.
    """
    name = f"folded_{reader.name}_{role}"
    module.register_buffer(name, value.to(torch.float32).contiguous())
    with module.graph.inserting_before(reader):
        return module.graph.get_attr(name)


def _is_plain(node: Node, weight: Tensor) -> bool:
    """Whether a layer computes in float32, on a whole batch where it is a convolution, with one matrix where not."""
    is_batched = len(shape_of(node)) == weight.ndim if operator_name(node) in _CONVOLUTIONS else weight.ndim == 2
    return is_batched and weight.dtype is torch.float32 and node.meta["val"].dtype is torch.float32


def _over_weights(part: Tensor, node: Node, weight: Tensor) -> Tensor:
    """A vector over the channels that a layer reads, or of one element for all, in the shape of its weights."""
    if operator_name(node) in _PRODUCTS:
        return part.expand(weight.shape[0])[:, None]
    if operator_name(node) == "linear":
        return part.expand(weight.shape[1])[None, :]
    outputs, per_group = weight.shape[:2]
    groups = _argument(node, 6, 1)
    first = torch.arange(outputs) // (outputs // groups) * per_group
    channels = first[:, None] + torch.arange(per_group)[None, :]
    return part.expand(per_group * groups)[channels].reshape([outputs, per_group] + [1] * (weight.ndim - 2))


def _obstacle(node: Node, *, padded: bool) -> str | None:
    if operator_name(node) in _PRODUCTS:
        return "it has no bias"
    if operator_name(node) == "linear":
        return None
    padding = _argument(node, 4, 0)
    pads = padding != "valid" if isinstance(padding, str) else any(torch.as_tensor(padding).reshape(-1).tolist())
    return "its zero padding stands for normalised values" if padded or pads else None


def _argument(node: Node, place: int, default: Any) -> Any:
    """An argument of ``conv2d(input, weight, bias, stride, padding, dilation, groups)`` and its like."""
    return node.args[place] if len(node.args) > place else default


def _is_zero_padding(node: Node) -> bool:
    """Whether zeros, and nothing else, are put around the axes of an image or a signal.

    The arguments are those of ``pad(input, pad, mode="constant", value=None)``, ``constant_pad_nd(input, pad, value)``.
    """
    name = operator_name(node)
    if name not in _PADS or node.kwargs:
        return False
    widths, rest = cast("list[Any]", node.args[1]), list(node.args[2:])
    mode = rest.pop(0) if name == "pad" and rest else "constant"
    value = rest[0] if rest else 0
    spatial = len(shape_of(node)) - 2
    return mode == "constant" and value in (None, 0) and len(widths) <= 2 * spatial and min(widths) >= 0
