"""One form for every .ort file of one model.

ONNX Runtime numbers and names the nodes that undo a blocked layout in the order of their addresses, and lays out the
tables of kernel types in the order of a hash table that is seeded anew: each session saves other bytes. Here a file is
read and written again, with nodes numbered by what they wait for and without names, and equal strings, vectors and
tables stored once, which also makes it smaller.

The tables are those of onnxruntime/core/flatbuffers/schema/ort.fbs, format version 6 (ONNX Runtime 1.16 to 1.32).
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from flatbuffers import number_types as numbers
from flatbuffers.table import Table

from edgeml_runtime.errors import DefectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["OrtContent", "canonical_ort"]

_IDENTIFIER = b"ORTM"
_ROOT = "InferenceSession"

# Table → the types of its fields, in the order of their slots: "[T]" is a vector, "-" a field no longer written. Graphs
# have a ninth field, in files alone that are still to be optimized where they are loaded.
_TABLES: dict[str, tuple[str, ...]] = {
    "InferenceSession": ("str", "Model", "-", "KernelTypeStrResolver"),
    "Model": ("i64", "[OperatorSetId]", "str", "str", "str", "i64", "str", "Graph", "str", "[StringStringEntry]"),
    "Graph": ("[Tensor]", "[ValueInfo]", "[Node]", "u32", "[NodeEdge]", "[str]", "[str]", "[SparseTensor]"),
    "Node": (
        *("str", "str", "str", "i32", "u32", "str", "i32", "str", "[str]", "[str]", "[Attribute]", "[i32]"),
        "[str]",
    ),
    "NodeEdge": ("u32", "[EdgeEnd]", "[EdgeEnd]"),
    "Attribute": (
        *("str", "str", "i32", "f32", "i64", "str", "Tensor", "Graph", "[f32]", "[i64]", "[str]", "[Tensor]"),
        "[Graph]",
    ),
    "Tensor": ("str", "str", "[i64]", "i32", "[u8]", "[str]", "i64"),
    "SparseTensor": ("Tensor", "Tensor", "[i64]"),
    "ValueInfo": ("str", "str", "TypeInfo"),
    "TypeInfo": ("str", "u8", "TypeInfoValue"),
    "TensorTypeAndShape": ("i32", "Shape"),
    "SequenceType": ("TypeInfo",),
    "MapType": ("i32", "TypeInfo"),
    "Shape": ("[Dimension]",),
    "Dimension": ("DimensionValue", "str"),
    "DimensionValue": ("i8", "i64", "str"),
    "OperatorSetId": ("str", "i64"),
    "StringStringEntry": ("str", "str"),
    "KernelTypeStrResolver": ("[OpIdKernelTypeStrArgsEntry]",),
    "OpIdKernelTypeStrArgsEntry": ("str", "[KernelTypeStrArgsEntry]"),
    "KernelTypeStrArgsEntry": ("str", "[ArgTypeAndIndex]"),
    "ArgTypeAndIndex": ("i8", "u32"),
}
_GRAPH_NODES, _GRAPH_MAX_INDEX, _GRAPH_EDGES = 2, 3, 4
_NODE_NAME, _NODE_DOC, _NODE_INDEX, _NODE_OUTPUTS = 0, 1, 4, 9
_UNUSED = "-"
_UNION = "TypeInfoValue"
_UNION_MEMBERS = {1: "TensorTypeAndShape", 2: "SequenceType", 3: "MapType"}
_SCALARS = {
    "i8": numbers.Int8Flags,
    "u8": numbers.Uint8Flags,
    "i32": numbers.Int32Flags,
    "u32": numbers.Uint32Flags,
    "i64": numbers.Int64Flags,
    "f32": numbers.Float32Flags,
}
# Vectors that are copied as they are: element type → its size and alignment, in bytes. EdgeEnd is a struct of three.
_PLAIN = {"EdgeEnd": (12, 4), "u8": (1, 1), "i32": (4, 4), "u32": (4, 4), "f32": (4, 4), "i64": (8, 8)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrtContent:
    """A file in canonical form.

    Attributes:
        content: The file.
        operators: Domain and type of every operator in it, subgraphs included.
    """

    content: bytes
    operators: frozenset[tuple[str, str]]


def canonical_ort(content: bytes) -> OrtContent:
    """Write an .ort file again so that equal models are equal bytes.

    Args:
        content: The file as a session saved it.

    Returns:
        The same model in canonical form.

    Raises:
        DefectError: The file has fields that this module does not know and would lose.
    """
    if content[4:8] != _IDENTIFIER:
        raise DefectError(f"expected an .ort file, found one that begins with {content[:8]!r}")
    root = _read_table(_ROOT, content, int.from_bytes(content[:4], "little"))
    _number_nodes(root)
    builder = _Builder(len(content) + 1024)
    builder.Finish(builder.record(root), file_identifier=_IDENTIFIER)
    return OrtContent(content=bytes(builder.Output()), operators=frozenset(_operators(root)))


@dataclass(frozen=True, slots=True)
class _Record:
    """A table: its name and a value for every slot, None where the file has none."""

    name: str
    values: list[Any]


@dataclass(frozen=True, slots=True)
class _Plain:
    """A vector without references."""

    element: str
    count: int
    data: bytes


def _read_table(name: str, content: bytes, position: int) -> _Record:
    table, types = Table(content, position), _TABLES[name]
    vtable = position - table.Get(numbers.SOffsetTFlags, position)
    slots = (table.Get(numbers.VOffsetTFlags, vtable) - 4) // 2
    values: list[Any] = [None] * len(types)
    for slot in range(slots):
        place = table.Offset(4 + 2 * slot)
        if not place:
            continue
        if slot >= len(types) or types[slot] == _UNUSED:
            raise DefectError(f"the installed onnxruntime writes .ort files with a field {slot} of {name}: not known")
        type_ = _UNION_MEMBERS[values[slot - 1]] if types[slot] == _UNION else types[slot]
        values[slot] = _read_value(type_, table, position + place)
    return _Record(name, values)


def _read_value(type_: str, table: Table, position: int) -> Any:
    if type_ in _SCALARS:
        return table.Get(_SCALARS[type_], position)
    if type_ == "str":
        return table.String(position)
    if not type_.startswith("["):
        return _read_table(type_, table.Bytes, table.Indirect(position))
    element, offset = type_[1:-1], position - table.Pos
    start, count = table.Vector(offset), table.VectorLen(offset)
    if element in _PLAIN:
        return _Plain(element, count, bytes(table.Bytes[start : start + count * _PLAIN[element][0]]))
    return [_read_value(element, table, start + 4 * index) for index in range(count)]


def _number_nodes(value: Any) -> None:
    """Number the nodes of every graph below a value anew: by how many others they wait for, then by name."""
    if isinstance(value, list):
        for item in value:
            _number_nodes(item)
    elif isinstance(value, _Record):
        if value.name == "Graph":
            _number_nodes_of(value)
        _number_nodes(value.values)


def _number_nodes_of(graph: _Record) -> None:
    nodes = {node.values[_NODE_INDEX] or 0: node for node in graph.values[_GRAPH_NODES] or []}
    edges = {edge.values[0] or 0: edge for edge in graph.values[_GRAPH_EDGES] or []}
    before = {index: _edge_ends(edge.values[1])[:, 0].tolist() for index, edge in edges.items()}
    depth: dict[int, int] = {}
    for index in TopologicalSorter({index: before.get(index, ()) for index in nodes}).static_order():
        depth[index] = 1 + max((depth[other] for other in before.get(index, ())), default=0)
    order = sorted(nodes, key=lambda index: (depth[index], _first_output(nodes[index])))
    ranks = {index: number for number, index in enumerate(order)}
    for index, node in nodes.items():
        node.values[_NODE_NAME] = node.values[_NODE_DOC] = None
        node.values[_NODE_INDEX] = ranks[index]
    for index, edge in edges.items():
        edge.values[0] = ranks[index]
        edge.values[1:] = [_renumbered(ends, ranks) for ends in edge.values[1:]]
    graph.values[_GRAPH_NODES] = [nodes[index] for index in order]
    graph.values[_GRAPH_EDGES] = [edges[index] for index in order if index in edges]
    graph.values[_GRAPH_MAX_INDEX] = len(order)


def _first_output(node: _Record) -> bytes:
    return next((name for name in node.values[_NODE_OUTPUTS] or [] if name), b"")


def _edge_ends(vector: _Plain | None) -> NDArray[np.int32]:
    """EdgeEnd structs as rows: index of the other node, number of the output, number of the input."""
    return np.frombuffer(b"" if vector is None else vector.data, "<i4").reshape(-1, 3)


def _renumbered(vector: _Plain | None, ranks: Mapping[int, int]) -> _Plain | None:
    if vector is None:
        return None
    rows = sorted([ranks[node], *rest] for node, *rest in _edge_ends(vector).tolist())
    return _Plain(vector.element, vector.count, np.array(rows, "<i4").tobytes())


def _operators(value: Any) -> Iterator[tuple[str, str]]:
    """Domain and type of every node below a value."""
    if isinstance(value, list):
        for item in value:
            yield from _operators(item)
    elif isinstance(value, _Record):
        if value.name == "Node":
            yield (value.values[2] or b"").decode(), value.values[5].decode()
        yield from _operators(value.values)


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    """A builder that writes equal strings, vectors and tables once: children are equal when their places are."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[Any, int] = {}

    def record(self, record: _Record) -> int:
        """Write a table, and first what it refers to."""
        fields = [
            (flags, slot, value if flags is not None else self._reference(value))
            for slot, value in enumerate(record.values)
            if value is not None
            for flags in [_SCALARS.get(_TABLES[record.name][slot])]
        ]
        return self._once((record.name, tuple(fields)), lambda: self._table(record.name, fields))

    def _table(self, name: str, fields: list[tuple[Any, int, Any]]) -> int:
        self.StartObject(len(_TABLES[name]))
        widest_first = sorted(fields, key=lambda field: -(4 if field[0] is None else field[0].bytewidth))
        for flags, slot, value in widest_first:
            if flags is None:
                self.PrependUOffsetTRelative(value)
            else:
                self.Prepend(flags, value)
            self.Slot(slot)
        return int(self.EndObject())

    def _reference(self, value: Any) -> int:
        if isinstance(value, _Record):
            return self.record(value)
        if isinstance(value, bytes):
            return self._once(value, lambda: int(self.CreateString(value)))
        if isinstance(value, _Plain):
            return self._once(value, lambda: self._plain(value))
        places = tuple(self._reference(item) for item in value)
        return self._once(places, lambda: self._vector(places))

    def _plain(self, vector: _Plain) -> int:
        size, alignment = _PLAIN[vector.element]
        self.StartVector(size, vector.count, alignment)
        self.head -= len(vector.data)
        self.Bytes[self.head : self.head + len(vector.data)] = vector.data
        return int(self.EndVector())

    def _vector(self, places: tuple[int, ...]) -> int:
        self.StartVector(4, len(places), 4)
        for place in reversed(places):
            self.PrependUOffsetTRelative(place)
        return int(self.EndVector())

    def _once(self, key: Any, write: Callable[[], int]) -> int:
        if key not in self._written:
            self._written[key] = write()
        return self._written[key]
