"""Preprocessing that costs nothing: affine maps of inputs, folded into the weights behind them.

An affine map in front of a convolution or linear layer goes into its weights and bias, exactly but for float rounding.
Zero padding pads the *mapped* values: where a convolution pads, only the scale is folded, and one addition stays.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from edgeml_export.graph.first_layer import first_layer
from edgeml_export.graph.folding import Folding, ModelGraph, finish, remaining_operators
from edgeml_export.graph.input_chain import input_chain, inputs_of, is_arithmetic, operator_name
from edgeml_export.graph.rewriting import Remainder, rewrite

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from edgeml_export.graph.first_layer import FirstLayer

__all__ = ["fold_affine"]

# Values that are centred first have about the size of 1. A bias that takes over an offset of 32 adds numbers of that
# size, which costs 5 of the 24 bits that float32 has.
_MAX_OFFSET = 32.0


def fold_affine(graph: ModelGraph) -> ModelGraph:
    """Fold what affine maps are left into the weights behind them.

    This is for float weights: quantized ones are finer where each input keeps a range of its own.

    Args:
        graph: What :func:`edgeml_export.graph.folding.cut_pixels` gave; it stays as it is.

    Returns:
        A graph of its own.
    """
    module = copy.deepcopy(graph.module)
    foldings = []
    for source, before in zip(list(inputs_of(module)), graph.foldings, strict=True):
        folded = None if before.input in graph.pixels else _fold(module, source)
        if folded is None:
            foldings.append(before)
            continue
        text = f"{folded}; variants other than fp32 keep {', '.join(before.remaining)}"
        remaining = remaining_operators(module, source)
        foldings.append(Folding(input=before.input, folded=text, remaining=remaining))
    finish(module)
    return ModelGraph(module=module, example=graph.example, pixels=graph.pixels, foldings=tuple(foldings))


def _fold(module: GraphModule, source: Node) -> str | None:
    """Fold an input's map into the layer behind it; returns what was done, None where there is nothing to gain."""
    chain = input_chain(module, source)
    layer = first_layer(module, chain)
    if layer is None or not any(map(is_arithmetic, chain.nodes)):
        return None
    obstacle = _obstacle(layer)
    if obstacle is not None and bool((layer.scale == 0).any() or (layer.scale == 1).all()):
        return None
    rewrite(module, chain, Remainder.NOTHING if obstacle is None else Remainder.CENTRE)
    layer.multiply_weights(module, layer.scale)
    where = f"in the weights of the first {operator_name(layer.node)}"
    if obstacle is not None:
        return f"the scale is {where}, the offset is not because {obstacle}"
    if bool((layer.offset == 0).all()):
        return f"the scale is {where}"
    layer.add_to_bias(module, layer.offset)
    return f"scale and offset are {where}"


def _obstacle(layer: FirstLayer) -> str | None:
    """Why the layer's bias cannot take over the offset; None where it can, or where there is none."""
    if bool((layer.offset == 0).all()):
        return None
    if layer.obstacle is None and float(layer.offset.abs().max()) > _MAX_OFFSET:
        return "it is too large beside the scale for sums in float32"
    return layer.obstacle
