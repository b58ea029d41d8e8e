"""Following channels through a traced network: which operator ties which slots.

Every activation gets a tensor of labels of its own shape: which channel made each of its elements. Operators that only
move elements move the labels in the same way, so that flattening, concatenating and shuffling are followed element by
element. An operator that is not known here freezes what goes into it: nothing is guessed.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from edgeml_train.slim.slots import FIXED, WILD, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.export import ExportedProgram
    from torch.fx import Node

__all__ = ["ChannelLabels", "operator_name"]

_MOVES = frozenset(
    """view reshape _unsafe_view flatten unflatten permute transpose t movedim swapaxes cat concat stack slice select
    narrow split split_with_sizes chunk unbind unsqueeze squeeze expand expand_as repeat flip roll pixel_shuffle
    pixel_unshuffle channel_shuffle tile view_as reshape_as""".split()  # noqa: SIM905 - a list would take a line for each
)
_SAME = frozenset(
    """contiguous clone detach alias dropout feature_dropout alpha_dropout to _to_copy type_as hardswish hardsigmoid
    relu6 selu mish rrelu""".split()  # noqa: SIM905
)
_POOLS = frozenset(
    f"{kind}_pool{axes}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for axes in (1, 2, 3)
) | {"upsample_nearest2d", "upsample_bilinear2d"}
_REDUCTIONS = frozenset({"mean", "sum", "amax", "amin", "var", "std"})
_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})

_OUTPUT = "they are the model's outputs"
_MIXED = "they meet values that stay"


def operator_name(node: Node) -> str:
    """ATen name without variant and the underscore of in-place operators, such as ``conv2d``.

    Args:
        node: A node that calls a function.
    """
    schema = getattr(node.target, "_schema", None)
    return str(schema.name).partition("::")[2].removesuffix("_") if schema else getattr(node.target, "__name__", "")


class ChannelLabels:
    """Walks a trace once, ties slots and remembers which normalisation follows which layer.

    Args:
        program: The traced network.

    Attributes:
        slots: What is tied to what.
        norms: Name of a weight → names of scale and variance, and epsilon, of the batch normalisation right behind it.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.slots = Slots()
        self.norms: dict[str, tuple[str, str, float]] = {}
        self._names = {
            spec.arg.name: spec.target
            for spec in program.graph_signature.input_specs
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target is not None
        }
        self._labels: dict[Node, Any] = {}
        for node in program.graph.nodes:
            if node.op == "output":
                for labels in self._tensors(node.args):
                    self.slots.freeze(labels, _OUTPUT)
            else:
                self._labels[node] = self._placeholder(node) if node.op == "placeholder" else self._call(node)

    def _placeholder(self, node: Node) -> Any:
        """Labels of a parameter along its one axis that is longer than 1; anything else is fixed."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return value
        long = [axis for axis, size in enumerate(value.shape) if size > 1]
        name = self._names.get(node.name)
        if name is None or len(long) != 1:
            return torch.full(value.shape, FIXED)
        return self.slots.labels(name, long[0], value.shape[long[0]]).reshape(value.shape)

    def _call(self, node: Node) -> Any:
        name = operator_name(node)
        if node.target is operator.getitem:
            return self._labels[_arguments(node)[0]][_arguments(node)[1]]
        rule = self._rule(node, name)
        return rule(node) if rule else self._unknown(node, f"they go into {name}")

    def _rule(self, node: Node, name: str) -> Callable[[Node], Any] | None:
        if name in _CONVOLUTIONS:
            return self._convolution
        named = {"linear": self._linear, "batch_norm": self._batch_norm, "prelu": self._prelu, "pad": self._padding}
        if name in named:
            return named[name]
        if name == "constant_pad_nd":
            return self._padding
        if name in _MOVES:
            return self._move
        if name in _SAME:
            return lambda node: self._labels[_arguments(node)[0]]
        if name in _POOLS:
            return self._pool
        if name in _REDUCTIONS:
            return self._reduction
        return self._pointwise if torch.Tag.pointwise in getattr(node.target, "tags", ()) else None

    def _unknown(self, node: Node, reason: str) -> Any:
        for labels in self._tensors((node.args, node.kwargs)):
            self.slots.freeze(labels, reason)
        return pytree.tree_map(
            lambda value: torch.full(value.shape, FIXED) if isinstance(value, Tensor) else value, node.meta.get("val")
        )

    def _convolution(self, node: Node) -> Any:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given: dict[str, Any] = dict(zip(names, _arguments(node), strict=False)) | dict(node.kwargs)
        weight, groups = self._parameter(given["weight"]), given.get("groups", 1)
        source = self._labels[given["input"]]
        shape = given["weight"].meta["val"].shape
        if weight is None or source.ndim != len(shape):
            return self._unknown(node, "their weights are computed")
        made = self._made(weight, given.get("bias"), shape[0])
        incoming = source.transpose(0, 1).flatten(1)
        if groups == 1:
            self._tie_rows(incoming, self.slots.labels(weight, 1, shape[1]))
        elif groups == len(incoming):
            blocks = made.reshape(groups, -1)
            self.slots.tie(blocks, blocks[:, :1].expand_as(blocks), _MIXED)
            self._tie_rows(incoming, blocks[:, 0])
        else:
            self.slots.freeze(made, f"they come out of a convolution in {groups} groups")
            self.slots.freeze(incoming, f"they go into a convolution in {groups} groups")
        result = node.meta["val"].shape
        return made.reshape(1, -1, *[1] * (len(result) - 2)).expand(result)

    def _linear(self, node: Node) -> Any:
        source, weight_node, bias = (*_arguments(node), None)[:3]
        weight = self._parameter(weight_node)
        if weight is None:
            return self._unknown(node, "their weights are computed")
        shape = weight_node.meta["val"].shape
        made = self._made(weight, bias, shape[0])
        incoming = self._labels[source]
        self._tie_rows(incoming.reshape(-1, shape[1]).T, self.slots.labels(weight, 1, shape[1]))
        return made.expand(node.meta["val"].shape)

    def _batch_norm(self, node: Node) -> Any:
        source, *statistics = _arguments(node)[:5]
        labels = self._labels[source]
        rows = labels.transpose(0, 1).flatten(1)
        names = [self._parameter(item) if item is not None else None for item in statistics]
        for item, name in zip(statistics, names, strict=True):
            if item is not None and name is None:
                return self._unknown(node, "their normalisation is computed")
            if name is not None:
                self._tie_rows(rows, self.slots.labels(name, 0, len(rows)))
        behind = self._weight_of(source)
        if behind and names[0] and names[3]:
            self.norms[behind] = (names[0], names[3], float(_arguments(node)[7]))
        return labels

    def _prelu(self, node: Node) -> Any:
        source, slope = _arguments(node)
        labels, name = self._labels[source], self._parameter(slope)
        if name is None:
            return self._unknown(node, "their slopes are computed")
        size = slope.meta["val"].numel()
        if size > 1:
            self._tie_rows(labels.transpose(0, 1).flatten(1), self.slots.labels(name, 0, size))
        return labels

    def _padding(self, node: Node) -> Any:
        source, widths, *rest = _arguments(node)
        mode = rest[0] if rest and isinstance(rest[0], str) else "constant"
        labels = self._labels[source].to(torch.float64)
        value = float(WILD) if mode == "constant" else None
        return torch.nn.functional.pad(labels, widths, mode=mode, value=value).long()

    def _move(self, node: Node) -> Any:
        args, kwargs = pytree.tree_map(
            lambda item: self._labels[item] if isinstance(item, torch.fx.Node) else item, (node.args, node.kwargs)
        )
        if operator_name(node) in {"view", "_unsafe_view"}:  # labels have strides of their own
            return args[0].reshape(args[1])
        moved: Callable[..., Any] = node.target  # type: ignore[assignment]
        try:
            return moved(*args, **kwargs)
        except RuntimeError:  # an operator that has no kernel for labels, which are integers
            return self._unknown(node, f"they go into {operator_name(node)}")

    def _pool(self, node: Node) -> Any:
        """Everything a window sees is of one channel; where it is not, those channels are tied."""
        labels = self._labels[_arguments(node)[0]]
        rows = labels.flatten(2) if labels.ndim > 2 else labels
        first = rows.max(dim=-1).values
        self.slots.tie(rows, first.unsqueeze(-1).expand_as(rows), _MIXED)
        shape = node.meta["val"].shape if isinstance(node.meta["val"], Tensor) else node.meta["val"][0].shape
        result = first.reshape(*first.shape, *[1] * (len(shape) - first.ndim)).expand(shape)
        return result if isinstance(node.meta["val"], Tensor) else (result, torch.full(shape, FIXED))

    def _reduction(self, node: Node) -> Any:
        """What is summed up is of one channel; where it is not, those channels are tied."""
        if not isinstance(node.meta["val"], Tensor):
            return self._unknown(node, f"they go into {operator_name(node)}")
        labels = self._labels[_arguments(node)[0]]
        given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = [given] if isinstance(given, int) else list(given or range(labels.ndim))
        highest = labels.amax(dim=axes, keepdim=True)
        self.slots.tie(labels, highest.expand_as(labels), _MIXED)
        return highest.reshape(node.meta["val"].shape)

    def _pointwise(self, node: Node) -> Any:
        shape = node.meta["val"].shape
        operands = [_aligned(labels, len(shape)) for labels in self._tensors((node.args, node.kwargs))]
        tied = []
        for index, labels in enumerate(operands):
            others = (other for place, other in enumerate(operands) if place != index)
            axes = {axis for other in others for axis in range(len(shape)) if _varies(other, axis)}
            # One value for all channels of the others ties none of them to each other, but it has to stay itself.
            if axes and all(labels.shape[axis] == 1 for axis in axes):
                self.slots.freeze(labels, "all channels of another layer depend on them")
            else:
                tied.append(labels.expand(shape))
        if not tied:
            return self._unknown(node, _MIXED)
        result = torch.stack(tied).amax(dim=0)
        for labels in tied:
            self.slots.tie(labels, result, _MIXED)
        return result

    def _made(self, weight: str, bias: Any, size: int) -> Tensor:
        """Labels of the channels that a layer makes; its bias goes with them."""
        made = self.slots.labels(weight, 0, size)
        name = self._parameter(bias) if bias is not None else None
        if name is not None:
            self.slots.tie(made, self.slots.labels(name, 0, size), _MIXED)
        elif bias is not None:
            self.slots.freeze(made, "their bias is computed")
        return made

    def _tie_rows(self, rows: Tensor, slots: Tensor) -> None:
        self.slots.tie(rows, slots[:, None].expand_as(rows), _MIXED)

    def _parameter(self, node: Any) -> str | None:
        """Name of the parameter or buffer that a node is."""
        return self._names.get(node.name) if isinstance(node, torch.fx.Node) and node.op == "placeholder" else None

    def _weight_of(self, node: Any) -> str | None:
        is_layer = node.op == "call_function" and operator_name(node) in _CONVOLUTIONS | {"linear"}
        return self._parameter(_arguments(node)[1]) if is_layer and len(_arguments(node)) > 1 else None

    def _tensors(self, values: Any) -> list[Tensor]:
        """Labels of all tensors among arguments."""
        nodes = [item for item in pytree.tree_leaves(values) if isinstance(item, torch.fx.Node)]
        return [leaf for node in nodes for leaf in pytree.tree_leaves(self._labels[node]) if isinstance(leaf, Tensor)]


def _arguments(node: Node) -> tuple[Any, ...]:
    """A node's arguments; what they are, its operator decides."""
    return node.args


def _aligned(labels: Tensor, axes: int) -> Tensor:
    return labels.reshape(*[1] * (axes - labels.ndim), *labels.shape)


def _varies(labels: Tensor, axis: int) -> bool:
    return labels.shape[axis] > 1 and bool((labels != labels.narrow(axis, 0, 1)).any())
