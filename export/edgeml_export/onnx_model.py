"""PyTorch → ONNX in fp32: conversion, and which of its nodes stay float in quantized variants."""

from __future__ import annotations

import ast
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper

from edgeml_export.onnx_compact import drop_unused
from edgeml_export.quiet import quiet
from edgeml_export.scopes import within
from edgeml_export.tracing import explain
from edgeml_runtime.errors import DefectError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgeml_export.prepared import Prepared

__all__ = ["IR_VERSION", "OPSET", "OnnxGraph", "convert_onnx"]

# The exporter's own operator set: it emits 18, and gets to others by converting. ONNX 1.13 defined it together with IR
# version 8, and ONNX Runtime has read both since 1.14 (onnxruntime.ai/docs/reference/compatibility.html).
OPSET = 18
IR_VERSION = 8

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """A converted model before it is trimmed for shipping.

    Attributes:
        model: The model; every node has a name.
        float_nodes: Names of the nodes that stay float: those in float scopes, and post-processing.
        front_nodes: Those of them that lie in float scopes.
    """

    model: ModelProto
    float_nodes: frozenset[str]
    front_nodes: frozenset[str]


def convert_onnx(prepared: Prepared, program: ExportedProgram) -> OnnxGraph:
    """Convert the traced model.

    Args:
        prepared: The model.
        program: Its trace.

    Returns:
        The ONNX graph in fp32, with a static batch of one, stripped of everything that tells where it was made.

    Raises:
        ProjectError: When an operator has no counterpart in ONNX.
    """
    try:
        with quiet(), torch.no_grad():
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(prepared.input_names),
                output_names=list(prepared.output_names),
            )
    except Exception as error:  # the exporter wraps whatever its translations raise
        raise explain(program, "ONNX", error) from error
    if converted is None:
        raise DefectError("torch.onnx.export returned nothing")
    model: ModelProto = converted.model_proto
    front = _front_nodes(model, prepared)
    _strip(model)
    model.ir_version = IR_VERSION
    _pool_globally(model)
    drop_unused(model.graph)
    onnx.checker.check_model(model, full_check=True)
    after = _post_processing(model, prepared)
    logger.debug("%d nodes, %d in float scopes, %d of post-processing", len(model.graph.node), len(front), len(after))
    return OnnxGraph(model=model, float_nodes=front | after, front_nodes=front)


def _front_nodes(model: ModelProto, prepared: Prepared) -> frozenset[str]:
    """Names of the nodes in float scopes, from the module paths that the exporter leaves in the metadata.

    A node without them, which an optimization of the exporter made, belongs where everything that reads it belongs.
    """
    names: set[str] = set()
    readers: dict[str, list[str]] = {}
    for index, node in reversed(list(enumerate(model.graph.node))):
        node.name = node.name or f"{node.op_type}_{index}"
        paths = _module_paths(node)
        reading = [name for output in node.output for name in readers.get(output, [])]
        if paths is None:
            inside = bool(reading) and names.issuperset(reading)
        else:
            inside = any(within(path, prepared.scopes.float_scopes) for path in paths)
        if inside:
            names.add(node.name)
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    return frozenset(names)


def _module_paths(node: NodeProto) -> list[str] | None:
    """Dotted paths of the modules that were being called, outermost first, or None where the node does not say."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES_KEY), None)
    if scopes is None:
        return None
    return [str(path).removeprefix("model").removeprefix(".") for path in ast.literal_eval(scopes)]


def _strip(model: ModelProto) -> None:
    """Remove what depends on place and maker: source paths, stack traces, documentation, producer."""
    graph = model.graph
    graph.name = "model"
    model.producer_name = model.producer_version = model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:], function.value_info[:]
    nodes = [node for holder in (graph, *model.functions) for node in holder.node]
    for item in (*nodes, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


def _pool_globally(model: ModelProto) -> None:
    """Write the mean over the image axes as GlobalAveragePool, for which ONNX Runtime has an int8 kernel."""
    inferred = onnx.shape_inference.infer_shapes(model)
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in inferred.graph.value_info}
    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "ReduceMean" and _is_global_pool(node, ranks, constants):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]


def _is_global_pool(node: NodeProto, ranks: dict[str, int], constants: dict[str, onnx.TensorProto]) -> bool:
    if len(node.input) < 2 or node.input[1] not in constants or ranks.get(node.input[0]) != 4:
        return False
    axes = {int(axis) % 4 for axis in numpy_helper.to_array(constants[node.input[1]])}
    keepdims = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
    return axes == {2, 3} and keepdims == 1


def _post_processing(model: ModelProto, prepared: Prepared) -> frozenset[str]:
    """Names of the nodes behind an output, such as the softmax of the logits, and of a softmax that is an output."""
    outputs = set(prepared.output_names)
    behind: set[str] = set()
    names = set()
    for node in model.graph.node:
        if any(name in outputs or name in behind for name in node.input):
            behind.update(node.output)
            names.add(node.name)
        elif node.op_type == "Softmax" and outputs.intersection(node.output):
            names.add(node.name)
    return frozenset(names)
