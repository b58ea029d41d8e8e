"""Tracing the prepared model with torch.export, and finding the line of the user's code behind an operator."""

from __future__ import annotations

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

# "aten.fft_rfft.default", "aten::fft_rfft" and the "torch.ops.aten.…" of messages all name the same operator.
_OPERATOR = re.compile(r"\b(?:torch\.ops\.)?([a-z_0-9]+)(?:\.|::)([A-Za-z_0-9]+)(?:\.([A-Za-z_0-9]+))?")
_LOCATION = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
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
            "export: PyTorch cannot trace the model into a graph: "
            f"{_summary(error)}. Shapes and branches must not depend on the values of tensors"
        ) from error


def explain(program: ExportedProgram, variant_id: str, error: BaseException) -> ProjectError:
    """Turn a converter's exception into one that names the module and the line of the user's code.

    Args:
        program: The traced model.
        variant_id: What was being made.
        error: What the converter raised.

    Returns:
        The error to raise.
    """
    node = _culprit(program, str(error))
    where = f"the operator {node.target} in {_place(node)}: " if node is not None else ""
    advice = "replace it by operators the format has, or take the variant out of export.variants in edgeml.toml"
    return ProjectError(f"export: {variant_id}: the model cannot be converted: {where}{_summary(error)}; {advice}")


def _summary(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    return f"{type(error).__name__}: {text[:_LETTERS]}{'…' if len(text) > _LETTERS else ''}"


def _culprit(program: ExportedProgram, message: str) -> Node | None:
    """The first operator of the graph that the message names."""
    named = {f"{match[1]}.{match[2]}" for match in _OPERATOR.finditer(message)}
    for node in program.graph.nodes:
        if node.op == "call_function" and ".".join(str(node.target).split(".")[:2]) in named:
            found: Node = node
            return found
    return None


def _place(node: Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0] if stack else ""
    path = path.removeprefix("model").removeprefix(".")
    module = f"module {path!r}" if path else "the fused model itself"
    locations = list(_LOCATION.finditer(node.meta.get("stack_trace") or ""))
    return f"{module} ({locations[-1]['file']}:{locations[-1]['line']})" if locations else module
