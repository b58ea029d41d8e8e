"""Counting an ONNX model's weights, and its operators as ONNX Runtime executes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.quiet import quiet
from edgeml_export.scratch import scratch_folder
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["onnx_inventory"]

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
# Operator → from which of its inputs on there are scales and zero points.
_PARAMETRISED = {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMulInteger": 2, "ConvInteger": 2}
_INT8_OPERATORS = frozenset(
    {
        "QLinearConv",
        "QLinearMatMul",
        "QGemm",
        "ConvInteger",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    }
)
_FLOAT_OPERATORS = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "GRU",
        "Gemm",
        "LSTM",
        "MatMul",
        "RNN",
    }
)


def onnx_inventory(model: ModelProto, front_nodes: Collection[str]) -> Inventory:
    """Take stock of a model whose nodes still have the names of the conversion.

    Args:
        model: The fp32 or QDQ model, before its names are shortened.
        front_nodes: Names of the nodes in float scopes.

    Returns:
        Weights as the file stores them, and operators after ONNX Runtime's own graph optimization on this machine,
        because a QDQ graph is float wherever its patterns are not recognised.
    """
    weights, front = _weight_bytes(model, front_nodes)
    return Inventory(weight_bytes=weights, front_end_bytes=front, operators=_operators(model, front_nodes))


def _weight_bytes(model: ModelProto, front_nodes: Collection[str]) -> tuple[int, int]:
    graph = model.graph
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    total = front = 0
    for tensor in graph.initializer:
        reading = readers.get(tensor.name, [])
        if not reading or not _is_weight(tensor, reading):
            continue
        size = numpy_helper.to_array(tensor).nbytes
        total += size
        if {node.name for node in _computing(reading, readers)} <= set(front_nodes):
            front += size
    return total, front


def _is_weight(tensor: TensorProto, reading: list[NodeProto]) -> bool:
    """Whether a constant holds learned or fitted numbers, rather than scales, zero points and shapes."""
    if tensor.name.endswith(".scale"):
        return False
    if all(
        node.op_type in _PARAMETRISED and tensor.name in node.input[_PARAMETRISED[node.op_type] :] for node in reading
    ):
        return False
    if tensor.data_type in _FLOATS:
        return True
    scaled = {"DequantizeLinear", "Cast", "MatMulInteger", "ConvInteger"}
    return len(tensor.dims) > 0 and all(node.op_type in scaled for node in reading)


def _computing(reading: list[NodeProto], readers: dict[str, list[NodeProto]]) -> list[NodeProto]:
    """Who computes with a constant, behind what turns it back into floats."""
    found = []
    for node in reading:
        behind = readers.get(node.output[0], [])
        turns_back = node.op_type == "DequantizeLinear" or node.name.endswith((".cast", ".times"))
        found += _computing(behind, readers) if turns_back and behind else [node]
    return found


def _operators(model: ModelProto, front_nodes: Collection[str]) -> OperatorCount:
    optimized = _optimized(model)
    int8 = inside = outside = 0
    for node in optimized.graph.node:
        if node.op_type in _INT8_OPERATORS:
            int8 += 1
        elif node.op_type in _FLOAT_OPERATORS:
            if node.name in front_nodes:
                inside += 1
            else:
                outside += 1
    return OperatorCount(int8=int8, float_inside=inside, float_outside=outside)


def _optimized(model: ModelProto) -> ModelProto:
    """The graph after ONNX Runtime's optimizations, but without the memory layout of this machine's CPU."""
    with scratch_folder() as folder, quiet():
        path = folder / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return onnx.load(path)
        except Exception as error:  # ONNX Runtime raises types of its own that derive from Exception alone
            raise ProjectError(f"ONNX Runtime cannot optimize the converted model: {error}") from error
