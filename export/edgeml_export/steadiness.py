"""Whether a model gives the same answer for the same item: no randomness, no state, no other items of the batch.

An exported graph has none of them. What the eager model does is seen by running it again; where it differs, hooks tell
the module in which it began. Operators that draw numbers from a generator are found in the traced graph as well, for a
model that seeds its own draws the same every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from edgeml_export.culprit import called, place
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch.export import ExportedProgram
    from torch.fx import Node

__all__ = ["refuse_random_operators", "refuse_unsteady"]

# Kernels for one item and for several add in other orders; statistics of a batch differ by far more.
_ROUNDING = 1e-3
_DIFFERS = "gives another output for the same item when it is run again"
_TRAINING = ("train", "training")
_SHARES = ("p", "dropout_p", "dropout")


def refuse_unsteady(model: nn.Module, items: Sequence[tuple[Tensor, ...]]) -> None:
    """Refuse a model that gives another answer when asked again, or in company.

    Args:
        model: The fused model in evaluation mode; it is run.
        items: One or two different items, a tensor [1, *shape] per input each.

    Raises:
        ProjectError: Its outputs or its own state differ between two runs of one item, or depend on what else is in
            the batch; the message names the module where that begins.
    """
    first = items[0]
    before, one = _Record.of(model, first), _state(model)
    again, two = _Record.of(model, first), _state(model)
    drawing = next((call.path for call in again.calls if call.draws), None)
    differing = _first_difference(before, again, _same)
    if drawing is not None or differing is not None:
        path, what = (drawing, "draws random numbers") if drawing is not None else (differing or "", _DIFFERS)
        raise ProjectError(
            f"export: {_named(path)} {what} in evaluation mode{_mode(model, path)}; take the randomness out of "
            "forward, such as torch.rand or dropout with training=True (F.dropout's default; write "
            "training=self.training)"
        )
    changed = next((name for name in two if name not in one or not _same(one[name], two[name])), None)
    if changed is not None:
        path, _, attribute = changed.rpartition(".")
        raise ProjectError(
            f"export: {_named(path)} changes its own {attribute!r} whenever it is run in evaluation mode"
            f"{_mode(model, path)}; an exported model keeps nothing from one item to the next: pass such state in and "
            "out as an input and an output, or leave it as it is in evaluation mode"
        )
    if len(items) > 1:
        _refuse_company(model, items, before)


def refuse_random_operators(program: ExportedProgram) -> None:
    """Refuse operators that draw random numbers, and batch normalisation by the statistics of the batch.

    Args:
        program: The traced model.

    Raises:
        ProjectError: There is one; the message names the module and the line.
    """
    for node in program.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if torch.Tag.nondeterministic_seeded in node.target.tags and _draws(node):
            raise ProjectError(
                f"export: {called(node)} in {place(node)} draws random numbers, which a device would draw anew for "
                "every item; take it out of forward, or pass training=self.training to it"
            )
        if called(node) == "batch_norm" and _argument(node, _TRAINING):
            raise ProjectError(
                f"export: batch_norm in {place(node)} is in training mode: it takes its statistics from the batch, "
                "which on a device is one item; pass training=self.training, and let train() and eval() of the module "
                "reach it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call of a module.

    Attributes:
        path: Of the module.
        inputs: Tensors that it took.
        outputs: Tensors that it gave.
        draws: Whether PyTorch's generator of random numbers went on meanwhile.
    """

    path: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    draws: bool


