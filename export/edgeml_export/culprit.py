"""Which operator of the user's model a converter failed at, and what to write instead.

A converter's exception often names the operator. Where it does not, or names several, the graph is cut short and
converted again, by halving, until the first operator is found with which it fails.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.fx import Graph, GraphModule, Node

from edgeml_export.graph.input_chain import operator_name
from edgeml_export.graph.layers import module_path
from edgeml_export.replacements import replacement_for
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeml_export.graph.folding import ModelGraph
    from edgeml_runtime.manifest import ModelFormat

    Attempt = Callable[[GraphModule, tuple[Tensor, ...]], object]

__all__ = ["called", "explain", "is_users", "place", "summary"]

# "aten.fft_rfft.default", "aten::fft_rfft" and "op='aten.fft_rfft'" all name the same operator.
_OPERATOR = re.compile(r"\b(?:aten|higher_order|prims)(?:\.|::)(\w+)")
# Python's own form, and MLIR's.
_LOCATION = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)|(?P<file2>[^\s:"]+\.py):(?P<line2>\d+)')
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SUMMARY = "## Exception summary"
_LETTERS = 200
_NAMES = {"onnx": "ONNX", "tflite": "TFLite", "ort": "ONNX"}
# PyTorch's own code and ours, by which a user's line is told from them.
_OTHERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def explain(graph: ModelGraph, format_: ModelFormat, error: Exception, attempt: Attempt) -> ProjectError:
    """Turn a converter's exception into an error that names module, line and what to write instead.

    Args:
        graph: What was converted.
        format_: What it was converted to.
        error: What the converter raised.
        attempt: Converts a part of the graph with its example, and raises where that cannot be done.

    Returns:
        The error to raise.
    """
    name = _NAMES[format_.value]
    node = _named(graph.module, str(error)) or _first_failing(graph, attempt)
    if node is None:
        return ProjectError(
            f"the model cannot be converted to {name}: {summary(error)}; take the variant out of export.variants in "
            "edgeml.toml, or replace what the message names"
        )
    node = _source_of_complex(node)
    replacement = replacement_for(_kind(node) or called(node), format_) or replacement_for(called(node), format_)
    advice = f"instead: {replacement.instead}" if replacement else "write it with operators that the format has"
    return ProjectError(
        f"the model cannot be converted to {name}: it has no counterpart for {called(node)} as used in "
        f"{place(node)}; {advice}; or take the variant out of export.variants in edgeml.toml ({summary(error)})"
    )


def called(node: Node) -> str:
    """Name of an operator, such as ``cumprod``, of PyTorch's higher-order operators too.

    Args:
        node: A node of a traced model that calls an operator.
    """
    return operator_name(node) or str(getattr(node.target, "__name__", node.target))


def place(node: Node) -> str:
    """Module and line of the user's code that made an operator.

    Args:
        node: A node of a traced model.

    Returns:
        Words for a message: the module's dotted path inside the fused model, and the innermost line that is not
        PyTorch's.
    """
    path = module_path(node)
    module = f"module {path!r}" if path else "the fused model itself"
    line = _user_line(node)
    return f"{module} ({line[0]}:{line[1]})" if line else module


def is_users(file: str) -> bool:
    """Whether a source file is the user's, rather than PyTorch's or this package's.

    Args:
        file: Its path.
    """
    return not file.startswith((*_OTHERS, "<"))


def summary(error: BaseException) -> str:
    """The kind of an exception and the beginning of what it says, on one line.

    Args:
        error: Any exception; what torch.onnx puts in front of its own summary is left out.
    """
    text = _COLOUR.sub("", str(error)).rpartition(_SUMMARY)[2]
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return f"{type(error).__name__}: {text[:_LETTERS]}{'…' if len(text) > _LETTERS else ''}"


def _named(module: GraphModule, message: str) -> Node | None:
    """The operator that a message names, where that is one only, or one only in the places that it names."""
    operators = set(_OPERATOR.findall(message))
    places = {_file_and_line(match) for match in _LOCATION.finditer(message)}
    named = [node for node in _operators(module) if called(node) in operators]
    placed = [node for node in named if places.intersection(_lines(node))]
    return next((nodes[0] for nodes in (named, placed) if len(nodes) == 1), None)


def _operators(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if node.op == "call_function"]


def _first_failing(graph: ModelGraph, attempt: Attempt) -> Node | None:
    """The first operator with which a beginning of the graph, which fails as a whole, cannot be converted."""
    operators = _operators(graph.module)
    cuts = [count for count in range(1, len(operators) + 1) if _ends_in_tensors(operators[:count])]
    good, bad = -1, len(cuts) - 1
    if bad < 0:
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        if _converts(graph, operators[: cuts[middle]], attempt):
            good = middle
        else:
            bad = middle
    return operators[cuts[good] if good >= 0 else 0]


def _ends_in_tensors(taken: Sequence[Node]) -> bool:
    """Whether everything that the rest of the graph reads of a beginning can be an output of a model."""
    return all(isinstance(value, torch.Tensor) and not value.is_complex() for value in map(_value, _read_later(taken)))


def _read_later(taken: Sequence[Node]) -> list[Node]:
    inside = set(taken)
    return [node for node in taken if any(user not in inside for user in node.users)]


def _value(node: Node) -> object:
    return node.meta.get("val")


def _converts(graph: ModelGraph, taken: Sequence[Node], attempt: Attempt) -> bool:
    beginning = Graph()
    copies: dict[Node, Node] = {}
    last = taken[-1]
    for node in graph.module.graph.nodes:
        copies[node] = beginning.node_copy(node, lambda item: copies[item])
        if node is last:
            break
    beginning.output(tuple(copies[node] for node in _read_later(taken)))
    beginning.eliminate_dead_code()
    try:
        attempt(GraphModule(graph.module, beginning), graph.example)
    except Exception:  # noqa: BLE001 - converters raise bare builtins, and any of them is the answer
        return False
    return True


def _kind(node: Node) -> str:
    """What an operator's type of numbers is called in the table of replacements; empty for those that formats have."""
    values = [_value(item) for item in (node, *node.all_input_nodes)]
    dtypes = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    if any(dtype.is_complex for dtype in dtypes):
        return "complex"
    return "half" if dtypes & {torch.bfloat16, torch.float16} else ""


def _source_of_complex(node: Node) -> Node:
    """The operator that made complex numbers of real ones, where an operator reads such: what follows cannot be had."""
    while True:
        value = next((item for item in node.all_input_nodes if _is_complex(item)), None)
        if value is None:
            return node
        node = value


def _is_complex(node: Node) -> bool:
    value = _value(node)
    return node.op == "call_function" and isinstance(value, torch.Tensor) and value.is_complex()


def _lines(node: Node) -> list[tuple[str, str]]:
    """File and line of every call that led to an operator, outermost first."""
    return [_file_and_line(match) for match in _LOCATION.finditer(node.meta.get("stack_trace") or "")]


def _user_line(node: Node) -> tuple[str, str] | None:
    lines = [line for line in _lines(node) if is_users(line[0])]
    return lines[-1] if lines else None


def _file_and_line(match: re.Match[str]) -> tuple[str, str]:
    return match["file"] or match["file2"], match["line"] or match["line2"]
