"""A DEQUANTIZE operator for a TFLite model."""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

__all__ = ["dequantize_operator"]

# Versions of the operator by what it reads (tensorflow/lite/tools/versioning/op_version.cc).
_PLAIN = {
    schema.TensorType.UINT8: 1,
    schema.TensorType.INT8: 2,
    schema.TensorType.INT16: 3,
    schema.TensorType.FLOAT16: 3,
}
_PER_CHANNEL = 5


def dequantize_operator(model: Any, source: int, target: int) -> Any:
    """Make the operator; the caller puts it among the others.

    Args:
        model: A ``ModelT``; an operator code is added where it has none that fits.
        source: Index of a quantized tensor.
        target: Index of the float tensor that it is turned into.

    Returns:
        An ``OperatorT``.
    """
    tensor = model.subgraphs[0].tensors[source]
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    per_channel = scales is not None and len(scales) > 1
    operator = schema.OperatorT()
    operator.opcodeIndex = _code(model, _PER_CHANNEL if per_channel else _PLAIN[tensor.type])
    operator.inputs, operator.outputs = [source], [target]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _code(model: Any, version: int) -> int:
    wanted = schema.BuiltinOperator.DEQUANTIZE
    for position, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted and code.version == version:
            return position
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