class _Record:
    """The calls of all modules of a model in one run, in the order in which they ended."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self._generator: list[Tensor] = []

    @classmethod
    def of(cls, model: nn.Module, inputs: tuple[Tensor, ...]) -> _Record:
        """Run a model once."""
        record = cls()
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(record._before))
            handles.append(module.register_forward_hook(record._after(path), with_kwargs=True))
        try:
            with torch.inference_mode():
                model(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        return record

    def _before(self, _module: nn.Module, _args: Any) -> None:
        self._generator.append(torch.get_rng_state())

    def _after(self, path: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, named: Any, result: Any) -> None:
            draws = not torch.equal(self._generator.pop(), torch.get_rng_state())
            self.calls.append(_Call(path=path, inputs=_tensors((args, named)), outputs=_tensors(result), draws=draws))

        return hook


def _tensors(values: Any) -> tuple[Tensor, ...]:
    """Copies, because a module may go on to change what it took or gave."""
    leaves = tree_leaves(dict(values) if isinstance(values, Mapping) else values)
    return tuple(leaf.clone() for leaf in leaves if isinstance(leaf, Tensor))


def _first_difference(one: _Record, other: _Record, same: Callable[[Tensor, Tensor], bool]) -> str | None:
    """Path of the first module that made something else of the same; None where the runs are equal."""
    for a, b in zip(one.calls, other.calls, strict=False):
        if a.path != b.path:
            return ""
        if _all(same, a.inputs, b.inputs) and not _all(same, a.outputs, b.outputs):
            return a.path
    return "" if len(one.calls) != len(other.calls) else None


def _all(same: Callable[[Tensor, Tensor], bool], ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, NaN where the other has it."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _refuse_company(model: nn.Module, items: Sequence[tuple[Tensor, ...]], first: _Record) -> None:
    """Refuse a model whose answer for an item depends on the others; one that takes a single item only passes."""
    together = tuple(torch.cat(tensors) for tensors in zip(*items, strict=True))
    try:
        record = _Record.of(model, together)
    except Exception:  # noqa: BLE001 - the user's own code, which may be written for a batch of one
        return
    outputs = (tensor for call in record.calls[-1:] for tensor in call.outputs)
    if any(tensor.ndim == 0 or len(tensor) != len(items) for tensor in outputs):
        return
    for index, item in enumerate(items):
        alone = _Record.of(model, item) if index else first
        alike = partial(_alike, index=index)
        differing = _first_difference(alone, record, alike)
        if differing is not None and not _all(alike, alone.calls[-1].outputs, record.calls[-1].outputs):
            raise ProjectError(
                f"export: {_named(differing)} gives another output for an item when other items are in the batch"
                f"{_mode(model, differing)}, and on a device every item is alone; take what is done to the batch as a "
                "whole out of forward, such as x.sum() or x.max() without a dimension, or batch normalisation with "
                "training=True or track_running_stats=False"
            )


def _alike(alone: Tensor, together: Tensor, *, index: int) -> bool:
    """Whether an item of a batch is, but for rounding, what it is alone; True where there is no such item."""
    if alone.ndim == 0 or together.ndim == 0 or len(alone) != 1 or alone.shape[1:] != together.shape[1:]:
        return True
    if index >= len(together):
        return True
    ours, theirs = alone[0].double().numpy(), together[index].double().numpy()
    scale = max(1.0, float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0)))
    return bool(np.allclose(ours, theirs, rtol=0, atol=_ROUNDING * scale, equal_nan=True))


def _named(path: str) -> str:
    return f"module {path!r}" if path else "the fused model itself"


def _mode(model: nn.Module, path: str) -> str:
    """Says so where a module, or one inside it, did not follow the model into evaluation mode."""
    module = model.get_submodule(path)
    stuck = next((name for name, child in module.named_modules() if child.training), None)
    if stuck is None:
        return ""
    name = ".".join(part for part in (path, stuck) if part)
    return f" ({_named(name)} stays in training mode after eval(): its train() does not pass the mode on)"


def _draws(node: Node) -> bool:
    """Whether an operator with a generator uses it: dropout outside of training mode, or of nothing, does not."""
    training, share = _argument(node, _TRAINING), _argument(node, _SHARES)
    return training is not False and not (isinstance(share, int | float) and share == 0)


def _argument(node: Node, names: Sequence[str]) -> Any:
    """An argument of an operator by its name in the schema; None where it has none of the names."""
    for position, argument in enumerate(_schema(node)):
        if argument.name in names:
            given = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
            return argument.default_value if given is None else given
    return None


def _schema(node: Node) -> Iterator[Any]:
    return iter(node.target._schema.arguments)  # type: ignore[union-attr]
