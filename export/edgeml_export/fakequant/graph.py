"""The traced graph that is trained: weights as parameters, batch normalisation folded as it is for export."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch.fx import GraphModule

from edgeml_export.graph.fold_norms import fold_batch_norms
from edgeml_export.graph.folding import finish, unlifted
from edgeml_export.graph.input_chain import constant_value, operator_name
from edgeml_export.graph.layers import module_path
from edgeml_export.quiet import quiet
from edgeml_export.tracing import trace_program
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import Node

    from edgeml_export.prepared import Prepared

__all__ = ["node_keys", "parts_at", "settle_norms", "training_graph"]

_LAYERS = frozenset({"conv1d", "conv2d", "conv3d", "linear"})
_DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "dropout_"})


def settle_norms(prepared: Prepared) -> None:
    """Move every batch normalisation that export folds into the layer before it, in the modules themselves.

    What is left of it changes nothing: mean 0, variance 1 − ε, weight 1. So the weights that are trained, stored and
    exported are the folded ones, in a model of the same structure; folding it again gives the same weights bit by bit.
    A layer that shares its weights, or has no bias to take over the shift, stays as it is.

    Args:
        prepared: The model; it is changed.
    """
    with quiet():
        module = unlifted(trace_program(prepared, dynamic_batch=False))
    tensors = {**dict(prepared.module.named_parameters()), **dict(prepared.module.named_buffers())}
    for norm in [node for node in module.graph.nodes if operator_name(node) == "batch_norm"]:
        layer = norm.args[0]
        if operator_name(layer) in _LAYERS and len(layer.users) == 1 and _is_own(layer, norm):
            _settle(layer, norm, tensors)


def training_graph(prepared: Prepared) -> tuple[GraphModule, bool]:
    """Trace the model for training.

    Args:
        prepared: The model, its normalisations settled.

    Returns:
        The graph, whose parameters are the model's, by names with ``model.`` in front; and whether it takes batches, or
        one item at a time.

    Raises:
        ProjectError: When the model cannot be traced.
    """
    with quiet():
        program, takes_batches = _program(prepared)
        exported = unlifted(program)
        module = GraphModule(exported, exported.graph)  # torch.export's own class refuses to be put in training mode
        for norm in [node for node in module.graph.nodes if operator_name(node) == "batch_norm"]:
            _skip_settled(module, norm.args[0], norm)
        for node in [node for node in module.graph.nodes if operator_name(node) in _DROPOUTS]:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        fold_batch_norms(module)
    return module, takes_batches


def node_keys(module: GraphModule) -> dict[Node, str]:
    """Names of the activations of a graph, the same for every trace of the same model.

    Args:
        module: The graph, before anything is inserted.

    Returns:
        Node → path of its module, ATen operator, and which of those in the module; inputs by their position.
    """
    counts: Counter[tuple[str, str]] = Counter()
    keys: dict[Node, str] = {}
    for node in module.graph.nodes:
        place = (module_path(node), operator_name(node)) if node.op == "call_function" else ("", node.op)
        if node.op == "placeholder" or place[1]:
            keys[node] = f"{place[0]}:{place[1]}:{counts[place]}"
            counts[place] += 1
    return keys


def parts_at(module: GraphModule, node: Node) -> tuple[GraphModule, GraphModule] | None:
    """Cut a graph in two behind a node; both parts refer to the tensors and modules of the whole.

    Args:
        module: The graph.
        node: One of its operators.

    Returns:
        Inputs → value of the node, and value of the node → outputs; None where more than the node, and the size of the
        batch, is read across the cut.
    """
    place = [item.name for item in module.graph.nodes].index(node.name)
    front = torch.fx.Graph()
    copies: dict[Node, Node] = {}
    for item in list(module.graph.nodes)[: place + 1]:
        copies[item] = front.node_copy(item, lambda source: copies[source])
    front.output(copies[node])
    rear = torch.fx.Graph()
    moved = {node: rear.placeholder("features")}
    for item in list(module.graph.nodes)[place + 1 :]:
        for source in item.all_input_nodes:
            if source not in moved and not _bring(rear, moved, source):
                return None
        if item.op == "output":
            rear.output(torch.fx.node.map_arg(item.args[0], lambda source: moved[source]))
        else:
            moved[item] = rear.node_copy(item, lambda source: moved[source])
    parts = GraphModule(module, front), GraphModule(module, rear)
    for part in parts:
        finish(part)
    return parts


def _bring(graph: torch.fx.Graph, moved: dict[Node, Node], source: Node) -> bool:
    """Let a constant, or the size of the batch, be read behind a cut."""
    if source.op == "get_attr":
        moved[source] = graph.node_copy(source)
        return True
    if operator_name(source) == "sym_size" and source.args[1] == 0:
        features = next(iter(moved.values()))
        moved[source] = graph.call_function(torch.ops.aten.sym_size.int, (features, 0))
        return True
    return False


def _program(prepared: Prepared) -> tuple[torch.export.ExportedProgram, bool]:
    if prepared.batch > 1:
        try:
            return trace_program(prepared, dynamic_batch=True), True
        except ProjectError:
            pass  # its code fixes the batch in a graph though not in Python
    return trace_program(prepared, dynamic_batch=False), False


def _is_own(layer: Node, norm: Node) -> bool:
    """Whether nothing else reads the tensors of a layer and its normalisation."""
    attributes = [item for node in (layer, norm) for item in node.all_input_nodes if item.op == "get_attr"]
    return all(len(item.users) == 1 for item in attributes)


def _settle(layer: Node, norm: Node, tensors: dict[str, Tensor]) -> None:
    training, epsilon = norm.args[5], float(norm.args[7])  # type: ignore[arg-type]
    weight, bias = (_tensor(item, tensors) for item in (layer.args[1], layer.args[2] if len(layer.args) > 2 else None))
    scale, shift, mean, variance = (_tensor(item, tensors) for item in norm.args[1:5])
    target = bias if bias is not None else shift
    if training or weight is None or mean is None or variance is None or target is None:
        return
    with torch.no_grad():
        factor = 1.0 / torch.sqrt(variance.double() + epsilon)
        factor = factor if scale is None else factor * scale.double()
        moved = (0 if bias is None else bias.double()) - mean.double()
        moved = moved * factor + (0 if shift is None else shift.double())
        weight.copy_(weight.double() * factor.reshape([-1] + [1] * (weight.ndim - 1)))
        for tensor, value in ((mean, 0.0), (variance, 1.0 - epsilon), (scale, 1.0), (shift, 0.0), (bias, 0.0)):
            if tensor is not None:
                tensor.fill_(value)
        target.copy_(moved)


def _tensor(item: object, tensors: dict[str, Tensor]) -> Tensor | None:
    return tensors.get(str(item.target)) if isinstance(item, torch.fx.Node) else None


def _skip_settled(module: GraphModule, layer: Node, norm: Node) -> None:
    """Let a layer hand on what its settled normalisation would, with that one's shift as its bias."""
    scale, shift, mean, variance = (_constant(module, item) for item in norm.args[1:5])
    if operator_name(layer) not in _LAYERS or len(layer.users) != 1 or mean is None or variance is None:
        return
    epsilon = float(norm.args[7])  # type: ignore[arg-type]
    neutral = [mean == 0, (variance.double() + epsilon - 1).abs() < 1e-6]
    neutral += [] if scale is None else [scale == 1]
    bias = layer.args[2] if len(layer.args) > 2 else None
    if norm.args[5] or not all(bool(part.all()) for part in neutral):
        return
    if shift is not None and bias is not None and bool(shift.any()):
        return
    if bias is None and shift is not None:
        layer.args = (layer.args[0], layer.args[1], norm.args[2], *layer.args[3:])
    norm.replace_all_uses_with(layer)
    module.graph.erase_node(norm)
    finish(module)


def _constant(module: nn.Module, item: object) -> Tensor | None:
    return None if item is None else constant_value(module, item)  # type: ignore[arg-type]
