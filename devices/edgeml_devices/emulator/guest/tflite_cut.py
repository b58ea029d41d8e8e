"""A TFLite file that ends after one of its operators: two numbers of the file are changed, and nothing moves.

Format: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs, in flatbuffers
(https://flatbuffers.dev/internals): a vector begins with its length, so that a shorter one is the same with another
length. The fields of a subgraph are, in order, tensors, inputs, outputs, operators; those of an operator opcode_index,
inputs, outputs.
"""

from __future__ import annotations

import struct

from edgeml_runtime.errors import BackendFailedError

__all__ = ["TfliteCutter"]

_SUBGRAPHS, _SIGNATURES = 2, 7
_INPUTS, _OUTPUTS, _OPERATORS = 1, 2, 3
_OPERATOR_OUTPUTS = 2


class TfliteCutter:
    """A TFLite file with one subgraph.

    Args:
        model: The file.

    Raises:
        BackendFailedError: It is none, or has several subgraphs, or no output.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        try:
            root = self._uint32(0)
            subgraphs = self._vector(root, _SUBGRAPHS)
            if self._uint32(subgraphs) != 1:
                raise BackendFailedError("expected a TFLite file with one subgraph, found several: not cut")
            graph = subgraphs + 4 + self._uint32(subgraphs + 4)
            self._operators, self._outputs = self._vector(graph, _OPERATORS), self._vector(graph, _OUTPUTS)
            self._input = int(struct.unpack_from("<i", model, self._vector(graph, _INPUTS) + 4)[0])
            self._signatures = self._field(root, _SIGNATURES)
            self.operators = self._uint32(self._operators)
            self._last = [self._first_output(number) for number in range(self.operators)]
        except (struct.error, IndexError) as error:
            raise BackendFailedError(f"expected a TFLite file, found a broken one: {error}") from error

    def cut(self, operators: int) -> bytes:
        """The file that ends after so many operators, with the last one's first output as its only one.

        Args:
            operators: From 0 to the number there is. Without operators the first input is the output.

        Returns:
            The file; it has no signatures, because those name the old outputs.
        """
        changed = bytearray(self._model)
        struct.pack_into("<I", changed, self._operators, operators)
        struct.pack_into("<Ii", changed, self._outputs, 1, self._last[operators - 1] if operators else self._input)
        if self._signatures:
            struct.pack_into("<I", changed, self._signatures + self._uint32(self._signatures), 0)
        return bytes(changed)

    def _first_output(self, number: int) -> int:
        entry = self._operators + 4 + 4 * number
        outputs = self._vector(entry + self._uint32(entry), _OPERATOR_OUTPUTS)
        if self._uint32(outputs) < 1:
            raise BackendFailedError(f"operator {number} of the TFLite file has no output: not cut")
        return int(struct.unpack_from("<i", self._model, outputs + 4)[0])

    def _uint32(self, at: int) -> int:
        return int(struct.unpack_from("<I", self._model, at)[0])

    def _field(self, table: int, number: int) -> int:
        """Where a field of a table lies, or 0 where it is left out."""
        vtable = table - int(struct.unpack_from("<i", self._model, table)[0])
        if 4 + 2 * number >= struct.unpack_from("<H", self._model, vtable)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self._model, vtable + 4 + 2 * number)[0])
        return table + offset if offset else 0

    def _vector(self, table: int, number: int) -> int:
        field = self._field(table, number)
        if not field:
            raise BackendFailedError("expected a TFLite file with operators and outputs, found none: not cut")
        return field + self._uint32(field)
