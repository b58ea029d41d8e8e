"""Reading the traced graph from an input on: which affine map and which changes of layout lie in front of the network.

Works on ATen operators as ``torch.export`` traces them, whatever module they were written in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import optimization_hint

from edgeml_export.graph.affine import Affine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = [
    "InputChain",
    "constant_value",
    "input_chain",
    "inputs_of",
    "is_arithmetic",
    "is_layout",
    "only_reader",
    "operator_name",
    "permutation_of",
    "readers_of",
    "shape_of",
]

_MAX_CONSTANT = 1 << 22
"""Elements of a constant that is computed while looking at a graph."""

_CASTS = frozenset({"to", "_to_copy", "type_as"})
_COPIES = frozenset({"contiguous", "clone", "detach", "alias", "lift_fresh_copy"})
_RESHAPES = frozenset({"reshape", "view", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze"})
_PERMUTATIONS = frozenset({"permute", "transpose", "t", "numpy_T", "mT", "movedim", "moveaxis", "swapaxes", "swapdims"})
_SELECTIONS = frozenset({"slice", "select", "narrow", "flip"})
_LAYOUTS = _RESHAPES | _PERMUTATIONS | _SELECTIONS

_SUMS = frozenset({"add", "add_"})
_DIFFERENCES = frozenset({"sub", "sub_", "subtract", "subtract_"})
_REVERSED = frozenset({"rsub"})
_PRODUCTS = frozenset({"mul", "mul_", "multiply", "multiply_"})
_QUOTIENTS = frozenset({"div", "div_", "divide", "divide_", "true_divide", "true_divide_"})
_NEGATIONS = frozenset({"neg", "neg_", "negative", "negative_"})

# Integers of so few bits lose nothing in float32, nor do normalisations of them that were written in float64.
_SMALL_INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16})


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChain:
    """Operators between an input and the network that do no more than map single elements and move them.

    Attributes:
        source: The input.
        nodes: The operators, in order; each has no other reader than the next one.
        maps: What they have made of each element so far, behind the input and behind each of them, in its layout.
        reader: The operator that reads the last of them, or None where it has several readers or is an output.
    """

    source: Node
    nodes: tuple[Node, ...]
    maps: tuple[Affine, ...]
    reader: Node | None

    @property
    def end(self) -> Node:
        """The last operator, or the input itself."""
        return self.nodes[-1] if self.nodes else self.source

    @property
    def affine(self) -> Affine:
        """What all of them make of each element, in the layout behind the last one."""
        return self.maps[-1]


def input_chain(module: GraphModule, source: Node) -> InputChain:
    """Follow an input until something else than an affine map or a change of layout happens.

    Args:
        module: The traced model.
        source: One of its inputs.

    Returns:
        The chain; empty where the input is read several times, or by another operator at once.
    """
    nodes: list[Node] = []
    maps = [Affine.identity(len(shape_of(source)))]
    end = source
    while (reader := only_reader(end)) is not None:
        mapped = _mapped(module, reader, end, maps[-1]) if _is_exact(reader, end, source) else None
        if mapped is None or not _fits_every_batch(mapped, reader):
            break
        nodes.append(reader)
        maps.append(mapped)
        end = reader
    return InputChain(source=source, nodes=tuple(nodes), maps=tuple(maps), reader=only_reader(end))


def constant_value(module: GraphModule, argument: Any) -> Tensor | None:
    """The value of an operator's argument that does not depend on any input.

    Args:
        module: The traced model.
        argument: A node, or a Python number.

    Returns:
        The value, or None where it depends on an input or on chance, or is computed and very large.
    """
    if isinstance(argument, bool | int | float):
        return torch.tensor(float(argument), dtype=torch.float64)
    if not isinstance(argument, Node):
        return None
    if argument.op == "get_attr":
        value: Any = module
        for part in str(argument.target).split("."):
            value = getattr(value, part)
        return value if isinstance(value, torch.Tensor) else None
    if argument.op != "call_function" or not isinstance(argument.target, torch._ops.OpOverload):
        return None
    return _computed(module, argument)


def _computed(module: GraphModule, node: Node) -> Tensor | None:
    values: dict[Node, Tensor] = {}
    for needed in node.all_input_nodes:
        value = constant_value(module, needed)
        if value is None:
            return None
        values[needed] = value
    operator = node.target
    if operator._schema.is_mutable or torch.Tag.nondeterministic_seeded in operator.tags:  # type: ignore[union-attr]
        return None
    arguments = torch.fx.node.map_arg(node.args, lambda item: values[item])
    named = torch.fx.node.map_arg(node.kwargs, lambda item: values[item])
    with torch.no_grad():
        result = operator(*arguments, **named)  # type: ignore[operator]
    return result if isinstance(result, torch.Tensor) and result.numel() <= _MAX_CONSTANT else None


def inputs_of(module: GraphModule) -> Iterator[Node]:
    """The inputs of a traced model, in order.

    Args:
        module: The model.
    """
    return (node for node in module.graph.nodes if node.op == "placeholder")


def operator_name(node: Node) -> str:
    """ATen name of an operator, such as ``conv2d``, whichever its overload; empty for other nodes.

    Args:
        node: A node of a traced model.
    """
    target = node.target
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        return str(target._schema.name).partition("::")[2]
    return ""


def shape_of(node: Node) -> tuple[int, ...]:
    """Shape of what a node gives; an open batch dimension counts as large as the batch it was traced with.

    Args:
        node: A node of a traced model that gives a tensor.
    """
    return tuple(optimization_hint(size) for size in node.meta["val"].shape)


def readers_of(node: Node) -> list[Node]:
    """Who reads the values that a node gives; asking for its shape does not count.

    Args:
        node: A node of a traced model.
    """
    return [user for user in node.users if operator_name(user) != "sym_size"]


def only_reader(node: Node) -> Node | None:
    """The operator that alone reads the values that a node gives.

    Args:
        node: A node of a traced model.

    Returns:
        The operator, or None where there are several, or where it is an output of the model.
    """
    readers = readers_of(node)
    return readers[0] if len(readers) == 1 and readers[0].op == "call_function" else None


def is_arithmetic(node: Node) -> bool:
    """Whether an operator of a chain changes values, rather than their type or place.

    Args:
        node: One of :attr:`InputChain.nodes`.
    """
    return operator_name(node) not in (_CASTS | _COPIES | _LAYOUTS)


def is_layout(node: Node) -> bool:
    """Whether an operator of a chain changes the place of values only.

    Args:
        node: One of :attr:`InputChain.nodes`.
    """
    return operator_name(node) in _LAYOUTS


def permutation_of(node: Node) -> list[int] | None:
    """For each dimension of what a node gives, the one of what it reads, where all that it does is to permute them.

    Args:
        node: One of :attr:`InputChain.nodes`.

    Returns:
        The order; that of the dimensions as they are for an operator that moves nothing; None for other operators.
    """
    rank = len(node.meta["val"].shape)
    if not is_layout(node):
        return list(range(rank))
    if operator_name(node) not in _PERMUTATIONS:
        return None
    probe = torch.empty(list(range(1, rank + 1)), device="meta")
    return [int(size) - 1 for size in node.target(probe, *node.args[1:]).shape]  # type: ignore[operator]


def _is_exact(node: Node, source: Node, start: Node) -> bool:
    """Whether an operator computes in float32, or as if it did, or leaves the dtype as it is."""
    found = node.meta.get("val")
    if not isinstance(found, torch.Tensor):
        return False
    if found.dtype is torch.float64:
        return start.meta["val"].dtype in _SMALL_INTEGERS
    return found.dtype in (torch.float32, source.meta["val"].dtype)


def _fits_every_batch(affine: Affine, node: Node) -> bool:
    """Whether a map is the same along dimensions that grow with an open batch."""
    sizes = node.meta["val"].shape
    return all(
        own == 1 or isinstance(size, int)
        for part in (affine.scale, affine.offset)
        for own, size in zip(part.shape, sizes, strict=True)
    )


def _mapped(module: GraphModule, node: Node, source: Node, affine: Affine) -> Affine | None:
    """The map behind an operator, or None where that is no affine map or change of layout."""
    name = operator_name(node)
    same_dtype = node.meta["val"].dtype == source.meta["val"].dtype
    if name in _CASTS or (name in _COPIES and same_dtype):
        return affine
    if name in _RESHAPES and same_dtype:
        return affine.moved(shape_of(source), lambda part: part.reshape(shape_of(node)))
    if name in _PERMUTATIONS | _SELECTIONS:
        if node.all_input_nodes != [source]:
            return None
        return affine.moved(shape_of(source), lambda part: node.target(part, *node.args[1:]))  # type: ignore[operator]
    if not node.meta["val"].dtype.is_floating_point or shape_of(node) != shape_of(source):
        return None
    if name == "batch_norm":
        return _batch_norm(module, node, affine)
    return _arithmetic(module, node, source, affine)


def _arithmetic(module: GraphModule, node: Node, source: Node, affine: Affine) -> Affine | None:
    name = operator_name(node)
    if name in _NEGATIONS:
        return affine.times(torch.tensor(-1.0, dtype=torch.float64))
    if name not in _SUMS | _DIFFERENCES | _REVERSED | _PRODUCTS | _QUOTIENTS or not set(node.kwargs) <= {"alpha"}:
        return None
    is_first = node.args[0] is source
    value = constant_value(module, node.args[1 if is_first else 0])
    if value is None or not bool(torch.isfinite(value).all()):
        return None
    value = value.double()
    if name in _PRODUCTS:
        return affine.times(value)
    if name in _QUOTIENTS:
        return affine.times(1.0 / value) if is_first and bool((value != 0).all()) else None
    own, other = _factors(node) if is_first else _factors(node)[::-1]
    return affine.times(torch.tensor(own, dtype=torch.float64)).plus(other * value)


def _factors(node: Node) -> tuple[float, float]:
    """What a sum multiplies its two operands by (pytorch.org/docs, ``torch.add``, ``torch.sub``)."""
    alpha = float(node.kwargs.get("alpha", node.args[2] if len(node.args) > 2 else 1.0))  # type: ignore[arg-type]
    if operator_name(node) in _SUMS:
        return 1.0, alpha
    return (-alpha, 1.0) if operator_name(node) in _REVERSED else (1.0, -alpha)


def _batch_norm(module: GraphModule, node: Node, affine: Affine) -> Affine | None:
    """Batch normalisation with fixed statistics: (x − mean) / √(variance + ε) · weight + bias (Ioffe, Szegedy 2015)."""
    weight, bias, mean, variance, training, _, epsilon = node.args[1:8]
    values = [constant_value(module, argument) for argument in (mean, variance)]
    if training or values[0] is None or values[1] is None:
        return None
    learned = [None if argument is None else constant_value(module, argument) for argument in (weight, bias)]
    shape = [1, -1] + [1] * (len(shape_of(node)) - 2)
    factor = 1.0 / torch.sqrt(values[1].double() + float(epsilon))  # type: ignore[arg-type]
    if learned[0] is not None:
        factor = factor * learned[0].double()
    term = -values[0].double() * factor
    if learned[1] is not None:
        term = term + learned[1].double()
    return affine.times(factor.reshape(shape)).plus(term.reshape(shape))
