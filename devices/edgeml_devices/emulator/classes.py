"""Instructions by what they do, as the plug-in counts them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CLASS_TITLES", "ClassCounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """Instructions by class, in the order in which ``plugin/classify.h`` has them.

    Attributes:
        fp_fma: Multiply-accumulate of floats, scalar or vector.
        int8_dot: Dot products of bytes: SDOT, UDOT and USDOT of Arm, VPDPBUSD of x86.
        int8_matrix: Matrix products of bytes: SMMLA, UMMLA and USMMLA of Arm (i8mm), TDPBSSD of x86.
        widening_multiply: Products wider than their factors: SMLAL and the like of Arm, PMADDUBSW and the like of x86.
        load_store: Loads and stores that compute nothing else.
        branch: Branches, calls and returns.
        other: All others.
    """

    fp_fma: int = 0
    int8_dot: int = 0
    int8_matrix: int = 0
    widening_multiply: int = 0
    load_store: int = 0
    branch: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.values())

    def values(self) -> tuple[int, ...]:
        """The counts in the order of the fields."""
        return tuple(getattr(self, name) for name in CLASS_TITLES)

    @classmethod
    def of(cls, values: Iterable[int]) -> ClassCounts:
        """The inverse of :meth:`values`.

        Args:
            values: One count per class.
        """
        return cls(**{name: int(value) for name, value in zip(CLASS_TITLES, values, strict=True)})

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts.of(a + b for a, b in zip(self.values(), other.values(), strict=True))

    def __sub__(self, other: ClassCounts) -> ClassCounts:
        """The difference class by class, nowhere below zero: a mark costs a few instructions more or less."""
        return ClassCounts.of(max(0, a - b) for a, b in zip(self.values(), other.values(), strict=True))

    def to_dict(self) -> dict[str, int]:
        """The same as JSON values."""
        return dict(zip(CLASS_TITLES, self.values(), strict=True))

    @classmethod
    def from_dict(cls, values: Mapping[str, int]) -> ClassCounts:
        """The inverse of :meth:`to_dict`.

        Raises:
            KeyError: A class is missing.
        """
        return cls.of(values[name] for name in CLASS_TITLES)


CLASS_TITLES = dict(
    zip(
        (field.name for field in fields(ClassCounts)),
        (
            "fp multiply-add",
            "int8 dot product",
            "int8 matrix product",
            "widening multiply",
            "load/store",
            "branch",
            "other",
        ),
        strict=True,
    )
)
"""Field of :class:`ClassCounts` → what people read."""
