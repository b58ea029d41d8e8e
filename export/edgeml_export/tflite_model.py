"""PyTorch → TFLite in fp32: conversion, which operators stay float, and trimming for shipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from edgeml_export.quiet import quiet
from edgeml_export.tflite_file import constant, read_tflite, write_tflite
from edgeml_export.tracing import explain
from edgeml_runtime.errors import DefectError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgeml_export.prepared import Prepared
    from edgeml_export.scopes import ModuleScopes

__all__ = ["SIGNATURE", "TfliteGraph", "compact_tflite", "convert_tflite"]

SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteGraph:
    """A converted model before it is trimmed for shipping.

    Attributes:
        content: The file as the converter wrote it.
        float_outputs: Names of the tensors that float operators compute: those in float scopes, and post-processing.
        front_outputs: Those of them that lie in float scopes.
        inputs: Contract input name → the name its signature has in the file.
    """

    content: bytes
    float_outputs: frozenset[str]
    front_outputs: frozenset[str]
    inputs: dict[str, str]


def convert_tflite(prepared: Prepared, program: ExportedProgram) -> TfliteGraph:
    """Convert the model.

    Args:
        prepared: The model.
        program: Its trace, for naming what cannot be converted; litert-torch traces on its own.

    Returns:
        The TFLite graph in fp32, with a static batch of one.

    Raises:
        ProjectError: When an operator has no counterpart in TFLite.
    """
    with quiet():
        import litert_torch
    try:
        with quiet(), torch.no_grad():
            content = bytes(litert_torch.convert(prepared.module, prepared.example).model_content())
    except Exception as error:  # lowering functions raise bare builtins
        raise explain(program, "tflite", error) from error
    model = read_tflite(content)
    if len(model.subgraphs) != 1 or len(model.signatureDefs) != 1:
        raise DefectError(f"expected one subgraph and one signature, found {len(model.subgraphs)}")
    front = _front_outputs(model, prepared.scopes)
    after = _post_processing(model)
    # litert-torch names positional arguments by their position.
    inputs = {name: f"args_{index}" for index, name in enumerate(prepared.input_names)}
    return TfliteGraph(content=content, float_outputs=front | after, front_outputs=front, inputs=inputs)


def compact_tflite(content: bytes, prepared: Prepared) -> bytes:
    """Trim a file for shipping: contract names outside, short ones inside, no metadata, no spare buffers.

    Args:
        content: The converter's or the quantizer's file.
        prepared: Gives the names of inputs and outputs.

    Returns:
        The file to ship, the same bytes for the same model.
    """
    model = read_tflite(content)
    graph = model.subgraphs[0]
    _name_tensors(graph, prepared)
    _sign(model, graph, prepared)
    for tensor in graph.tensors:
        quantization = tensor.quantization
        if quantization is not None and quantization.scale is None:
            tensor.quantization = None
    model.metadata = model.metadataBuffer = model.description = graph.name = None
    _drop_spare_buffers(model, graph)
    return write_tflite(model)


def _front_outputs(model: Any, scopes: ModuleScopes) -> frozenset[str]:
    """Tensors computed in float scopes; one that the converter renamed is placed by its operator's weights."""
    graph = model.subgraphs[0]
    names = set()
    for operator in graph.operators:
        outputs = [_name(graph, index) for index in operator.outputs]
        weights = [_name(graph, i) for i in operator.inputs if i >= 0 and constant(model, graph.tensors[i]) is not None]
        answers = (scopes.is_float(name) for name in (*outputs, *weights))
        if next((answer for answer in answers if answer is not None), False):
            names.update(outputs)
    return frozenset(names)


def _post_processing(model: Any) -> frozenset[str]:
    """Tensors computed from an output, such as the softmax of the logits, and a softmax that is an output itself."""
    from edgeml_export.tflite_file import operator_name

    graph = model.subgraphs[0]
    outputs = set(graph.outputs)
    behind: set[int] = set()
    for operator in graph.operators:
        is_softmax = operator_name(model, operator) == "SOFTMAX" and outputs.intersection(operator.outputs)
        if is_softmax or (outputs | behind).intersection(operator.inputs):
            behind.update(operator.outputs)
    return frozenset(_name(graph, index) for index in behind)


def _name(graph: Any, index: int) -> str:
    name: bytes = graph.tensors[index].name
    return name.decode()


def _name_tensors(graph: Any, prepared: Prepared) -> None:
    """Names of inputs and outputs are the contract's; the others are numbers, which no contract name is."""
    for index, tensor in enumerate(graph.tensors):
        tensor.name = str(index)
    for names, indices in ((prepared.input_names, graph.inputs), (prepared.output_names, graph.outputs)):
        for name, index in zip(names, indices, strict=True):
            graph.tensors[index].name = name


def _sign(model: Any, graph: Any, prepared: Prepared) -> None:
    """Point the signature at the graph's own inputs and outputs; the quantizer leaves it at the int8 tensors."""
    signature = model.signatureDefs[0]
    signature.signatureKey = SIGNATURE
    for entries, names, indices in (
        (signature.inputs, prepared.input_names, graph.inputs),
        (signature.outputs, prepared.output_names, graph.outputs),
    ):
        for entry, name, index in zip(entries, names, indices, strict=True):
            entry.name, entry.tensorIndex = name, int(index)


def _drop_spare_buffers(model: Any, graph: Any) -> None:
    """Keep one empty buffer, which the format wants first, and the ones with data."""
    empty = model.buffers[0]
    kept, places = [empty], {}
    for tensor in graph.tensors:
        data = constant(model, tensor)
        if data is None:
            tensor.buffer = 0
            continue
        key = data.tobytes()
        if key not in places:
            places[key] = len(kept)
            kept.append(model.buffers[tensor.buffer])
        tensor.buffer = places[key]
    model.buffers = kept
