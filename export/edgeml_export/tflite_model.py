"""PyTorch → TFLite in fp32: conversion, which operators stay float, and trimming for shipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from edgeml_export.quiet import quiet
from edgeml_export.tflite_file import constant, operator_name, read_tflite, write_tflite
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
        inputs: Contract input name → the converter's name for it.
        input_positions: Contract input name → position among the inputs of the graph.
        output_positions: Contract output name → position among the outputs of the graph.
    """

    content: bytes
    float_outputs: frozenset[str]
    front_outputs: frozenset[str]
    inputs: dict[str, str]
    input_positions: dict[str, int]
    output_positions: dict[str, int]


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
        raise explain(program, "TFLite", error) from error
    model = read_tflite(content)
    if len(model.subgraphs) != 1 or len(model.signatureDefs) != 1:
        raise DefectError(f"expected one subgraph and one signature, found {len(model.subgraphs)}")
    front = _front_outputs(model, prepared.scopes)
    # litert-torch names positional inputs and outputs by their position.
    inputs = {name: f"args_{index}" for index, name in enumerate(prepared.input_names)}
    outputs = {name: f"output_{index}" for index, name in enumerate(prepared.output_names)}
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    return TfliteGraph(
        content=content,
        float_outputs=front | _post_processing(model),
        front_outputs=front,
        inputs=inputs,
        input_positions=_positions(inputs, signature.inputs, graph.inputs),
        output_positions=_positions(outputs, signature.outputs, graph.outputs),
    )


def compact_tflite(content: bytes, graph: TfliteGraph) -> bytes:
    """Trim a file for shipping: contract names outside, short ones inside, no metadata, no spare buffers.

    Args:
        content: The converter's or the quantizer's file.
        graph: Says which input and output is which; the quantizer keeps their positions.

    Returns:
        The file to ship, the same bytes for the same model.
    """
    model = read_tflite(content)
    _name_tensors(model, graph)
    for tensor in model.subgraphs[0].tensors:
        quantization = tensor.quantization
        if quantization is not None and quantization.scale is None:
            tensor.quantization = None
    model.metadata = model.metadataBuffer = model.description = model.subgraphs[0].name = None
    _drop_spare_buffers(model)
    return write_tflite(model)


def _positions(names: dict[str, str], entries: Any, indices: Any) -> dict[str, int]:
    by_name = {entry.name.decode(): int(entry.tensorIndex) for entry in entries}
    return {name: [int(index) for index in indices].index(by_name[theirs]) for name, theirs in names.items()}


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


def _name_tensors(model: Any, graph: TfliteGraph) -> None:
    """Give inputs and outputs the contract's names, in the signature too; the others become numbers.

    The signature is pointed at the graph's own outputs: the quantizer leaves it at the int8 tensors before them.
    """
    subgraph, signature = model.subgraphs[0], model.signatureDefs[0]
    for index, tensor in enumerate(subgraph.tensors):
        tensor.name = f":{index}"
    signature.signatureKey = SIGNATURE
    for entries, positions, indices in (
        (signature.inputs, graph.input_positions, subgraph.inputs),
        (signature.outputs, graph.output_positions, subgraph.outputs),
    ):
        for entry, (name, position) in zip(entries, positions.items(), strict=True):
            entry.name, entry.tensorIndex = name, int(indices[position])
            subgraph.tensors[entry.tensorIndex].name = name


def _drop_spare_buffers(model: Any) -> None:
    """Keep one empty buffer, which the format wants first, and the ones with data, equal ones once."""
    kept, places = [model.buffers[0]], {}
    for tensor in model.subgraphs[0].tensors:
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
