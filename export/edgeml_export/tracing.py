"""Tracing the prepared model with torch.export, and saying where in the user's code that cannot be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeml_export.culprit import is_users, summary
from edgeml_export.graph.fold_norms import fold_batch_norms
from edgeml_export.graph.fold_weights import fold_affine
from edgeml_export.graph.folding import cut_pixels
from edgeml_export.graph.layers import find_layers
from edgeml_export.graph.pooling import write_global_pools
from edgeml_export.quiet import quiet
from edgeml_export.steadiness import refuse_random_operators
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from torch.export import ExportedProgram

    from edgeml_export.graph.folding import ModelGraph
    from edgeml_export.graph.layers import Layer
    from edgeml_export.prepared import Prepared

__all__ = ["Traced", "trace", "trace_program"]

# What torch.export raises for a decision by values that it does not know while it traces.
_BY_VALUE = frozenset({"DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode"})
_STATIC = "write a branch as torch.where(condition, a, b), a loop with a fixed count, and sizes as constants"
_OPEN_BATCH = "write shapes with x.shape[0] or -1 in place of the batch's size, or export without --dynamic-batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A model as a graph of ATen operators.

    Attributes:
        program: The trace.
        graph: The same with normalisations of pixels cut off; what quantized variants are made of.
        folded: The same with other affine maps of inputs in the weights; what fp32 variants are made of.
        layers: The layers of ``graph``.
        dynamic_batch: Whether the batch dimension is open; otherwise it is 1.
    """

    program: ExportedProgram
    graph: ModelGraph
    folded: ModelGraph
    layers: tuple[Layer, ...]
    dynamic_batch: bool


def trace(prepared: Prepared, *, dynamic_batch: bool = False) -> Traced:
    """Trace the model into a graph of ATen operators, and fold its preprocessing.

    Args:
        prepared: The model.
        dynamic_batch: Leave the batch dimension open.

    Returns:
        The traced model.

    Raises:
        ProjectError: When it cannot be traced, such as for control flow that depends on values, or draws random
            numbers.
    """
    program = trace_program(prepared, dynamic_batch=dynamic_batch)
    refuse_random_operators(program)
    with quiet():
        graph = cut_pixels(program, prepared.input_names, prepared.example)
        fold_batch_norms(graph.module)
        write_global_pools(graph.module)
        return Traced(
            program=program,
            graph=graph,
            folded=fold_affine(graph),
            layers=find_layers(graph.module),
            dynamic_batch=dynamic_batch,
        )


def trace_program(prepared: Prepared, *, dynamic_batch: bool) -> ExportedProgram:
    """Trace the model as it stands.

    Args:
        prepared: The model.
        dynamic_batch: Leave the batch dimension open.

    Returns:
        The trace.

    Raises:
        ProjectError: When it cannot be traced.
    """
    example, shapes = prepared.example, None
    if dynamic_batch:
        # A batch of one would be taken for a constant.
        example = tuple(torch.cat([tensor, tensor]) for tensor in example)
        batch = torch.export.Dim("batch", min=1)
        shapes = (tuple({0: batch} for _ in example),)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(prepared.module, example, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # the user's own code runs here, and torch.export raises many kinds
        raise _untraceable(prepared, error, dynamic_batch=dynamic_batch) from error
    if dynamic_batch:
        _check_open(program, prepared)
    return program


def _check_open(program: ExportedProgram, prepared: Prepared) -> None:
    """Code such as ``x.reshape(1, -1)`` can be traced with any batch, and gives one item for all."""
    results = next(node for node in program.graph.nodes if node.op == "output").args[0]
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]
    batch = inputs[-1].meta["val"].shape[0]
    for name, spec, node in zip(prepared.output_names, prepared.contract.outputs, results, strict=True):
        shape = node.meta["val"].shape
        if len(shape) != len(spec.shape) + 1 or str(shape[0]) != str(batch):
            raise ProjectError(
                f"export: with an open batch dimension, output {name!r} has the shape {[str(size) for size in shape]} "
                f"instead of [{batch}, {', '.join(map(str, spec.shape))}]: the model's code fixes the batch; "
                f"{_OPEN_BATCH}"
            )


def _untraceable(prepared: Prepared, error: Exception, *, dynamic_batch: bool) -> ProjectError:
    where = _where(prepared.module, error)
    if type(error).__name__ in _BY_VALUE and not dynamic_batch:
        return ProjectError(
            f"export: PyTorch cannot trace the model into a graph: {where} decides by the values of tensors, on which "
            f"shapes and branches of a graph must not depend; {_STATIC} ({summary(error)})"
        )
    if dynamic_batch:
        return ProjectError(
            f"export: PyTorch cannot trace the model with an open batch dimension, at {where}: {summary(error)}; "
            f"{_OPEN_BATCH}"
        )
    return ProjectError(
        f"export: PyTorch cannot trace the model into a graph, at {where}: {summary(error)}; compute with operators of "
        f"torch alone; shapes and branches must not depend on the values of tensors: {_STATIC}"
    )


def _where(wrapper: nn.Module, error: BaseException) -> str:
    """Module and line of the user's code that was running when something was raised."""
    paths = {id(module): path for path, module in wrapper.named_modules()}
    path, line = "", ""
    for frame, number in _frames(error):
        if frame.f_code.co_name == "forward" and frame.f_code.co_varnames:
            owner = frame.f_locals.get(frame.f_code.co_varnames[0])
            path = paths.get(id(owner), path).removeprefix("model").removeprefix(".")
        if is_users(frame.f_code.co_filename):
            line = f" ({frame.f_code.co_filename}:{number})"
    return f"module {path!r}{line}" if path else f"the fused model itself{line}"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """The frames that an exception passed, outermost first."""
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next
