"""Slots and what ties them: which entries of a network's tensors can only be removed together.

A slot is one index along one axis of a parameter or buffer. A slot also stands for the channel it produces, so that the
same numbers label activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FIXED", "WILD", "Slot", "Slots"]

FIXED = 0
"""Label of a value that no channel makes: the network's input, a constant."""

WILD = -1
"""Label of a value that fits any channel: padding."""


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One index along one axis of a parameter or buffer.

    Attributes:
        tensor: Its name in the network.
        axis: The axis.
        index: The index along it.
    """

    tensor: str
    axis: int
    index: int


class Slots:
    """A union-find over slots (Tarjan, "Efficiency of a good but not linear set union algorithm", 1975)."""

    def __init__(self) -> None:
        self._parent = [FIXED]
        self._slots: list[Slot | None] = [None]
        self._first: dict[tuple[str, int], int] = {}
        self._reason: dict[int, str] = {}

    def labels(self, tensor: str, axis: int, size: int) -> Tensor:
        """The labels of all slots along one axis, made on first use.

        Args:
            tensor: Name of the parameter or buffer.
            axis: The axis.
            size: Its length.

        Returns:
            int64 [size], all above zero.
        """
        first = self._first.get((tensor, axis))
        if first is None:
            first = self._first[tensor, axis] = len(self._parent)
            self._parent += range(first, first + size)
            self._slots += [Slot(tensor, axis, index) for index in range(size)]
        return torch.arange(first, first + size)

    def tie(self, first: Tensor, second: Tensor, reason: str) -> None:
        """State that each pair can only be removed together.

        Args:
            first: int64 labels of any shape.
            second: int64 labels of the same shape.
            reason: Why those stay that are tied to something fixed.
        """
        count = len(self._parent) + 1
        # One number for each pair, because PyTorch sorts those far faster than columns.
        for pair in torch.unique((first.flatten() + 1) * count + second.flatten() + 1).tolist():
            one, other = pair // count - 1, pair % count - 1
            if WILD in (one, other):
                continue
            if FIXED in (one, other):
                self._freeze(max(one, other), reason)
            else:
                self._union(one, other)

    def freeze(self, labels: Tensor, reason: str) -> None:
        """State that channels stay.

        Args:
            labels: int64 of any shape.
            reason: Why.
        """
        for label in torch.unique(labels).tolist():
            self._freeze(label, reason)

    def reason(self, label: int) -> str | None:
        """Why a channel stays, or None where it can be removed.

        Args:
            label: Above zero.
        """
        return self._reason.get(self._find(label))

    def classes(self) -> list[list[Slot]]:
        """The slots that can only be removed together, in the order in which they were met; fixed ones left out."""
        members: dict[int, list[Slot]] = {}
        for label, slot in enumerate(self._slots):
            root = self._find(label)
            if slot is not None and root not in self._reason:
                members.setdefault(root, []).append(slot)
        return list(members.values())

    def fixed(self) -> Iterable[tuple[Slot, str]]:
        """The slots that stay, with the reason."""
        for label, slot in enumerate(self._slots):
            reason = self._reason.get(self._find(label))
            if slot is not None and reason is not None:
                yield slot, reason

    def _freeze(self, label: int, reason: str) -> None:
        if label > FIXED:
            self._reason.setdefault(self._find(label), reason)

    def _union(self, one: int, other: int) -> None:
        root, child = sorted((self._find(one), self._find(other)))
        if root == child:
            return
        self._parent[child] = root
        reason = self._reason.pop(child, None)
        if reason is not None:
            self._reason.setdefault(root, reason)

    def _find(self, label: int) -> int:
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label
