"""From the plug-in's records to instructions per call and per layer."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_devices.emulator.classes import CLASS_TITLES, ClassCounts
from edgeml_devices.emulator.guest.marks import BEGIN, EMPTY, END, LAYER
from edgeml_runtime.errors import TargetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

__all__ = ["Counted", "read_records"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What lies between the marks, without what the marks themselves take.

    Attributes:
        calls: Instructions of each inference, in order.
        median: Those of the inference in the middle, by class.
        layers: By class, those of each layer; empty where layers were not marked.
    """

    calls: tuple[int, ...]
    median: ClassCounts
    layers: tuple[ClassCounts, ...]


def read_records(records: bytes) -> Counted:
    """Read what the plug-in wrote.

    Args:
        records: One record of int64 per mark: its number, and how many instructions of each class were executed so far.

    Returns:
        The counts.

    Raises:
        TargetError: The records are cut off, or no call was marked.
    """
    width = 1 + len(CLASS_TITLES)
    words = np.frombuffer(records[: len(records) // 8 * 8], np.int64)
    if len(words) % width or len(records) % 8:
        raise TargetError(f"expected records of {8 * width} bytes from the plug-in, found {len(records)} bytes")
    rows = words.reshape(-1, width)
    marks, counts = rows[:, 0], rows[:, 1:]
    empty = counts[marks == EMPTY]
    calls = _intervals(marks, counts, BEGIN)
    if len(empty) < 2 or not len(calls):
        raise TargetError("expected marks of the guest in the plug-in's records, found none")
    # Every interval holds what one mark takes; that differs by some instructions from time to time.
    cost = np.median(np.diff(empty, axis=0), axis=0).astype(np.int64)
    calls = np.maximum(calls - cost, 0)
    totals = calls.sum(axis=1)
    middle = int(np.argsort(totals, kind="stable")[len(totals) // 2])
    beginnings = [ClassCounts.of(row) for row in _intervals(marks, counts, LAYER)]
    return Counted(
        calls=tuple(int(total) for total in totals),
        median=ClassCounts.of(calls[middle]),
        layers=tuple(after - before for before, after in itertools.pairwise(beginnings)),
    )


def _intervals(marks: Counts, counts: Counts, begin: int) -> Counts:
    """What was executed between each mark of a number and the mark that follows it, which ends it."""
    begins = np.flatnonzero(marks[:-1] == begin)
    begins = begins[marks[begins + 1] == END]
    between: Counts = counts[begins + 1] - counts[begins]
    return between
