"""PyTorch → ONNX in fp32: conversion, and which modules its nodes come from."""

from __future__ import annotations

import ast
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, numpy_helper

from edgeml_export.culprit import explain
from edgeml_export.onnx_compact import drop_unused
from edgeml_export.quiet import quiet
from edgeml_export.scopes import within
from edgeml_runtime.errors import DefectError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule

    from edgeml_export.graph.folding import ModelGraph, PixelQuantization
    from edgeml_export.prepared import Prepared
    from edgeml_export.tracing import Traced

__all__ = ["IR_VERSION", "OPSET", "OnnxGraph", "convert_onnx"]

# The exporter's own operator set: it emits 18, and gets to others by converting. ONNX 1.13 defined it together with IR
# version 8, and ONNX Runtime has read both since 1.14 (onnxruntime.ai/docs/reference/compatibility.html).
OPSET = 18
IR_VERSION = 8

_SCOPES_KEY = "pkg.torch.onnx.name_scopes"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """A converted model before it is quantized and trimmed for shipping.

    Attributes:
        model: The model; every node has a name. Inputs of which pixels were cut take the normalised values.
        paths: Node name → dotted paths of the modules that were being called, outermost first.
        after: Names of the nodes of post-processing, which stay float.
        pixels: Input name → the normalisation that was cut off.
    """

    model: ModelProto
    paths: Mapping[str, tuple[str, ...]]
    after: frozenset[str]
    pixels: Mapping[str, PixelQuantization]

    def within(self, scopes: Iterable[str]) -> frozenset[str]:
        """Names of the nodes that lie in module scopes.

        A node that names no module, which an optimization of the exporter made, belongs where everything that reads it
        belongs.

        Args:
            scopes: Dotted module paths.
        """
        wanted = tuple(scopes)
        names: set[str] = set()
        readers: dict[str, list[str]] = {}
        for node in reversed(self.model.graph.node):
            reading = [name for output in node.output for name in readers.get(output, [])]
            if node.name in self.paths:
                inside = any(within(path, wanted) for path in self.paths[node.name])
            else:
                inside = bool(reading) and names.issuperset(reading)
            if inside:
                names.add(node.name)
            for name in node.input:
                readers.setdefault(name, []).append(node.name)
        return frozenset(names)

    def called_in(self, modules: Collection[str]) -> frozenset[str]:
        """Names of the nodes that modules call themselves, not the modules inside them.

        Args:
            modules: Dotted module paths.
        """
        # The last entry is the operator's own name.
        return frozenset(name for name, paths in self.paths.items() if len(paths) > 1 and paths[-2] in modules)


def convert_onnx(prepared: Prepared, traced: Traced, graph: ModelGraph) -> OnnxGraph:
    """Convert a traced model.

    Args:
        prepared: The model.
        traced: Its trace, for naming what cannot be converted.
        graph: The form of the trace to convert.

    Returns:
        The ONNX graph in fp32, stripped of everything that tells where it was made.

    Raises:
        ProjectError: When an operator has no counterpart in ONNX.
    """
    names = prepared.input_names, prepared.output_names
    try:
        model, paths = _converted(graph.module, graph.example, names=names, dynamic_batch=traced.dynamic_batch)
    except Exception as error:  # the exporter wraps whatever its translations raise
        raise explain(graph, ModelFormat.ONNX, error, _converted) from error
    after = _post_processing(model, prepared)
    logger.debug("%d nodes, %d of post-processing", len(model.graph.node), len(after))
    return OnnxGraph(model=model, paths=paths, after=after, pixels=graph.pixels)


def _converted(
    module: GraphModule,
    example: tuple[Tensor, ...],
    *,
    names: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
    dynamic_batch: bool = False,
) -> tuple[ModelProto, dict[str, tuple[str, ...]]]:
    """The stripped model, which the checker and ONNX Runtime accept, and the module paths of its nodes."""
    with quiet(), torch.no_grad():
        converted = torch.onnx.export(
            _program(module, example, dynamic_batch=dynamic_batch),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=names[0],
            output_names=names[1],
        )
    if converted is None:
        raise DefectError("torch.onnx.export returned nothing")
    model: ModelProto = converted.model_proto
    paths = _name_nodes(model)
    _strip(model)
    model.ir_version = IR_VERSION
    _pool_globally(model)
    drop_unused(model.graph)
    onnx.checker.check_model(model, full_check=True)
    with quiet():
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return model, paths


def _program(module: GraphModule, example: tuple[Tensor, ...], *, dynamic_batch: bool) -> ExportedProgram:
    shapes = None
    if dynamic_batch:
        example = tuple(torch.cat([tensor, tensor]) for tensor in example)
        batch = torch.export.Dim("batch", min=1)
        shapes = tuple({0: batch} for _ in example)
    return torch.export.export(module, example, dynamic_shapes=shapes, strict=False)


def _name_nodes(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """Give every node a name, and read the module paths that the exporter leaves in the metadata."""
    paths: dict[str, tuple[str, ...]] = {}
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
        found = _module_paths(node)
        if found is not None:
            paths[node.name] = found
    return paths


def _module_paths(node: NodeProto) -> tuple[str, ...] | None:
    """Dotted paths of the modules that were being called, outermost first, or None where the node does not say."""
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES_KEY), None)
    if scopes is None:
        return None
    return tuple(str(path).removeprefix("model").removeprefix(".") for path in ast.literal_eval(scopes))


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
