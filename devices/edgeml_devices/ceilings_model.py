"""One multiplication of matrices of 8-bit integers as an ONNX file, written by hand: this room has no ``onnx``.

Field numbers are those of ``onnx.proto3`` (github.com/onnx/onnx), the encoding is that of Protocol Buffers
(protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

__all__ = ["int8_product"]

_IR_VERSION = 8
_OPSET = 13
_UINT8, _INT8, _INT32 = 2, 3, 6  # TensorProto.DataType


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _tensor_type(name: str, element: int, size: int) -> bytes:
    """A ValueInfoProto: a square matrix of ``size`` rows."""
    shape = _bytes(1, _number(1, size)) * 2
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, shape)))


def int8_product(size: int) -> bytes:
    """A model with one node, ``MatMulInteger``: uint8[size, size] × a constant int8[size, size] → int32[size, size].

    Args:
        size: Rows and columns; one run multiplies and adds up size³ pairs.

    Returns:
        The file. Its input is called ``a``, its output ``c``.
    """
    weights = bytes((7 * index + 3) % 256 for index in range(256)) * (size * size // 256 + 1)
    constant = _number(1, size) * 2 + _number(2, _INT8) + _bytes(8, "b") + _bytes(9, weights[: size * size])
    node = _bytes(1, "a") + _bytes(1, "b") + _bytes(2, "c") + _bytes(4, "MatMulInteger")
    graph = _bytes(1, node) + _bytes(2, "product") + _bytes(5, constant)
    graph += _bytes(11, _tensor_type("a", _UINT8, size)) + _bytes(12, _tensor_type("c", _INT32, size))
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, _OPSET))
