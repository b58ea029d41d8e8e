"""Labelled items: the one container that training, calibration and scoring pass around."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

__all__ = ["LabelledData"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """Items with the answer known.

    Attributes:
        inputs: Contract input name → array [n, *shape] in the contract's dtype and unit.
        targets: [n]; class index (integer) for classification, the value (float) for regression.
        attributes: Attribute name → [n] of str, such as the speaker of every item; slices and groups refer to them.

    Raises:
        InputError: When the arrays differ in their number of items, or there is no input.
    """

    inputs: Mapping[str, Array]
    targets: Array
    attributes: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("labelled data: expected at least one input array, found none")
        if self.targets.ndim != 1:
            raise InputError(f"labelled data: expected targets of shape [n], found {list(self.targets.shape)}")
        named = [(f"input {name!r}", array) for name, array in self.inputs.items()]
        named += [(f"attribute {name!r}", array) for name, array in self.attributes.items()]
        for name, array in named:
            if array.ndim == 0 or len(array) != len(self.targets):
                found = "a scalar" if array.ndim == 0 else f"{len(array)} items"
                raise InputError(f"labelled data: expected {len(self.targets)} items in {name}, found {found}")

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: NDArray[np.intp] | NDArray[np.bool_] | slice) -> LabelledData:
        """The items at the given positions, in that order.

        Args:
            indices: Positions [m], a mask [n], or a slice.

        Returns:
            The chosen items; arrays are views where numpy gives views.
        """
        return LabelledData(
            inputs={name: array[indices] for name, array in self.inputs.items()},
            targets=self.targets[indices],
            attributes={name: array[indices] for name, array in self.attributes.items()},
        )
