"""Multiply-accumulates, bytes and precision of an operator, from the shapes and element types of its tensors.

A multiply-accumulate (MAC) is one multiplication with one addition. Counted are the products with weights or between
two tensors, as the backend executes them: channels that it pads with zeros count as well. Additions of a bias,
activations and element-wise operators do not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tensor = tuple[str, tuple[int, ...]]
    Shape = tuple[int, ...]

__all__ = ["count_bytes", "count_macs", "precision_of"]

_ITEM_BYTES = {
    "float64": 8,
    "int64": 8,
    "uint64": 8,
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "float16": 2,
    "bfloat16": 2,
}
_ITEM_BYTES |= {"int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}
_EIGHT_BITS = frozenset({"int8", "uint8"})
# XNNPACK's own short names (XNNPACK, src/xnnpack/operator-type-defs.inc).
_KERNEL_WORDS = {"F32": "float32", "F16": "float16", "QC8": "int8", "QS8": "int8", "QU8": "int8", "QD8": "int8"}
# They turn their float input into 8 bits before they multiply.
_DYNAMIC = frozenset({"DynamicQuantizeLSTM", "DynamicQuantizeMatMul"})


def _product(shape: Sequence[int]) -> int:
    return math.prod(shape)


def _of_filters(inputs: Sequence[Shape], output: Shape, at: int) -> int:
    """Every output is a sum over one filter: ONNX has filters × channels of a group × kernel."""
    return _product(output) * _product(inputs[at][1:])


def _of_scattering(inputs: Sequence[Shape], _: Shape) -> int:
    """Every input is multiplied with the filters of its channel; ONNX has channels × filters of a group × kernel."""
    return _product(inputs[0]) * _product(inputs[1][1:])


def _of_matrices(inputs: Sequence[Shape], output: Shape, at: int) -> int:
    """M·N·K of the last two dimensions each, transposed or not, for every matrix of the output."""
    first, second = ((1, *shape)[-2:] for shape in (inputs[0], inputs[at]))
    m_n = _product((1, 1, *output)[-2:])
    depth = math.isqrt(_product(first) * _product(second) // max(1, m_n))
    return _product(output) * depth


def _of_recurrence(inputs: Sequence[Shape], _: Shape) -> int:
    """Every step of a sequence multiplies with all input and recurrent weights, for each item of the batch."""
    steps, batch = inputs[0][:2]
    return steps * batch * (_product(inputs[1]) + _product(inputs[2]))


def _of_rows(inputs: Sequence[Shape], output: Shape) -> int:
    """Every output is a product with a row of the weights; TFLite has outputs × inputs."""
    return _product(output) * inputs[1][-1]


def _of_tflite_depthwise(inputs: Sequence[Shape], output: Shape) -> int:
    """TFLite has 1 × kernel × channels."""
    return _product(output) * _product(inputs[1][1:3])


def _of_tflite_scattering(inputs: Sequence[Shape], _: Shape) -> int:
    """TFLite gives the output's shape, filters × kernel × channels, the input."""
    return _product(inputs[2]) * _product(inputs[1][:3])


def _of_tflite_volume(inputs: Sequence[Shape], output: Shape) -> int:
    """TFLite has kernel × channels × filters."""
    return _product(output) * _product(inputs[1][:-1])


def _filters(at: int) -> Callable[[Sequence[Shape], Shape], int]:
    return lambda inputs, output: _of_filters(inputs, output, at)


def _matrices(at: int) -> Callable[[Sequence[Shape], Shape], int]:
    return lambda inputs, output: _of_matrices(inputs, output, at)


