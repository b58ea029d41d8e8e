"""What an ONNX file of unknown origin is: its tensors, how its numbers are represented, and what it may not hold.

Loading it into ONNX Runtime and the checker's native code belongs in a process of its own
(:mod:`edgeml_export.foreign.process`), where a hostile file ends that process alone.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, inliner, numpy_helper

from edgeml_export.foreign.facts import ForeignFacts, ForeignTensor
from edgeml_export.inventory import Inventory
from edgeml_export.onnx_inventory import onnx_inventory
from edgeml_export.scheme import Precision
from edgeml_runtime.backends.onnxruntime import OnnxRuntimeBackend
from edgeml_runtime.errors import BackendFailedError, ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_export.foreign.file import ForeignLimits
    from edgeml_runtime.backends.base import TensorInfo

__all__ = ["inspect_onnx", "opset_of", "parse_onnx"]

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
_BYTES = frozenset({TensorProto.INT8, TensorProto.UINT8})
_SMALL = frozenset(
    {getattr(TensorProto, name) for name in ("INT4", "UINT4", "FLOAT4E2M1") if hasattr(TensorProto, name)}
)
_WIDE = frozenset({TensorProto.INT16, TensorProto.UINT16})

# Operator → which of its inputs are scales and zero points (onnx/docs/Operators.md, docs/ContribOperators.md of ONNX
# Runtime). The other constants that are floats, or integers of 8 bits, are weights; so is the integer bias of a
# quantized layer.
_PARAMETERS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearGlobalAveragePool": (1, 2, 3, 4),
    "QLinearAveragePool": (1, 2, 3, 4),
    "QLinearSigmoid": (1, 2, 3, 4),
    "QLinearLeakyRelu": (1, 2, 3, 4),
    "QLinearSoftmax": (1, 2, 3, 4),
}
_STATIC = frozenset({"QLinearConv", "QLinearMatMul", "QGemm"})
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
_FEW_BITS = frozenset({"MatMulNBits", "MatMulBnb4", "GatherBlockQuantized"})

# "Could not find an implementation for Foo(7)"; "com.acme:Foo(-1) is not a registered function/op"; "No Op registered
# for Foo with domain_version of 18"
_MISSING = re.compile(
    r"implementation for (?P<a>\w+)\(|(?P<b>[\w.:]+)\(-?\d+\) is not a registered|No Op registered for (?P<c>\w+)"
)


def inspect_onnx(content: bytes, limits: ForeignLimits) -> ForeignFacts:
    """Read what a file is, and refuse what cannot be wrapped. Native code reads it: see the module.

    Args:
        content: The file.
        limits: How much it may hold.

    Returns:
        Inputs and outputs as ONNX Runtime sees them.

    Raises:
        ProjectError: The file is damaged or too large, breaks ONNX's rules, refers to other files, holds control flow,
            or an operator that ONNX Runtime lacks.
    """
    model = parse_onnx(content, limits)
    _check(model)
    try:
        inputs, outputs = OnnxRuntimeBackend.declared(content)
    except BackendFailedError as error:
        raise _unloadable(error) from error
    names = _open_dimensions(model)
    flat = inliner.inline_local_functions(model) if model.functions else model
    nodes = list(flat.graph.node)
    constants = _constants(flat)
    operators = onnx_inventory(model, ()).operators
    precision = _precision(nodes, constants)
    notes: tuple[str, ...] = ()
    if precision is Precision.INT8 and operators.float_outside:
        notes = (f"ONNX Runtime computes {operators.float_outside} convolutions and matrix products of it in float",)
    return ForeignFacts(
        inputs=tuple(_tensor(info, names) for info in inputs),
        outputs=tuple(_tensor(info, names) for info in outputs),
        precision=precision,
        inventory=Inventory(weight_bytes=_weight_bytes(nodes, constants), front_end_bytes=0, operators=operators),
        notes=notes,
        refused_by={},
    )


def parse_onnx(content: bytes, limits: ForeignLimits) -> ModelProto:
    """Parse a file, in Protocol Buffers' own memory-safe code, and check what needs no more.

    Args:
        content: The file.
        limits: How much it may hold.

    Returns:
        The model.

    Raises:
        ProjectError: The file is damaged or too large, refers to other files, or holds control flow.
    """
    try:
        model: ModelProto = onnx.load_model_from_string(content)
    except Exception as error:  # Protocol Buffers' own exception derives from Exception alone
        raise ProjectError(
            f"expected an ONNX file, found bytes that are no Protocol Buffers message ({error}): it is truncated or "
            "damaged; fetch or convert it again"
        ) from error
    if not model.ir_version or not model.graph.node or not model.opset_import:
        raise ProjectError(
            "expected an ONNX file with an IR version, operator sets and operators, found one without some of them: it "
            "is empty, damaged, or of another kind"
        )
    if len(model.graph.node) > limits.max_operators:
        raise ProjectError(f"expected at most {limits.max_operators} operators, found {len(model.graph.node)}")
    for node in _all_nodes(model):
        _check_node(node)
    for tensor in _all_tensors(model):
        _check_tensor(tensor, limits)
    return model


def opset_of(model: ModelProto) -> int:
    """The version of the operator set ``ai.onnx`` that a model names; 0 where it names none.

    Args:
        model: The model.
    """
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _check_node(node: NodeProto) -> None:
    graphs = [item for item in node.attribute if item.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS)]
    if node.op_type in _CONTROL_FLOW or graphs:
        raise ProjectError(
            f"expected a graph without control flow, found the operator {node.op_type} "
            f"({node.name or 'without a name'}); export the model with branches decided and loops unrolled"
        )
    if node.op_type in _FEW_BITS:
        raise ProjectError(
            f"expected weights of 8 bits or more, found the operator {node.op_type}: no precision of a contract means "
            "fewer bits; quantize the model to int8"
        )


def _check_tensor(tensor: TensorProto, limits: ForeignLimits) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ProjectError(
            f"expected all weights inside the file, found {tensor.name!r} in a file beside it; join them with "
            "onnx.save_model(onnx.load(PATH), NEW_PATH, save_as_external_data=False)"
        )
    if tensor.data_type in _SMALL:
        raise ProjectError(
            f"{tensor.name!r}: expected weights of 8 bits or more, found fewer: no precision of a contract means them; "
            "quantize the model to int8"
        )
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > limits.max_tensor_elements:
        raise ProjectError(
            f"{tensor.name!r}: expected at most {limits.max_tensor_elements} elements, found the shape "
            f"{list(tensor.dims)}"
        )


def _check(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        found = _MISSING.search(said[0])
        missing = f"ONNX has no operator {_first(found)}: " if found else ""
        raise ProjectError(
            f"expected a model that onnx.checker.check_model(full_check=True) accepts: {missing}{said[0]:.300}; "
            "correct it where it was made"
        ) from error


def _unloadable(error: BackendFailedError) -> ProjectError:
    found = _MISSING.search(str(error))
    if found is None:
        return ProjectError(f"{error!s:.400}; correct the model where it was made")
    return ProjectError(
        f"ONNX Runtime lacks the operator {_first(found)} as this file uses it; replace it by others in the model, or "
        f"store it with an operator set that ONNX Runtime reads ({error!s:.300})"
    )


def _first(found: re.Match[str]) -> str:
    return next(name for name in found.groups() if name)


def _all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every constant: initializers, sparse ones, and those in attributes."""
    yield from model.graph.initializer
    sparse = list(model.graph.sparse_initializer)
    for node in _all_nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            sparse += attribute.sparse_tensors
    for item in sparse:
        yield from (item.values, item.indices)


