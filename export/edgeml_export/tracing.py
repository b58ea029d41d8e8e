"""Tracing the prepared model with torch.export, and finding the line of the user's code behind an operator."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import torch

from edgeml_export.quiet import quiet
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

    from edgeml_export.prepared import Prepared

__all__ = ["explain", "trace"]

# "aten.fft_rfft.default", "aten::fft_rfft" and "op='aten.fft_rfft'" all name the same operator.
_OPERATOR = re.compile(r"\baten(?:\.|::)(\w+)")
# Python's own form, and MLIR's.
_LOCATION = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)|(?P<file2>[^\s:"]+\.py):(?P<line2>\d+)')
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SUMMARY = "## Exception summary"
_LETTERS = 300


def trace(prepared: Prepared) -> ExportedProgram:
    """Trace the model into a graph of ATen operators.

    Args:
        prepared: The model.

    Returns:
        The traced program, for a batch of one.

    Raises:
        ProjectError: When it cannot be traced, such as for control flow that depends on values.
    """
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(prepared.module, prepared.example, strict=False)
    except Exception as error:  # the user's own code runs here, and torch.export raises many kinds
        raise ProjectError(
            f"export: PyTorch cannot trace the model into a graph: {_summary(error)}. "
            "Shapes and branches must not depend on the values of tensors"
        ) from error


def explain(program: ExportedProgram, format_name: str, error: BaseException) -> ProjectError:
    """Turn a converter's exception into one that names the module and the line of the user's code.

    Args:
        program: The traced model.
        format_name: What it was converted to.
        error: What the converter raised.

    Returns:
        The error to raise.
    """
    node = _culprit(program, str(error))
    where = f"the operator {node.target} in {_place(node)}: " if node is not None else ""
    return ProjectError(
        f"the model cannot be converted to {format_name}: {where}{_summary(error)}; replace it by operators the format "
        "has, or take the variant out of export.variants in edgeml.toml"
    )


def _summary(error: BaseException) -> str:
    text = _COLOUR.sub("", str(error)).rpartition(_SUMMARY)[2]
    text = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return f"{type(error).__name__}: {text[:_LETTERS]}{'…' if len(text) > _LETTERS else ''}"


def _culprit(program: ExportedProgram, message: str) -> Node | None:
    """The first operator of the graph, as traced or decomposed as converters do, that the message names."""
    operators = set(_OPERATOR.findall(message))
    places = {_file_and_line(match) for match in _LOCATION.finditer(message)}
    graphs = [program.graph]
    with contextlib.suppress(Exception), quiet():  # foreign code; without it the message names no module
        graphs.append(program.run_decompositions().graph)
    nodes = [node for graph in graphs for node in graph.nodes if node.op == "call_function"]
    by_name = (
        node for node in nodes if str(node.target).split(".")[1:2] and str(node.target).split(".")[1] in operators
    )
    by_place = (node for node in nodes if _user_line(node) in places)
    return next(by_name, None) or next(by_place, None)


def _place(node: Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = (stack[-1][0] if stack else "").removeprefix("model").removeprefix(".")
    module = f"module {path!r}" if path else "the fused model itself"
    line = _user_line(node)
    return f"{module} ({line[0]}:{line[1]})" if line else module


def _user_line(node: Node) -> tuple[str, str] | None:
    """File and line of the innermost call that made an operator."""
    locations = [_file_and_line(match) for match in _LOCATION.finditer(node.meta.get("stack_trace") or "")]
    return locations[-1] if locations else None


def _file_and_line(match: re.Match[str]) -> tuple[str, str]:
    return match["file"] or match["file2"], match["line"] or match["line2"]
