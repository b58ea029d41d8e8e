"""Batches from arrays in memory, in an order that depends on seed and epoch only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from edgeml_train.fused import to_tensors
from edgeml_train.module import epoch_seed

if TYPE_CHECKING:
    from edgeml_evaluate.data import LabelledData

__all__ = ["BatchSampler", "train_batches", "validation_batches"]


class _Items(Dataset[list[Tensor]]):
    """Looks up whole batches at once, which is far cheaper than joining single items."""

    def __init__(self, data: LabelledData, names: tuple[str, ...]) -> None:
        self._tensors = [*to_tensors(data.inputs, names), torch.from_numpy(np.ascontiguousarray(data.targets))]

    def __len__(self) -> int:
        return len(self._tensors[-1])

    def __getitem__(self, index: Any) -> list[Tensor]:
        return [tensor[index] for tensor in self._tensors]


class BatchSampler(Sampler[Sequence[int]]):
    """Positions of the items of each batch, shuffled anew in every epoch.

    Args:
        items: Items in the split.
        batch_size: Items in a batch; a smaller last one is left out, other items are so in the next epoch.
        seed: Seed of the order.
    """

    def __init__(self, items: int, batch_size: int, seed: int) -> None:
        self._items = items
        self._batch_size = min(batch_size, items)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; Lightning calls this, also after resuming."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._items // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(epoch_seed(self._seed, self._epoch))
        order = torch.randperm(self._items, generator=generator).tolist()
        for batch in range(len(self)):
            yield order[batch * self._batch_size : (batch + 1) * self._batch_size]


def train_batches(data: LabelledData, names: tuple[str, ...], batch_size: int, seed: int) -> DataLoader[list[Tensor]]:
    """Shuffled batches [inputs in order, …, targets] for training."""
    sampler = BatchSampler(len(data), batch_size, seed)
    return DataLoader(_Items(data, names), sampler=sampler, batch_size=None)


def validation_batches(data: LabelledData, names: tuple[str, ...], batch_size: int) -> DataLoader[list[Tensor]]:
    """Batches in order, every item once."""
    starts = range(0, len(data), batch_size)
    positions = [list(range(start, min(start + batch_size, len(data)))) for start in starts]
    return DataLoader(_Items(data, names), sampler=positions, batch_size=None)
