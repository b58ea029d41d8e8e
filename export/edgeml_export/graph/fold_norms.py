"""Batch normalisation folded into the layer before it, so that a layer's weights are those that ship.

Converters do this too, but lose on the way which module a layer belongs to; and what quantizing a layer loses depends
on the weights after folding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeml_export.graph.first_layer import add_constant
from edgeml_export.graph.folding import finish
from edgeml_export.graph.input_chain import constant_value, operator_name

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

__all__ = ["fold_batch_norms"]

# Their weights have output channels first.
_LAYERS = frozenset({"conv1d", "conv2d", "conv3d", "linear"})


def fold_batch_norms(module: GraphModule) -> None:
    """Fold every batch normalisation with fixed statistics that alone reads a convolution or linear layer.

    y = (w·x + b − mean) / √(variance + ε) · weight + bias (Ioffe and Szegedy, 2015, arXiv:1502.03167) is a layer with
    scaled weights and another bias.

    Args:
        module: The traced model; it is changed.
    """
    for norm in [node for node in module.graph.nodes if operator_name(node) == "batch_norm"]:
        layer = norm.args[0]
        if operator_name(layer) in _LAYERS and len(layer.users) == 1:
            _fold(module, layer, norm)
    finish(module)


def _fold(module: GraphModule, layer: Node, norm: Node) -> None:
    weight = constant_value(module, layer.args[1])
    statistics = _statistics(module, norm, 0 if weight is None else len(weight))
    bias_node = layer.args[2] if len(layer.args) > 2 else None
    bias = None if bias_node is None else constant_value(module, bias_node)
    if weight is None or statistics is None or (bias is None and bias_node is not None):
        return
    scale, shift = statistics
    folded = weight.double() * scale.reshape([-1] + [1] * (weight.ndim - 1))
    moved = shift if bias is None else shift + bias.double() * scale
    constants = [
        add_constant(module, layer, role, value) for role, value in (("norm_weight", folded), ("norm_bias", moved))
    ]
    layer.args = (layer.args[0], *constants, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    module.graph.erase_node(norm)


def _statistics(module: GraphModule, norm: Node, channels: int) -> tuple[Tensor, Tensor] | None:
    """Scale and shift of a normalisation, float64[channels]; None where it uses the batch's own statistics."""
    weight, bias, mean, variance, training, _, epsilon = norm.args[1:8]
    values = [None if item is None else constant_value(module, item) for item in (weight, bias, mean, variance)]
    if training or values[2] is None or values[3] is None:
        return None
    factor = 1.0 / torch.sqrt(values[3].double() + float(epsilon))  # type: ignore[arg-type]
    scale = factor if values[0] is None else factor * values[0].double()
    shift = -values[2].double() * scale
    if values[1] is not None:
        shift = shift + values[1].double()
    return (scale, shift) if len(scale) == channels else None
