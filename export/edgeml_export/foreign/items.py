"""What a foreign file is tried on: labelled items, or noise where there are none, and hostile inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate import LabelledData
from edgeml_export.hostile import HOSTILE_CASES, hostile_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec

    Arrays = Mapping[str, NDArray[Any]]

__all__ = ["TrialItems", "noise", "trial_items"]

NOISE_ITEMS = 26
_SEED = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialItems:
    """Items in the order in which a file runs them: test items or noise, then the hostile inputs.

    Attributes:
        feeds: Contract input name → [n, *shape].
        labelled: The test items, or None where they are noise.
        count: How many come before the hostile inputs.
    """

    feeds: Arrays
    labelled: LabelledData | None
    count: int

    @property
    def everything(self) -> LabelledData:
        """The labelled items; without them noise and hostile inputs, under one and the same target."""
        if self.labelled is not None:
            return self.labelled
        return LabelledData(inputs=self.feeds, targets=np.zeros(self.count + len(HOSTILE_CASES), np.int64))

    def compared(self, most: int) -> NDArray[np.intp]:
        """Positions of the items that the reference configuration runs too.

        Args:
            most: How many before the hostile inputs, spread evenly.

        Returns:
            Ascending positions, the hostile inputs' at the end.
        """
        spread = np.unique(np.linspace(0, self.count - 1, min(most, self.count)).astype(np.intp))
        return np.concatenate([spread, np.arange(self.count, self.count + len(HOSTILE_CASES), dtype=np.intp)])


def trial_items(contract: Contract, test: LabelledData | None) -> TrialItems:
    """Put the items together.

    Args:
        contract: Gives dtype, shape and range of every input.
        test: Labelled items, or None for noise.

    Returns:
        The items.
    """
    first = noise(contract) if test is None else test.inputs
    hostile = hostile_inputs(contract)
    feeds = {spec.name: np.concatenate([first[spec.name], hostile[spec.name]]) for spec in contract.inputs}
    return TrialItems(feeds=feeds, labelled=test, count=len(next(iter(first.values()))))


def noise(contract: Contract, count: int = NOISE_ITEMS) -> dict[str, NDArray[Any]]:
    """Items of uniform noise within the contract's ranges, from faint to full scale.

    Args:
        contract: Gives dtype, shape and range of every input.
        count: How many.

    Returns:
        Contract input name → [count, *shape] in the contract's dtype, the same at every call.
    """
    generator = np.random.default_rng(_SEED)
    return {
        spec.name: np.stack([_noise(spec, generator, (item + 1) / count) for item in range(count)])
        for spec in contract.inputs
    }


def _noise(spec: InputSpec, generator: np.random.Generator, share: float) -> NDArray[Any]:
    low, high = spec.range
    rest = min(max(0.0, low), high)
    values = rest + share * (generator.uniform(low, high, spec.shape) - rest)
    dtype = np.dtype(spec.dtype.value)
    if dtype.kind in "iu":
        values = np.clip(np.rint(values), np.ceil(low), np.floor(high))
    return values.astype(dtype)
