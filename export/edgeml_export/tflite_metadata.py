"""What a TFLite file says of itself, as TensorFlow Lite's own tools read it: metadata and a file of labels.

The metadata is a FlatBuffer of its own (metadata_schema.fbs of github.com/tensorflow/tflite-support), held by a buffer
that the model names ``TFLITE_METADATA``; files that it mentions lie in a ZIP behind the model.
"""

from __future__ import annotations

import io
import zipfile
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types as numbers

from edgeml_export.descriptions import describe_input, describe_output
from edgeml_export.tflite_file import read_tflite, write_tflite
from edgeml_runtime.tensors import DType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec, OutputSpec

__all__ = ["describe_tflite"]

_NAME = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_LABELS = "labels.txt"
# Versions of the schema: the oldest, and the one that AudioProperties came with.
_BASE_VERSION, _AUDIO_VERSION = "1.0.0", "1.3.0"
# How an int8 tensor holds a pixel p: as p - 128.
_PIXEL_OFFSET = 128
# The oldest time stamp that a ZIP can hold, for want of none.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_OWNER_READS_AND_WRITES = 0o600


class _Model(IntEnum):
    """Fields of ModelMetadata."""

    NAME = 0
    DESCRIPTION = 1
    VERSION = 2
    SUBGRAPH_METADATA = 3
    MIN_PARSER_VERSION = 7


class _Subgraph(IntEnum):
    """Fields of SubGraphMetadata."""

    INPUT_TENSOR_METADATA = 2
    OUTPUT_TENSOR_METADATA = 3


class _Tensor(IntEnum):
    """Fields of TensorMetadata."""

    NAME = 0
    DESCRIPTION = 1
    CONTENT = 3
    PROCESS_UNITS = 4
    STATS = 5
    ASSOCIATED_FILES = 6


class _Content(IntEnum):
    """Members of the union ContentProperties."""

    FEATURE = 1
    IMAGE = 2
    AUDIO = 4


_STATS_MAX, _STATS_MIN = 0, 1
_FILE_NAME, _FILE_TYPE, _TENSOR_AXIS_LABELS = 0, 2, 2
_COLOR_SPACE, _RGB, _GRAYSCALE = 0, 1, 2
_SAMPLE_RATE, _CHANNELS = 0, 1
_MEAN, _STD, _NORMALIZATION_OPTIONS = 0, 1, 1
# A union is two fields, the number of the member and the member; here they are the first ones of their tables.
_MEMBER, _VALUE = 0, 1


def describe_tflite(content: bytes, contract: Contract) -> bytes:
    """Add the contract's words to a model file: descriptions and ranges of inputs and outputs, what they hold, labels.

    Preprocessing is part of the graph, so that none is asked for: an image is its pixels. Only where the tensor of an
    image is quantized, and tools would quantize what they hand in, is the normalization stated that gives the pixels.

    Args:
        content: The file. Inputs and outputs have the contract's names; of others the name alone is stated.
        contract: The contract.

    Returns:
        The file with metadata, the same bytes for the same file and contract; what it said before is replaced.
    """
    model = read_tflite(content)
    _store(model, _metadata(model.subgraphs[0], contract))
    described = write_tflite(model)
    labels = next((spec.labels for spec in contract.outputs if spec.labels), ())
    return described + _archive(len(described), labels) if labels else described


def _metadata(graph: Any, contract: Contract) -> bytes:
    writer = _Writer(1024)
    specs = {spec.name: spec for spec in contract.inputs}
    inputs = [_input(writer, tensor, specs.get(_name(tensor))) for tensor in _tensors(graph, graph.inputs)]
    results = {spec.name: spec for spec in contract.outputs}
    target = contract.target.name
    outputs = [_output(writer, tensor, results.get(_name(tensor)), target) for tensor in _tensors(graph, graph.outputs)]
    subgraph = writer.table(
        {
            _Subgraph.INPUT_TENSOR_METADATA: writer.tables(inputs),
            _Subgraph.OUTPUT_TENSOR_METADATA: writer.tables(outputs),
        }
    )
    has_audio = any(_loader(spec) == "wav" for spec in contract.inputs)
    root = writer.table(
        {
            _Model.NAME: writer.text(contract.name),
            _Model.DESCRIPTION: writer.text(contract.description),
            _Model.VERSION: writer.text(contract.version),
            _Model.SUBGRAPH_METADATA: writer.tables([subgraph]),
            _Model.MIN_PARSER_VERSION: writer.text(_AUDIO_VERSION if has_audio else _BASE_VERSION),
        }
    )
    writer.Finish(root, file_identifier=_IDENTIFIER)
    return bytes(writer.Output())


def _tensors(graph: Any, indices: Any) -> list[Any]:
    return [graph.tensors[index] for index in indices]


def _name(named: Any) -> str:
    name: bytes = named.name
    return name.decode()


def _loader(spec: InputSpec) -> str | None:
    return None if spec.loader is None else spec.loader.name


