"""Running a traced graph node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.fx import GraphModule, Node

__all__ = ["call_node", "run_nodes"]


def run_nodes(module: GraphModule, inputs: tuple[Tensor, ...]) -> dict[Node, Any]:
    """The value of every node.

    Args:
        module: A traced model.
        inputs: One tensor per input, in order.

    Returns:
        Node → its value; the output node has none.
    """
    values: dict[Node, Any] = {}
    feeds = iter(inputs)
    with torch.inference_mode():
        for node in module.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(feeds)
            elif node.op == "get_attr":
                values[node] = _attribute(module, str(node.target))
            elif node.op == "call_function":
                values[node] = call_node(node, values)
    return values


def call_node(node: Node, values: Mapping[Node, Any]) -> Any:
    """Compute one operator.

    Args:
        node: A call of a function.
        values: The values of what it reads.

    Returns:
        Its value.
    """
    arguments = torch.fx.node.map_arg(node.args, lambda item: values[item])
    named = torch.fx.node.map_arg(node.kwargs, lambda item: values[item])
    return node.target(*arguments, **named)  # type: ignore[operator]


def _attribute(module: GraphModule, target: str) -> Any:
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value
