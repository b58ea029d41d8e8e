"""The layers of a model as the guest tells them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as the backend executes it, after its own fusions.

    Attributes:
        name: What the backend or the file calls it.
        type: Kind of operator, by the name in the file's format.
    """

    name: str
    type: str
