"""The shape of a slimmed network: which indices of which tensors are left, applied to a fresh network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeml_train.slim.slots import Slot

__all__ = ["NetworkShape"]

Kept = dict[str, dict[int, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """What is left of a network.

    Attributes:
        kept: Name of a parameter or buffer → axis → ascending indices that are left; what is not named is whole.
    """

    kept: Mapping[str, Mapping[int, tuple[int, ...]]]

    @classmethod
    def without(cls, network: nn.Module, removed: Iterable[Slot]) -> NetworkShape:
        """The shape that is left when slots are removed.

        Args:
            network: The network.
            removed: What goes; every tied slot with it.

        Returns:
            The shape.
        """
        tensors = dict(network.named_parameters()) | dict(network.named_buffers())
        gone: dict[tuple[str, int], set[int]] = {}
        for slot in removed:
            gone.setdefault((slot.tensor, slot.axis), set()).add(slot.index)
        kept: Kept = {}
        for (name, axis), indices in sorted(gone.items()):
            size = tensors[name].shape[axis]
            kept.setdefault(name, {})[axis] = tuple(index for index in range(size) if index not in indices)
        return cls(kept=kept)

    def apply(self, network: nn.Module) -> None:
        """Slim a network in place.

        Args:
            network: A network of the shape that this one was taken from.

        Raises:
            ProjectError: When it is not.
        """
        for name, axes in self.kept.items():
            path, _, attribute = name.rpartition(".")
            try:
                owner = network.get_submodule(path)
                tensor = getattr(owner, attribute)
                sliced = _slice(tensor, axes)
            except (AttributeError, IndexError) as error:
                raise ProjectError(
                    f"the slimmed network: expected network() in task.py to have {name!r} with at least "
                    f"{_extent(axes)}, found {error}. Restore task.py, or train and slim again."
                ) from error
            if isinstance(tensor, nn.Parameter):
                owner.register_parameter(attribute, nn.Parameter(sliced, requires_grad=tensor.requires_grad))
            else:
                setattr(owner, attribute, sliced)
            if attribute == "weight":
                _correct_sizes(owner, tensor.shape)

    def masked(self, network: nn.Module) -> None:
        """Set to zero in place what a layer reads from the channels that :meth:`apply` would remove.

        Args:
            network: A network of the shape that this one was taken from; it then gives what the slimmed one gives.
        """
        tensors = dict(network.named_parameters())
        with torch.no_grad():
            for name, axes in self.kept.items():
                if name in tensors and 1 in axes:
                    tensor = tensors[name]
                    whole = torch.zeros(tensor.shape[1], dtype=torch.bool)
                    whole[list(axes[1])] = True
                    tensor[:, ~whole] = 0

    def then(self, later: NetworkShape) -> NetworkShape:
        """The shape after slimming once more.

        Args:
            later: The second shape, in indices of the network that the first one gave.

        Returns:
            Both in one, in indices of the whole network.
        """
        kept: Kept = {name: dict(axes) for name, axes in self.kept.items()}
        for name, axes in later.kept.items():
            for axis, indices in axes.items():
                before = kept.get(name, {}).get(axis)
                kept.setdefault(name, {})[axis] = tuple(before[i] for i in indices) if before else indices
        return NetworkShape(kept=kept)

    def since(self, earlier: NetworkShape | None) -> NetworkShape:
        """The second of two shapes that :meth:`then` has joined to this one.

        Args:
            earlier: The first one; None for the whole network.

        Returns:
            What is left, in indices of the network that the first one gave.
        """
        kept: Kept = {}
        for name, axes in self.kept.items():
            for axis, indices in axes.items():
                before = earlier.kept.get(name, {}).get(axis) if earlier else None
                places = {index: place for place, index in enumerate(before)} if before else None
                kept.setdefault(name, {})[axis] = tuple(places[i] for i in indices) if places else indices
        return NetworkShape(kept=kept)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: {str(axis): list(left) for axis, left in axes.items()} for name, axes in self.kept.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Iterable[int]]]) -> NetworkShape:
        """The inverse of :meth:`to_dict`."""
        return cls(
            kept={name: {int(axis): tuple(left) for axis, left in axes.items()} for name, axes in values.items()}
        )


def _slice(tensor: Tensor, axes: Mapping[int, tuple[int, ...]]) -> Tensor:
    sliced = tensor.detach()
    for axis, indices in axes.items():
        sliced = sliced.index_select(axis, torch.tensor(indices))
    return sliced.clone()


def _extent(axes: Mapping[int, tuple[int, ...]]) -> str:
    return ", ".join(f"{max(indices) + 1} entries along axis {axis}" for axis, indices in axes.items())


def _correct_sizes(module: nn.Module, before: torch.Size) -> None:
    """Tell PyTorch's own layers their new sizes; a depthwise convolution computes with its number of groups."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        if module.groups > 1:
            module.groups = weight.shape[0] // (before[0] // module.groups)
        module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.num_features = len(weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
