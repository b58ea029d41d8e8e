"""Which activation of a converted file is which of the traced graph, told by the values that they have.

Converters rename, fuse, split and move: names do not survive, and what a format rounds is known for sure only of its
files. Values survive: a tensor of a file that has the values of a node for a few items, in whatever layout and with
whatever zeros padded around them, is that node's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["KnownRange", "KnownRanges", "Signature", "match_names", "signature_of"]

# Backends sum in other orders: seen are 1e-6 behind convolutions, 1e-4 behind the logarithm of a spectrogram.
_TOLERANCE = 1e-3

Signature = NDArray[np.float64]
"""[items, 5]: of each item's values the smallest, the largest (zero among them), and the sums of x, |x| and x²."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRange:
    """The range of an activation of the traced graph.

    Attributes:
        signature: Of its values for the probe items.
        low: Lower end.
        high: Upper end.
    """

    signature: Signature
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRanges:
    """Ranges that a converter is to use instead of calibrating.

    Attributes:
        inputs: Contract input name → [items, *shape], the probe items.
        ranges: The activations, in the order of the graph.
    """

    inputs: Mapping[str, NDArray[Any]] = field(compare=False)
    ranges: tuple[KnownRange, ...] = field(compare=False)

    def of(self, activations: Iterable[Mapping[str, NDArray[Any]]], names: Collection[str]) -> dict[str, KnownRange]:
        """The ranges of a file's activations.

        Args:
            activations: For each probe item: name in the file → values.
            names: The names that are wanted.

        Returns:
            Name → range, for those that are known.
        """
        found = match_names(activations, names, [entry.signature for entry in self.ranges])
        return {name: self.ranges[place] for name, place in found.items()}


def signature_of(values: Iterable[NDArray[Any]]) -> Signature:
    """Take the signature of an activation.

    Args:
        values: Of each probe item, of any shape.

    Returns:
        The signature; the order of the values and zeros among them make no difference.
    """
    rows = []
    for item in values:
        flat = np.asarray(item, np.float64).ravel()
        ends = (min(0.0, float(flat.min())), max(0.0, float(flat.max()))) if flat.size else (0.0, 0.0)
        rows.append((*ends, flat.sum(), np.abs(flat).sum(), np.square(flat).sum()))
    return np.array(rows)


def match_names(
    activations: Iterable[Mapping[str, NDArray[Any]]], names: Collection[str], signatures: Iterable[Signature]
) -> dict[str, int]:
    """Find for each activation of a file the first signature that it has.

    Args:
        activations: For each probe item: name in the file → values.
        names: The names that are wanted.
        signatures: Of the traced graph's activations, in the order of the graph.

    Returns:
        Name → position of its signature, for those that have one.
    """
    collected: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for item in activations:
        for name in collected.keys() & item.keys():
            collected[name].append(item[name])
    known = np.array(list(signatures))
    found = {}
    for name, values in collected.items():
        fitting = fits(known, signature_of(values)) if values and len(known) else np.zeros(1, bool)
        if fitting.any():
            found[name] = int(np.argmax(fitting))
    return found


def fits(known: Signature, own: Signature) -> NDArray[np.bool_]:
    """Which signatures are that of the same values, but for rounding.

    Args:
        known: [n, items, 5].
        own: [items, 5].

    Returns:
        [n]; never True where one of them is not finite.
    """
    width = own[:, 1:2] - own[:, :1]
    scale = np.concatenate([width, width, own[:, 3:4], own[:, 3:4], own[:, 4:5]], axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(known - own) <= _TOLERANCE * scale).all(axis=(1, 2)))
