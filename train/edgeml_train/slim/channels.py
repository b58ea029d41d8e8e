"""Which channels of a network can be removed, and which of them matter least."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeml_export.culprit import summary
from edgeml_export.graph.layers import find_layers
from edgeml_export.quiet import quiet
from edgeml_runtime.errors import ProjectError
from edgeml_train.slim.labels import ChannelLabels
from edgeml_train.slim.shape import NetworkShape
from edgeml_train.slim.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_train.slim.slots import Slot

__all__ = ["ChannelGroup", "Channels", "count_macs", "find_channels", "kept_count", "slimmed"]

_BLOCK = 8
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels of which any can be removed, each together with what is tied to it.

    Attributes:
        weights: Names of the weights of the layers that make them.
        channels: For each channel, the slots that go with it.
        importance: float64 [channels], 1 on average.
    """

    weights: tuple[str, ...]
    channels: tuple[tuple[Slot, ...], ...]
    importance: tuple[float, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Dotted paths of those layers inside the network."""
        return tuple(name.rpartition(".")[0] for name in self.weights)

    def removed(self, keep: int) -> list[Slot]:
        """The slots that go.

        Args:
            keep: How many channels stay, the most important ones; the first of equals.
        """
        order = sorted(range(len(self.channels)), key=lambda index: (-self.importance[index], index))
        return [slot for index in order[keep:] for slot in self.channels[index]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The channels of a network.

    Attributes:
        groups: Those that can be removed.
        left_alone: Path of a layer → why its channels stay.
    """

    groups: tuple[ChannelGroup, ...]
    left_alone: Mapping[str, str]


def find_channels(network: nn.Module, example: Tensor) -> Channels:
    """Find the channels that can be removed without changing what the others compute.

    Args:
        network: The network; it is not changed.
        example: float32 [2, …], features of two items.

    Returns:
        The channels. Where the network's own code turns out to need all channels of a group, the group is among those
        left alone.

    Raises:
        ProjectError: When the network cannot be traced.
    """
    network = copy.deepcopy(network).eval()
    labels = ChannelLabels(_traced(network, example))
    stay = {slot.tensor.rpartition(".")[0]: reason for slot, reason in labels.slots.fixed() if _makes(network, slot)}
    for name in _shared(network):
        stay[name.rpartition(".")[0]] = "two layers share their weights"
    groups = []
    for channels in _grouped(network, labels, _shared(network)):
        group = _ranked(network, labels, channels)
        reason = _refusal(network, group, example) if len(channels) > 1 else "they can only go all at once"
        if reason is None:
            groups.append(group)
        else:
            stay |= dict.fromkeys(group.layers, reason)
    return Channels(groups=tuple(groups), left_alone=dict(sorted(stay.items())))


def kept_count(channels: int, keep: float) -> int:
    """How many channels of a group stay.

    Args:
        channels: How many there are.
        keep: The share, in (0, 1].

    Returns:
        The share rounded to whole channels, at least one; from sixteen channels on to the nearest multiple of eight or
        all of them, because a kernel computes eight or sixteen at once and pads what is in between (docs/results.md).
    """
    if channels < 2 * _BLOCK:
        return max(1, round(channels * keep))
    choices: list[int] = [*range(_BLOCK, channels, _BLOCK), channels]
    return min(choices, key=lambda count: abs(count - channels * keep))


def slimmed(network: nn.Module, channels: Channels, keep: float, example: Tensor) -> tuple[nn.Module, NetworkShape]:
    """Remove the least important channels of every group, the same share of each.

    Args:
        network: The network; it is not changed.
        channels: Its channels.
        keep: Share of the channels that stay, in (0, 1].
        example: float32 [2, …], features of two items; the result is tried on them.

    Returns:
        The slimmed network in evaluation mode, and its shape.

    Raises:
        ProjectError: When the network's code does not work with that many channels.
    """
    removed = [slot for group in channels.groups for slot in group.removed(kept_count(len(group.channels), keep))]
    slim, shape, reason = _without(network, removed, example)
    if reason is not None:
        raise ProjectError(
            f"slimming: {reason}, once {keep:g} of all channels are kept. Write sizes in network() of task.py with "
            "x.shape or -1, or keep another share (train.keep)."
        )
    return slim, shape


def count_macs(network: nn.Module, example: Tensor) -> int:
    """Multiplications and additions, in pairs, of all convolutions and matrix products with weights.

    Args:
        network: The network; it is not changed.
        example: float32 [2, …], features of two items.

    Returns:
        The number for one item.

    Raises:
        ProjectError: When the network cannot be traced.
    """
    program = _traced(copy.deepcopy(network).eval(), example)
    return sum(layer.macs for layer in find_layers(program.module()))


def _traced(network: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(network, (example,), strict=False)
    except Exception as error:  # the user's own code runs here, and torch.export raises many kinds
        raise ProjectError(
            f"slimming: PyTorch cannot trace network() of task.py into a graph: {summary(error)}. `edgeml export` says "
            "where; what cannot be traced can neither be exported nor slimmed."
        ) from error


def _makes(network: nn.Module, slot: Slot) -> bool:
    """Whether a slot is an output channel of a layer."""
    return slot.axis == 0 and _is_weight(network, slot.tensor)


def _is_weight(network: nn.Module, name: str) -> bool:
    parameters = dict(network.named_parameters())
    return name in parameters and parameters[name].ndim > 1 and name.rpartition(".")[2] != ""


def _shared(network: nn.Module) -> set[str]:
    """Parameters that go by several names: slicing one of them would part them."""
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name for group in names.values() if len(group) > 1 for name in group}


def _grouped(network: nn.Module, labels: ChannelLabels, shared: set[str]) -> list[list[tuple[Slot, ...]]]:
    """Channels that touch the same axes of the same tensors."""
    groups: dict[tuple[tuple[str, int], ...], list[tuple[Slot, ...]]] = {}
    for slots in labels.slots.classes():
        touched = tuple(sorted({(slot.tensor, slot.axis) for slot in slots}))
        if any(_makes(network, slot) for slot in slots) and not shared.intersection(name for name, _ in touched):
            groups.setdefault(touched, []).append(tuple(slots))
    return list(groups.values())


def _ranked(network: nn.Module, labels: ChannelLabels, channels: Sequence[tuple[Slot, ...]]) -> ChannelGroup:
    """Order channels by the L1 norm of their filters.

    That is what Li et al. rank by ("Pruning filters for efficient convnets", 2017, arXiv:1608.08710). Filters count as
    they are exported: times the scale of the batch normalisation behind them, which is what Liu et al. rank by
    ("Learning efficient convolutional networks through network slimming", 2017, arXiv:1708.06519). Norms are divided
    by their mean over the group, and those of the layers that share the channels are averaged.
    """
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    makers = tuple(dict.fromkeys(slot.tensor for slot in channels[0] if _makes(network, slot)))
    total = torch.zeros(len(channels), dtype=torch.float64)
    for name in makers:
        norms = tensors[name].double().abs().flatten(1).sum(dim=1)
        if name in labels.norms:
            scale, variance, epsilon = labels.norms[name]
            norms = norms * tensors[scale].double().abs() / (tensors[variance].double() + epsilon).sqrt()
        own = torch.stack([norms[[slot.index for slot in slots if _is(slot, name)]].sum() for slots in channels])
        total += own / own.mean().clamp_min(torch.finfo(torch.float64).tiny)
    return ChannelGroup(
        weights=makers,
        channels=tuple(channels),
        importance=tuple((total / len(makers)).tolist()),
    )


def _is(slot: Slot, weight: str) -> bool:
    return slot.tensor == weight and slot.axis == 0


def _refusal(network: nn.Module, group: ChannelGroup, example: Tensor) -> str | None:
    """Why a group cannot lose channels although nothing ties them, or None: the code may count on their number."""
    count = len(group.channels)
    for keep in {count - 1, count // 2}:
        reason = _without(network, group.removed(keep), example)[2]
        if reason is not None:
            return reason
    return None


def _without(
    network: nn.Module, removed: Sequence[Slot], example: Tensor
) -> tuple[nn.Module, NetworkShape, str | None]:
    """The network without some slots, its shape, and what is wrong with it.

    It has to give what the whole network gives with the same channels set to zero.
    """
    shape = NetworkShape.without(network, removed)
    slim, masked = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
    shape.apply(slim)
    shape.masked(masked)
    with torch.no_grad():
        expected = masked(example)
        try:
            found = slim(example)
        except Exception as error:  # noqa: BLE001 - the user's own code, with sizes it was not written for
            return slim, shape, f"the network's code does not run with fewer: {summary(error)}"
    fits = expected.shape == found.shape and bool(
        (expected - found).abs().max() <= _TOLERANCE * expected.abs().max().clamp_min(1.0)
    )
    return slim, shape, None if fits else "the network's code orders them by their number"
