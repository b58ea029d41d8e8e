"""An ONNX file that ends after one of its nodes.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto in protocol buffers
(https://protobuf.dev/programming-guides/encoding/): a message is a row of fields, each a tag with the field's number
and how its length is told, so that fields can be left out or added without understanding the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.errors import BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OnnxCutter", "OnnxNode"]

_GRAPH = 7
_NODE, _INPUT, _OUTPUT = 1, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE = 1, 2, 3, 4
_VALUE_NAME = 1
_COPY = "edgeml_copy_of_the_input"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Field:
    """A field: its number, where it begins and ends, and where its content begins."""

    number: int
    begin: int
    content: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """A node.

    Attributes:
        name: Its name.
        type: Its operator.
        output: The first of its outputs that is used.
    """

    name: str
    type: str
    output: str


class OnnxCutter:
    """An ONNX file whose nodes stand in the order of execution.

    Args:
        model: The file.

    Raises:
        BackendFailedError: It is none, or has no graph.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        fields = list(self._fields(0, len(model)))
        graphs = [field for field in fields if field.number == _GRAPH]
        if len(graphs) != 1:
            raise BackendFailedError(f"expected an ONNX file with one graph, found {len(graphs)}: not cut")
        (self._graph,) = graphs
        parts = list(self._fields(self._graph.content, self._graph.end))
        self._nodes = [part for part in parts if part.number == _NODE]
        self._others = b"".join(model[part.begin : part.end] for part in parts if part.number not in (_NODE, _OUTPUT))
        self.nodes = tuple(self._node(part) for part in self._nodes)
        inputs = (part for part in parts if part.number == _INPUT)
        self._input = next((self._text(part, _VALUE_NAME) for part in inputs), "")
        if not self._nodes or not self._input:
            raise BackendFailedError("expected an ONNX file with nodes and an input, found none: not cut")

    def cut(self, nodes: int) -> bytes:
        """The file that ends after so many nodes, with the last one's first output as its only one.

        Args:
            nodes: From 0 to the number there is. Without nodes the first input is copied, because a graph needs one.

        Returns:
            The file; the output states no type, which the backend infers.
        """
        name = self.nodes[nodes - 1].output if nodes else _COPY
        output = _bytes_field(_OUTPUT, _bytes_field(_VALUE_NAME, name.encode()))
        kept = b"".join(self._model[part.begin : part.end] for part in self._nodes[:nodes]) or self._copy()
        graph = _bytes_field(_GRAPH, kept + self._others + output)
        return self._model[: self._graph.begin] + graph + self._model[self._graph.end :]

    def _copy(self) -> bytes:
        texts = ((_NODE_INPUT, self._input), (_NODE_OUTPUT, _COPY), (_NODE_TYPE, "Identity"))
        return _bytes_field(_NODE, b"".join(_bytes_field(number, text.encode()) for number, text in texts))

    def _node(self, part: _Field) -> OnnxNode:
        output, kind = self._text(part, _NODE_OUTPUT), self._text(part, _NODE_TYPE)
        if not output or not kind:
            raise BackendFailedError("expected nodes with a type and an output, found one without: not cut")
        return OnnxNode(name=self._text(part, _NODE_NAME) or output, type=kind, output=output)

    def _text(self, part: _Field, number: int) -> str:
        """The first text of that number in a message that is not empty; empty where there is none."""
        fields = (field for field in self._fields(part.content, part.end) if field.number == number)
        texts = (self._model[field.content : field.end].decode("utf-8", "replace") for field in fields)
        return next((text for text in texts if text), "")

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self._model[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    def _fields(self, at: int, end: int) -> Iterator[_Field]:
        try:
            while at < end:
                begin = at
                tag, at = self._varint(at)
                kind = tag & 7
                length = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
                if kind == _BYTES:
                    length, at = self._varint(at)
                elif kind == _VARINT:
                    _, at = self._varint(at)
                elif not length:
                    raise BackendFailedError(f"expected an ONNX file, found a field of kind {kind}: not cut")
                if at + length > end:
                    raise BackendFailedError("expected an ONNX file, found one that ends within a field: not cut")
                yield _Field(tag >> 3, begin, at, at + length)
                at += length
        except IndexError as error:
            raise BackendFailedError("expected an ONNX file, found one that ends within a field: not cut") from error


def _bytes_field(number: int, content: bytes) -> bytes:
    return _varint_bytes(number << 3 | _BYTES) + _varint_bytes(len(content)) + content


def _varint_bytes(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
