"""Global average pooling, written as what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeml_export.graph.folding import finish
from edgeml_export.graph.input_chain import operator_name

if TYPE_CHECKING:
    from torch.fx import GraphModule

__all__ = ["write_global_pools"]


def write_global_pools(module: GraphModule) -> None:
    """Write adaptive average pooling to one pixel as the mean over height and width.

    PyTorch decomposes the former by strides in memory, and where its input was transposed, as pixels are, converters
    are left with a gather that changes nothing and costs microseconds.

    Args:
        module: The traced model; it is changed.
    """
    for node in list(module.graph.nodes):
        if operator_name(node) == "adaptive_avg_pool2d" and list(node.args[1]) == [1, 1]:
            node.target = torch.ops.aten.mean.dim
            node.args = (node.args[0], [-2, -1], True)
    finish(module)