def _input(writer: _Writer, tensor: Any, spec: InputSpec | None) -> int:
    """TensorMetadata of an input."""
    if spec is None:
        return writer.table({_Tensor.NAME: writer.text(_name(tensor))})
    offset = _PIXEL_OFFSET if spec.dtype is DType.UINT8 and tensor.type == schema.TensorType.INT8 else 0
    held = f"; held as int8, {offset} lower" if offset else ""
    low, high = (limit - offset for limit in spec.range)
    return writer.table(
        {
            _Tensor.NAME: writer.text(spec.name),
            _Tensor.DESCRIPTION: writer.text(describe_input(spec) + held),
            _Tensor.CONTENT: _input_content(writer, spec),
            _Tensor.PROCESS_UNITS: _normalization(writer, tensor, offset) if _loader(spec) == "image" else None,
            _Tensor.STATS: writer.table({_STATS_MAX: writer.floats([high]), _STATS_MIN: writer.floats([low])}),
        }
    )


def _output(writer: _Writer, tensor: Any, spec: OutputSpec | None, target: str) -> int:
    """TensorMetadata of an output."""
    if spec is None:
        return writer.table({_Tensor.NAME: writer.text(_name(tensor))})
    files = None
    if spec.labels:
        type_ = (numbers.Int8Flags, _TENSOR_AXIS_LABELS)
        files = writer.tables([writer.table({_FILE_NAME: writer.text(_LABELS), _FILE_TYPE: type_})])
    return writer.table(
        {
            _Tensor.NAME: writer.text(spec.name),
            _Tensor.DESCRIPTION: writer.text(describe_output(spec, target)),
            _Tensor.CONTENT: writer.union(_Content.FEATURE, writer.table({})),
            _Tensor.ASSOCIATED_FILES: files,
        }
    )


def _input_content(writer: _Writer, spec: InputSpec) -> int:
    if spec.loader is not None and spec.loader.name == "image":
        color_space = _RGB if spec.shape[2:] == (3,) else _GRAYSCALE
        return writer.union(_Content.IMAGE, writer.table({_COLOR_SPACE: (numbers.Int8Flags, color_space)}))
    if spec.loader is not None and spec.loader.name == "wav":
        rate = (numbers.Uint32Flags, int(spec.loader.options["sample_rate_hz"]))
        return writer.union(_Content.AUDIO, writer.table({_SAMPLE_RATE: rate, _CHANNELS: (numbers.Uint32Flags, 1)}))
    return writer.union(_Content.FEATURE, writer.table({}))


def _normalization(writer: _Writer, tensor: Any, offset: int) -> int | None:
    """Process units of an image, or None where its tensor is not quantized and tools hand in the pixel p as it is.

    Where it is, they compute (p - mean) / std / scale + zero_point, which has to be p - offset.
    """
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    mean, std = float(quantization.zeroPoint[0]) + offset, 1 / float(quantization.scale[0])
    options = writer.table({_MEAN: writer.floats([mean]), _STD: writer.floats([std])})
    return writer.tables([writer.union(_NORMALIZATION_OPTIONS, options)])


def _store(model: Any, metadata: bytes) -> None:
    """Put the metadata into a buffer of its own, or into the one that held it."""
    entries = [entry for entry in model.metadata or [] if _name(entry) == _NAME]
    if not entries:
        entry = schema.MetadataT()
        entry.name, entry.buffer = _NAME, len(model.buffers)
        model.metadata = [*(model.metadata or []), entry]
        model.buffers.append(schema.BufferT())
        entries = [entry]
    model.buffers[entries[0].buffer].data = np.frombuffer(metadata, np.uint8)


def _archive(position: int, labels: Sequence[str]) -> bytes:
    """A ZIP with the labels, one a line, for that position in a file: its offsets count from the file's beginning."""
    entry = zipfile.ZipInfo(_LABELS, _EPOCH)
    entry.create_system = _UNIX
    entry.external_attr = _OWNER_READS_AND_WRITES << 16
    whole = io.BytesIO(bytes(position))
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, "\n".join(" ".join(label.splitlines()) for label in labels))
    return whole.getvalue()[position:]


_Field = int | tuple[Any, int] | None


class _Writer(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that takes the fields of a table by number, and writes equal texts once."""

    def table(self, fields: Mapping[int, _Field]) -> int:
        """Write a table: number of a field → place of what it refers to, type and value of a number, or None."""
        self.StartObject(max(fields, default=-1) + 1)
        for number, field in fields.items():
            if isinstance(field, tuple):
                flags, value = field
                self.Prepend(flags, value)
                self.Slot(number)
            elif field is not None:
                self.PrependUOffsetTRelativeSlot(number, field, 0)
        return int(self.EndObject())

    def union(self, member: int, place: int) -> int:
        """Write a table that holds a union and nothing else."""
        return self.table({_VALUE: place, _MEMBER: (numbers.Uint8Flags, member)})

    def text(self, text: str) -> int:
        """Write a text."""
        return int(self.CreateSharedString(text))

    def tables(self, places: Sequence[int]) -> int:
        """Write a vector of tables."""
        self.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.PrependUOffsetTRelative(place)
        return int(self.EndVector())

    def floats(self, values: Sequence[float]) -> int:
        """Write a vector of float32."""
        return int(self.CreateNumpyVector(np.asarray(values, np.float32)))
