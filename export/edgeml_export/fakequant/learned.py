"""Ranges of activations that training has learned, as they are stored and handed to export."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LearnedRange", "LearnedRanges"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedRange:
    """The range of one activation.

    Attributes:
        key: Which activation: path of the module, ATen operator, and which of those in the module.
        low: Lower end, at most 0.
        high: Upper end, at least 0 and above ``low``.
    """

    key: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedRanges:
    """All of them; export finds each activation in its files by the values that it has, not by name.

    Attributes:
        ranges: In the order of the graph.
    """

    ranges: tuple[LearnedRange, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "format": _FORMAT,
            "ranges": [{"key": entry.key, "low": entry.low, "high": entry.high} for entry in self.ranges],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> LearnedRanges:
        """Read what :meth:`to_dict` wrote.

        Args:
            values: JSON values.
            source: Name of the file, for the message.

        Returns:
            The ranges.

        Raises:
            ProjectError: When they are something else, or a range is empty, infinite or without zero.
        """
        try:
            if values["format"] != _FORMAT:
                raise ValueError(f"format {values['format']!r}")
            ranges = tuple(
                LearnedRange(key=str(entry["key"]), low=float(entry["low"]), high=float(entry["high"]))
                for entry in values["ranges"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectError(
                f"{source}: expected learned ranges of format {_FORMAT}, found something else "
                f"({type(error).__name__}: {error}). Train again: `edgeml train PROJECT --qat`."
            ) from error
        for entry in ranges:
            if not (math.isfinite(entry.high - entry.low) and entry.low <= 0 <= entry.high and entry.low < entry.high):
                raise ProjectError(
                    f"{source}: expected a range with zero in it for {entry.key!r}, found {entry.low} to {entry.high}. "
                    "Train again: `edgeml train PROJECT --qat`."
                )
        return cls(ranges=ranges)
