"""Reading and writing .tflite files as objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OPERATOR_NAMES", "constant", "operator_name", "read_tflite", "write_tflite"]

_IDENTIFIER = b"TFL3"
# `data` of a Buffer is declared with force_align: 16 in the schema; kernels read weights in place.
_DATA_ALIGNMENT = 16

OPERATOR_NAMES: dict[int, str] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


def read_tflite(content: bytes) -> Any:
    """Parse a model.

    Args:
        content: The file.

    Returns:
        A ``ModelT`` with one subgraph at least; the data of every buffer is in the object, wherever the file has it.
    """
    raw = bytearray(content)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(raw, 0))
    for buffer in model.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(raw, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def write_tflite(model: Any) -> bytes:
    """Encode a model.

    Args:
        model: A ``ModelT``.

    Returns:
        The file, the same bytes for the same model; weights are aligned to 16 bytes.
    """
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.asarray(buffer.data, np.uint8)
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    """The name of a builtin operator, such as ``"CONV_2D"``.

    Args:
        model: A ``ModelT``.
        operator: One of its ``OperatorT``.
    """
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def constant(model: Any, tensor: Any) -> NDArray[np.uint8] | None:
    """The bytes of a constant tensor, or None where the tensor is computed.

    Args:
        model: A ``ModelT``.
        tensor: One of its ``TensorT``.
    """
    data = model.buffers[tensor.buffer].data
    return None if data is None or len(data) == 0 else np.asarray(data, np.uint8)


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that aligns weights and writes equal vectors once.

    Many tables may refer to one vector: every channel's zero point of every weight is the same vector of zeros.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802, the base class's name
        """Write a vector, or refer to an equal one."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.StartVector(1, x.size, _DATA_ALIGNMENT)
                self.head -= x.size
                self.Bytes[self.head : self.head + x.size] = key[1]
                self.vectorNumElems = x.size
                self._written[key] = self.EndVector()
            else:
                self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]
