"""Trimming an ONNX model for shipping: short names, no constant twice, nothing unused."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from onnx import GraphProto, ModelProto, TensorProto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["compact_onnx", "drop_unused"]


def compact_onnx(model: ModelProto) -> bytes:
    """Encode a model in as few bytes as the format allows without changing what it computes.

    Names of inputs and outputs stay. Names of weights and values become short, because in a small network they take as
    many bytes as the weights; identical constants, such as zero points, are stored once.

    Args:
        model: The model; it is not changed. Models with subgraphs keep their names.

    Returns:
        The encoded model, the same bytes for the same model.
    """
    copied = ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    if not _has_subgraphs(graph):
        _share_constants(graph)
        drop_unused(graph)
        _shorten(graph)
    content: bytes = copied.SerializeToString(deterministic=True)
    return content


def _has_subgraphs(graph: GraphProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute)


def _rename(graph: GraphProto, new_name: Callable[[str], str]) -> None:
    for node in graph.node:
        node.input[:] = [new_name(name) for name in node.input]
        node.output[:] = [new_name(name) for name in node.output]


def _share_constants(graph: GraphProto) -> None:
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept: list[TensorProto] = []
    outputs = {output.name for output in graph.output}
    for tensor in graph.initializer:
        nameless = TensorProto()
        nameless.CopyFrom(tensor)
        nameless.name = ""
        original = first.setdefault(nameless.SerializeToString(deterministic=True), tensor.name)
        if original == tensor.name or tensor.name in outputs:
            kept.append(tensor)
        else:
            same[tensor.name] = original
    _replace_initializers(graph, kept)
    _rename(graph, lambda name: same.get(name, name))


def drop_unused(graph: GraphProto) -> None:
    """Remove constants that nothing reads.

    Args:
        graph: The graph, which is changed.
    """
    used = set(_reads(graph))
    _replace_initializers(graph, [tensor for tensor in graph.initializer if tensor.name in used])


def _reads(graph: GraphProto) -> Iterator[str]:
    """Names of the values that nodes read, those inside branches and loops too, and of the outputs."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _reads(inner)
    yield from (output.name for output in graph.output)


def _replace_initializers(graph: GraphProto, kept: Iterable[TensorProto]) -> None:
    copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _shorten(graph: GraphProto) -> None:
    fixed = {item.name for item in (*graph.input, *graph.output)} | {""}
    free = (name for number in itertools.count() if (name := _digits(number)) not in fixed)
    names = {name: name for name in fixed}

    def short(name: str) -> str:
        if name not in names:
            names[name] = next(free)
        return names[name]

    _rename(graph, short)
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.name = ""


def _digits(number: int) -> str:
    """A number in base 36."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = letters[number % 36]
    while number := number // 36:
        text = letters[number % 36] + text
    return text
