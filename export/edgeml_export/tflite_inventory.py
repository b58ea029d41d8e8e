"""Counting a TFLite model's weights and operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema

from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.tflite_file import constant, operator_name, read_tflite

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["WEIGHTED_OPERATORS", "tflite_inventory"]

_FLOATS = frozenset({schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.FLOAT64})
WEIGHTED_OPERATORS = frozenset({"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})


def tflite_inventory(content: bytes, front_outputs: Collection[str]) -> Inventory:
    """Take stock of a file whose tensors still have the names of the conversion.

    Args:
        content: The converter's or the quantizer's file.
        front_outputs: Names of the tensors computed in float scopes.

    Returns:
        Its weights and operators.
    """
    model = read_tflite(content)
    graph = model.subgraphs[0]
    int8 = inside = outside = 0
    readers: dict[int, set[bool]] = {}
    for operator in graph.operators:
        in_front = any(graph.tensors[i].name.decode() in front_outputs for i in operator.outputs)
        for index in operator.inputs:
            readers.setdefault(index, set()).add(in_front)
        if operator_name(model, operator) not in WEIGHTED_OPERATORS:
            continue
        # Where an operator computes in float, integer weights are turned back in front of it.
        if graph.tensors[operator.inputs[1]].type == schema.TensorType.INT8:
            int8 += 1
        elif in_front:
            inside += 1
        else:
            outside += 1
    for operator in graph.operators:
        # A constant that is turned back belongs to who reads what it is turned into.
        if (
            operator_name(model, operator) == "DEQUANTIZE"
            and constant(model, graph.tensors[operator.inputs[0]]) is not None
        ):
            readers[operator.inputs[0]] = readers.get(operator.outputs[0], set())
    weights, front = _weight_bytes(model, readers)
    return Inventory(
        weight_bytes=weights,
        front_end_bytes=front,
        operators=OperatorCount(int8=int8, float_inside=inside, float_outside=outside),
    )


def _weight_bytes(model: Any, readers: dict[int, set[bool]]) -> tuple[int, int]:
    graph = model.subgraphs[0]
    total = front = 0
    for index, tensor in enumerate(graph.tensors):
        data = constant(model, tensor)
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        if data is None or not (tensor.type in _FLOATS or scaled):
            continue
        total += len(data)
        if readers.get(index, {True}) == {True}:
            front += len(data)
    return total, front
