"""PyTorch → TFLite in fp32: conversion, which modules its operators come from, and trimming for shipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from ai_edge_litert.interpreter import Interpreter

from edgeml_export.culprit import explain
from edgeml_export.quiet import quiet
from edgeml_export.scopes import within
from edgeml_export.tflite_file import constant, operator_name, read_tflite, write_tflite
from edgeml_export.tflite_inventory import WEIGHTED_OPERATORS
from edgeml_runtime.errors import DefectError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor
    from torch.fx import GraphModule

    from edgeml_export.graph.folding import ModelGraph, PixelQuantization
    from edgeml_export.prepared import Prepared
    from edgeml_export.scopes import ModuleScopes
    from edgeml_export.tracing import Traced

__all__ = ["SIGNATURE", "TfliteGraph", "compact_tflite", "convert_tflite"]

SIGNATURE = "serving_default"

# Operators that the converter leaves where it knows no others.
_FOREIGN = ("CUSTOM", "STABLEHLO_")


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteGraph:
    """A converted model before it is quantized and trimmed for shipping.

    Attributes:
        content: The file as the converter wrote it. Inputs of which pixels were cut take the normalised values.
        after: Names of the tensors that post-processing computes, which stay float.
        front: Names of the tensors computed in the contract's float scopes.
        layers: Name of a tensor that a layer computes → dotted path of the layer's module.
        inputs: Contract input name → the converter's name for it.
        tensors: Contract input name → name of its tensor.
        example: The converter's name of an input → one item [1, *shape].
        input_positions: Contract input name → position among the inputs of the graph.
        output_positions: Contract output name → position among the outputs of the graph.
        pixels: Contract input name → the normalisation that was cut off.
    """

    content: bytes
    after: frozenset[str]
    front: frozenset[str]
    layers: Mapping[str, str]
    inputs: dict[str, str]
    tensors: dict[str, str]
    example: Mapping[str, NDArray[Any]]
    input_positions: dict[str, int]
    output_positions: dict[str, int]
    pixels: Mapping[str, PixelQuantization]

    def within(self, layers: Iterable[str]) -> frozenset[str]:
        """Names of the tensors computed in the contract's float scopes, or by layers that stay float beside them.

        Args:
            layers: Dotted module paths of such layers.
        """
        wanted = tuple(layers)
        return self.front | {name for name, path in self.layers.items() if within(path, wanted)}


def convert_tflite(prepared: Prepared, traced: Traced, graph: ModelGraph) -> TfliteGraph:
    """Convert a traced model.

    Args:
        prepared: The model.
        traced: Its trace, for naming what cannot be converted.
        graph: The form of the trace to convert.

    Returns:
        The TFLite graph in fp32, with a static batch of one.

    Raises:
        ProjectError: When an operator has no counterpart in TFLite.
    """
    try:
        content = _converted(graph.module, graph.example)
    except Exception as error:  # lowering functions raise bare builtins
        raise explain(graph, ModelFormat.TFLITE, error, _converted) from error
    model = read_tflite(content)
    if len(model.signatureDefs) != 1:
        raise DefectError(f"expected one signature, found {len(model.signatureDefs)}")
    # litert-torch names positional inputs and outputs by their position.
    inputs = {name: f"args_{index}" for index, name in enumerate(prepared.input_names)}
    outputs = {name: f"output_{index}" for index, name in enumerate(prepared.output_names)}
    subgraph, signature = model.subgraphs[0], model.signatureDefs[0]
    positions = _positions(inputs, signature.inputs, subgraph.inputs)
    layers = _layers(model, prepared.scopes, {layer.path for layer in traced.layers})
    return TfliteGraph(
        content=content,
        after=_post_processing(model),
        front=_front_outputs(model, prepared.scopes, layers),
        layers=layers,
        inputs=inputs,
        tensors={name: _name(subgraph, subgraph.inputs[position]) for name, position in positions.items()},
        example={theirs: item.numpy() for theirs, item in zip(inputs.values(), graph.example, strict=True)},
        input_positions=positions,
        output_positions=_positions(outputs, signature.outputs, subgraph.outputs),
        pixels=graph.pixels,
    )


def _converted(module: GraphModule, example: tuple[Tensor, ...]) -> bytes:
    """The converter's file, where it holds nothing but operators of TFLite itself."""
    with quiet(), torch.no_grad():
        import litert_torch

        content = bytes(litert_torch.convert(module, example).model_content())
        model = read_tflite(content)
        names = {operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
        left = sorted(name for name in names if name.startswith(_FOREIGN))
        if left or len(model.subgraphs) != 1:
            raise ValueError(f"{', '.join(left) or 'a subgraph'} is left, which TFLite runtimes do not compute")
        Interpreter(model_content=content, num_threads=1).allocate_tensors()
    return content


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


def _front_outputs(model: Any, scopes: ModuleScopes, layers: Mapping[str, str]) -> frozenset[str]:
    """Tensors computed in float scopes.

    What a layer computes lies where the layer lies, even where an activation of another module was fused into it; a
    tensor that the converter renamed is placed by its operator's weights.
    """
    graph = model.subgraphs[0]
    names = set()
    for operator in graph.operators:
        outputs = [_name(graph, index) for index in operator.outputs]
        weights = [_name(graph, i) for i in operator.inputs if i >= 0 and constant(model, graph.tensors[i]) is not None]
        layer = next((layers[name] for name in outputs if name in layers), None)
        if layer is not None:
            inside = within(layer, scopes.float_scopes)
        else:
            answers = (scopes.is_float(name) for name in (*outputs, *weights))
            inside = next((answer for answer in answers if answer is not None), False)
        if inside:
            names.update(outputs)
    return frozenset(names)


def _layers(model: Any, scopes: ModuleScopes, paths: Collection[str]) -> dict[str, str]:
    """Which layer computes a tensor: the last module with weights that its name, or its operator's weights', holds.

    The name of a fused operator lists what was fused, the layer at the end; constants that several layers share bring
    in names of other modules, but not of other layers.
    """
    graph = model.subgraphs[0]
    found: dict[str, str] = {}
    for operator in graph.operators:
        constants = [i for i in operator.inputs if i >= 0 and constant(model, graph.tensors[i]) is not None]
        for index in (*operator.outputs, *constants):
            fitting = [path for path in scopes.ordered_paths(_name(graph, index)) if path in paths]
            if fitting and operator_name(model, operator) in WEIGHTED_OPERATORS:
                found.update({_name(graph, output): fitting[-1] for output in operator.outputs})
                break
    return found


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