def _open_dimensions(model: ModelProto) -> dict[str, list[str]]:
    """Name of an input or output → names of its dimensions, ``"?"`` where they have none."""
    return {
        info.name: [dimension.dim_param or "?" for dimension in info.type.tensor_type.shape.dim]
        for info in (*model.graph.input, *model.graph.output)
    }


def _tensor(info: TensorInfo, names: dict[str, list[str]]) -> ForeignTensor:
    known = names.get(info.name, [])
    shape = [
        size if size is not None else known[axis] if axis < len(known) else "?" for axis, size in enumerate(info.shape)
    ]
    return ForeignTensor(name=info.name, dtype=info.dtype, shape=tuple(shape))


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            found[node.output[0]] = node.attribute[0].t
    return found


def _precision(nodes: Sequence[NodeProto], constants: dict[str, TensorProto]) -> Precision:
    operators = {node.op_type for node in nodes}
    quantizing = [node for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] not in constants]
    if any(len(node.input) > 2 and _type(constants, node.input[2]) in _WIDE for node in quantizing):
        raise ProjectError(
            "expected activations of 8 bits, found a QuantizeLinear to 16 bits: no precision of a contract means them "
            "in ONNX; quantize the model with 8-bit activations"
        )
    if operators & _DYNAMIC:
        return Precision.INT8_DYNAMIC
    if operators & _STATIC or (quantizing and "DequantizeLinear" in operators):
        return Precision.INT8
    if any(_turns_back(node, constants, _BYTES) for node in nodes):
        return Precision.W8
    if any(tensor.data_type == TensorProto.FLOAT16 for tensor in constants.values()):
        return Precision.FP16
    return Precision.FP32


def _turns_back(node: NodeProto, constants: dict[str, TensorProto], types: frozenset[int]) -> bool:
    """Whether a node turns a constant of one of these types, which is no single number, into floats."""
    if node.op_type not in ("DequantizeLinear", "Cast") or node.input[0] not in constants:
        return False
    tensor = constants[node.input[0]]
    return tensor.data_type in types and math.prod(tensor.dims) > 1


def _type(constants: dict[str, TensorProto], name: str) -> int:
    return int(constants[name].data_type) if name in constants else TensorProto.UNDEFINED


def _weight_bytes(nodes: Sequence[NodeProto], constants: dict[str, TensorProto]) -> int:
    weights: set[str] = set()
    for node in nodes:
        parameters = _PARAMETERS.get(node.op_type, ())
        biases = {8} if node.op_type == "QLinearConv" else {6} if node.op_type == "QGemm" else set()
        for position, name in enumerate(node.input):
            # A single number, such as the scale of a dynamic quantization or an epsilon, was not learned.
            if name in constants and position not in parameters and constants[name].dims:
                kind = constants[name].data_type
                scaled = node.op_type == "DequantizeLinear" or position in biases
                if kind in _FLOATS or kind in _BYTES or (scaled and kind == TensorProto.INT32):
                    weights.add(name)
    return sum(_size_bytes(constants[name]) for name in weights)


def _size_bytes(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64)) * numpy_helper.to_array(tensor).dtype.itemsize