# Operator → where its weights are among the inputs, and how its products are counted.
_RULES: dict[str, tuple[int, Callable[[Sequence[Shape], Shape], int]]] = {
    "Conv": (1, _filters(1)),
    "ConvInteger": (1, _filters(1)),
    "FusedConv": (1, _filters(1)),
    "NhwcFusedConv": (1, _filters(1)),
    "QLinearConv": (3, _filters(3)),
    "ConvTranspose": (1, _of_scattering),
    "DynamicQuantizeMatMul": (1, _matrices(1)),
    "FusedGemm": (1, _matrices(1)),
    "FusedMatMul": (1, _matrices(1)),
    "Gemm": (1, _matrices(1)),
    "MatMul": (1, _matrices(1)),
    "MatMulInteger": (1, _matrices(1)),
    "MatMulIntegerToFloat": (1, _matrices(1)),
    "QGemm": (3, _matrices(3)),
    "QLinearMatMul": (3, _matrices(3)),
    "DynamicQuantizeLSTM": (1, _of_recurrence),
    "GRU": (1, _of_recurrence),
    "LSTM": (1, _of_recurrence),
    "RNN": (1, _of_recurrence),
    "BATCH_MATMUL": (1, _matrices(1)),
    "CONV_2D": (1, _filters(1)),
    "CONV_3D": (1, _of_tflite_volume),
    "DEPTHWISE_CONV_2D": (1, _of_tflite_depthwise),
    "FULLY_CONNECTED": (1, _of_rows),
    "TRANSPOSE_CONV": (1, _of_tflite_scattering),
}
# They multiply as well, in ways that shapes alone do not tell.
_UNCOUNTED = frozenset(
    {
        "Attention",
        "Einsum",
        "GroupQueryAttention",
        "MatMulNBits",
        "MultiHeadAttention",
        "QAttention",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "STABLEHLO_DOT_GENERAL",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)


def count_macs(kind: str, inputs: Sequence[Tensor] | None, outputs: Sequence[Tensor] | None) -> int | None:
    """Multiply-accumulates of one call of an operator.

    Args:
        kind: Its name in ONNX, in ONNX Runtime's own operators, or in TFLite.
        inputs: Element type and shape of each, weights included; None where unknown.
        outputs: Likewise.

    Returns:
        Their number, 0 for an operator that has none, None where it cannot be told.

    Raises:
        InputError: The shapes are not those of such an operator.
    """
    if kind in _UNCOUNTED:
        return None
    if kind not in _RULES:
        return 0
    if not inputs or not outputs:
        return None
    try:
        return _RULES[kind][1]([shape for _, shape in inputs], outputs[0][1])
    except (IndexError, ValueError) as error:
        raise InputError(f"{kind}: expected the shapes of such an operator, found {inputs} and {outputs}") from error


def count_bytes(inputs: Sequence[Tensor] | None, outputs: Sequence[Tensor] | None) -> int | None:
    """Bytes of all tensors that an operator reads and writes, each counted once.

    That is the least that has to be moved where nothing is in a cache (compulsory misses; Hill and Smith, "Evaluating
    Associativity in CPU Caches", IEEE Transactions on Computers 38(12), 1989).

    Args:
        inputs: Element type and shape of each, weights included; None where unknown.
        outputs: Likewise.

    Returns:
        Bytes, or None where a type or shape is unknown.
    """
    if inputs is None or outputs is None:
        return None
    tensors = [*inputs, *outputs]
    if any(dtype not in _ITEM_BYTES for dtype, _ in tensors):
        return None
    return sum(_ITEM_BYTES[dtype] * _product(shape) for dtype, shape in tensors)


def precision_of(
    kind: str | None, kernel: str | None, inputs: Sequence[Tensor] | None, outputs: Sequence[Tensor] | None
) -> str | None:
    """What an operator computes in.

    Args:
        kind: Its name, or None.
        kernel: What the backend calls its kernel, or None.
        inputs: Element type and shape of each, or None where unknown.
        outputs: Likewise.

    Returns:
        ``int8`` for products of 8-bit integers, with or without sign; another element type by its numpy name; two of
        them, as in ``float32 × int8``, where a product mixes them; None where it is not known.
    """
    named = [_KERNEL_WORDS[word] for word in _words(kernel) if word in _KERNEL_WORDS]
    if named:
        return named[0]
    if kind in _DYNAMIC:
        return "int8"
    if kind in _RULES and inputs and len(inputs) > _RULES[kind][0]:
        data = inputs[2][0] if kind == "TRANSPOSE_CONV" and len(inputs) > 2 else inputs[0][0]
        weights = inputs[_RULES[kind][0]][0]
        if {data, weights} <= _EIGHT_BITS:
            return "int8"
        return data if data == weights else f"{data} × {weights}"
    return outputs[0][0] if outputs else None


def _words(kernel: str | None) -> list[str]:
    return "".join(sign if sign.isalnum() else " " for sign in kernel or "").split()
