"""What a TFLite file of unknown origin is: its tensors, how its numbers are represented, and what it may not hold.

Reading happens in Python alone; nothing of the file reaches the interpreter here.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeml_export.foreign.facts import ForeignFacts, ForeignTensor, Quantization
from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.scheme import Precision
from edgeml_export.tflite_file import constant, operator_name, read_tflite
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeml_export.foreign.file import ForeignLimits

__all__ = ["inspect_tflite", "min_litert", "single_quantization"]

_TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
_FLOAT32, _FLOAT16, _INT16 = schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.INT16
_BYTES = frozenset({schema.TensorType.INT8, schema.TensorType.UINT8})
_FLOATS = frozenset({_FLOAT32, _FLOAT16, schema.TensorType.FLOAT64})
_SMALL = frozenset(
    getattr(schema.TensorType, name) for name in ("INT4", "INT2", "UINT4") if hasattr(schema.TensorType, name)
)
# Operators that multiply what comes in by what was learned (tensorflow/lite/schema/schema.fbs).
_WEIGHTED = frozenset(
    {
        "BATCH_MATMUL",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "CONV_2D",
        "CONV_3D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "LSTM",
        "RNN",
        "SVDF",
        "TRANSPOSE_CONV",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)
_CONTROL_FLOW = frozenset({"CALL", "CALL_ONCE", "IF", "WHILE", "STABLEHLO_WHILE", "STABLEHLO_CASE"})

# The first release of ai-edge-litert, which is younger than TensorFlow 2.17 and reads what that reads.
_FIRST_LITERT, _ITS_TENSORFLOW = "1.0.1", (2, 17)

_WRONG_DYNAMIC = (
    "its kernels give wrong results for weights that are quantized per channel and activations that are not"
)


class _Arithmetic(Enum):
    """How one operator computes; the first of these that a file has gives the file its precision."""

    INT16X8 = Precision.INT16X8
    INT8 = Precision.INT8
    DYNAMIC = Precision.INT8_DYNAMIC
    WEIGHTS_INT8 = Precision.W8
    WEIGHTS_FP16 = Precision.FP16
    FLOAT = Precision.FP32


_INTEGERS = frozenset({_Arithmetic.INT16X8, _Arithmetic.INT8, _Arithmetic.DYNAMIC})


def inspect_tflite(content: bytes, limits: ForeignLimits) -> ForeignFacts:
    """Read what a file is, and refuse what cannot be wrapped.

    Args:
        content: The file.
        limits: How much it may hold.

    Returns:
        Inputs and outputs by the names of the file's one signature, else by those of its tensors.

    Raises:
        ProjectError: The file is damaged or too large, holds control flow, several subgraphs, or weights of 4 bits.
    """
    try:
        _check_counts(schema.Model.GetRootAsModel(bytearray(content), 0), limits)
        model = read_tflite(content)
        _check_structure(model, limits)
        return _facts(model)
    except ProjectError:
        raise
    except Exception as error:  # offsets that lead anywhere raise whatever the place they lead to provokes
        raise ProjectError(
            f"expected a TFLite file, found one whose offsets lead outside of it ({type(error).__name__}: {error}): it "
            "is truncated or damaged; fetch or convert it again"
        ) from error


def min_litert(content: bytes, installed: str) -> str:
    """The oldest release of the backend that is known to run a file.

    Converters note in the metadata ``min_runtime_version`` which TensorFlow has all its operators
    (tensorflow/lite/tools/versioning/runtime_version.cc).

    Args:
        content: A file that :func:`inspect_tflite` has read.
        installed: The release that ran it.

    Returns:
        The first release of ai-edge-litert where the file asks for no newer TensorFlow, else ``installed``.
    """
    model = read_tflite(content)
    for entry in model.metadata or []:
        if entry.name == b"min_runtime_version":
            data = model.buffers[entry.buffer].data
            text = bytes(np.asarray([] if data is None else data, np.uint8)).split(b"\0")[0].decode("ascii", "replace")
            numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
            return _FIRST_LITERT if (0, 0) < numbers <= _ITS_TENSORFLOW else installed
    return installed


def single_quantization(tensor: Any) -> Quantization | None:
    """The one scale and zero point of a tensor.

    Args:
        tensor: A ``TensorT``.

    Returns:
        None where it has none, or several.
    """
    found = tensor.quantization
    if found is None or found.scale is None or len(found.scale) != 1:
        return None
    zero_point = 0 if found.zeroPoint is None or len(found.zeroPoint) == 0 else int(found.zeroPoint[0])
    return Quantization(scale=float(found.scale[0]), zero_point=zero_point)


def _facts(model: Any) -> ForeignFacts:
    graph = model.subgraphs[0]
    sources = _turned_back(model)
    weighted = [operator for operator in graph.operators if operator_name(model, operator) in _WEIGHTED]
    computing = [(operator, _arithmetic(model, operator, sources)) for operator in weighted]
    found = {kind for _, kind in computing}
    integers = [kind for _, kind in computing if kind in _INTEGERS]
    return ForeignFacts(
        inputs=_tensors(model, "inputs"),
        outputs=_tensors(model, "outputs"),
        precision=next((kind.value for kind in _Arithmetic if kind in found), None) or _without_weights(graph),
        inventory=Inventory(
            weight_bytes=_weight_bytes(model),
            front_end_bytes=0,
            operators=OperatorCount(int8=len(integers), float_inside=0, float_outside=len(computing) - len(integers)),
        ),
        notes=(),
        refused_by=_refused(graph, computing),
    )


def _check_counts(root: Any, limits: ForeignLimits) -> None:
    counts = [root.SubgraphsLength(), root.BuffersLength(), root.OperatorCodesLength(), root.MetadataLength()]
    for index in range(min(root.SubgraphsLength(), 2)):
        graph = root.Subgraphs(index)
        counts += [graph.OperatorsLength(), graph.TensorsLength(), graph.InputsLength(), graph.OutputsLength()]
    if max(counts) > 4 * limits.max_operators or max(counts) < 1:
        raise ProjectError(
            f"expected a graph of at most {limits.max_operators} operators, found a list of {max(counts)} entries; the "
            "file is damaged, or too large to wrap"
        )


def _check_structure(model: Any, limits: ForeignLimits) -> None:
    names = [operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators or []]
    if flow := sorted(_CONTROL_FLOW.intersection(names)):
        raise ProjectError(
            f"expected one graph without control flow, found {', '.join(flow)}; convert the model with branches and "
            "loops unrolled"
        )
    if len(model.subgraphs) != 1:
        raise ProjectError(
            f"expected one subgraph, found {len(model.subgraphs)}; convert the model with the one function that "
            "predicts"
        )
    graph = model.subgraphs[0]
    if not names or not len(graph.inputs) or not len(graph.outputs):
        raise ProjectError("expected operators between inputs and outputs, found a graph without some of them")
    for operator in graph.operators:
        _check_indices(operator, len(graph.tensors))
        if operator.largeCustomOptionsSize:
            raise ProjectError("expected options of custom operators inside the graph, found some behind it")
    for tensor in graph.tensors:
        _check_tensor(model, tensor, limits)


def _check_indices(operator: Any, count: int) -> None:
    """-1 stands for an input that is left out."""
    inputs, outputs = list(_some(operator.inputs)), list(_some(operator.outputs))
    if any(not -1 <= index < count for index in inputs) or any(not 0 <= index < count for index in outputs):
        raise IndexError(f"an operator refers to a tensor beyond the {count} there are")


def _check_tensor(model: Any, tensor: Any, limits: ForeignLimits) -> None:
    elements = 1
    for size in _some(tensor.shape):
        if size < 0:
            raise IndexError("a tensor has a negative size")
        elements *= int(size)
    if elements > limits.max_tensor_elements:
        raise ProjectError(
            f"expected tensors of at most {limits.max_tensor_elements} elements, found {elements} in {_name(tensor)!r}"
        )
    if tensor.type in _SMALL:
        raise ProjectError(
            f"{_name(tensor)!r}: expected weights of 8 bits or more, found {_TYPES[tensor.type]}: no precision of a "
            "contract means them; quantize the model to int8"
        )
    constant(model, tensor)


def _tensors(model: Any, end: str) -> tuple[ForeignTensor, ...]:
    graph = model.subgraphs[0]
    signatures = model.signatureDefs or []
    named = {}
    if len(signatures) == 1:
        named = {int(entry.tensorIndex): entry.name.decode() for entry in getattr(signatures[0], end) or []}
    indices = [int(index) for index in getattr(graph, end)]
    tensors = [graph.tensors[index] for index in indices]
    names = [named.get(index, _name(tensor)) for index, tensor in zip(indices, tensors, strict=True)]
    if len(set(names)) != len(names) or "" in names:
        raise ProjectError(f"expected {end} with names of their own, found {', '.join(map(repr, names))}")
    return tuple(
        ForeignTensor(
            name=name,
            dtype=_TYPES.get(tensor.type, str(tensor.type)),
            shape=_shape(tensor),
            quantization=single_quantization(tensor),
            index=index,
        )
        for index, name, tensor in zip(indices, names, tensors, strict=True)
    )


def _shape(tensor: Any) -> tuple[int | str, ...]:
    """The shape, with the dimensions that the signature of it leaves open."""
    sizes = [int(size) for size in _some(tensor.shape)]
    signature = [int(size) for size in _some(tensor.shapeSignature)]
    if len(signature) != len(sizes):
        return tuple(sizes)
    return tuple("?" if declared == -1 else size for size, declared in zip(sizes, signature, strict=True))


def _arithmetic(model: Any, operator: Any, sources: Mapping[int, int]) -> _Arithmetic:
    """How an operator computes, by the types of what comes in and of its constants."""
    graph = model.subgraphs[0]
    coming, learned, direct = set(), set(), set()
    for index in operator.inputs:
        if index < 0:
            continue
        kind = graph.tensors[index].type
        if constant(model, graph.tensors[index]) is not None:
            learned.add(kind)
            direct.add(kind)
        elif index in sources:
            learned.add(sources[index])
        else:
            coming.add(kind)
    if _INT16 in coming:
        return _Arithmetic.INT16X8
    if coming & _BYTES:
        return _Arithmetic.INT8
    if direct & _BYTES:
        return _Arithmetic.DYNAMIC
    if learned & _BYTES:
        return _Arithmetic.WEIGHTS_INT8
    return _Arithmetic.WEIGHTS_FP16 if _FLOAT16 in learned | coming else _Arithmetic.FLOAT


def _turned_back(model: Any) -> dict[int, int]:
    """Tensors that are constants turned into floats → the type of the constant."""
    graph, found = model.subgraphs[0], {}
    for operator in graph.operators:
        if operator_name(model, operator) == "DEQUANTIZE":
            source = graph.tensors[operator.inputs[0]]
            if constant(model, source) is not None:
                found[int(operator.outputs[0])] = int(source.type)
    return found


def _without_weights(graph: Any) -> Precision:
    """The precision of a graph that only shapes, adds and compares."""
    scaled = {tensor.type for tensor in graph.tensors if single_quantization(tensor) is not None}
    if scaled & _BYTES:
        return Precision.INT8
    return Precision.INT16X8 if _INT16 in scaled else Precision.FP32


def _refused(graph: Any, computing: Sequence[tuple[Any, _Arithmetic]]) -> Mapping[str, str]:
    dynamic = [operator for operator, kind in computing if kind is _Arithmetic.DYNAMIC]
    tensors = [graph.tensors[index] for operator in dynamic for index in operator.inputs if index >= 0]
    scales = [tensor.quantization.scale for tensor in tensors if tensor.quantization is not None]
    if any(scale is not None and len(scale) > 1 for scale in scales):
        return {"tflite-runtime": _WRONG_DYNAMIC}
    return {}


def _weight_bytes(model: Any) -> int:
    """Bytes of the constants that hold learned numbers: floats, and integers with a scale."""
    graph = model.subgraphs[0]
    total = 0
    for tensor in graph.tensors:
        data = constant(model, tensor)
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        if data is not None and (tensor.type in _FLOATS or scaled):
            total += len(data)
    return total


def _name(tensor: Any) -> str:
    return "" if tensor.name is None else str(tensor.name.decode("utf-8", "replace"))


def _some(values: Iterable[int] | None) -> Iterable[int]:
    return () if values is None else values
