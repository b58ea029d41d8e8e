"""What an exported file consists of: bytes of weights, and which compute operators really run in int8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Inventory", "OperatorCount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCount:
    """Convolutions and matrix products of a variant; a recurrent layer that is one operator counts as one.

    Attributes:
        int8: Computed in int8.
        float_inside: Computed in float inside the declared float scopes.
        float_outside: Computed in float elsewhere. A static int8 variant has only those for which the runtime has no
            int8 kernel: in ONNX Runtime transposed convolutions and recurrent layers.
    """

    int8: int
    float_inside: int
    float_outside: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"int8": self.int8, "float_inside": self.float_inside, "float_outside": self.float_outside}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a variant consists of.

    A weight is a constant that holds learned or fitted numbers as the file stores them: a constant of floating-point
    type, or one of integer type that has a scale. Scales, zero points, and integers that only describe shapes are no
    weights; they count in the size of the file.

    Attributes:
        weight_bytes: All weights.
        front_end_bytes: Those of them that only operators in float scopes read.
        operators: Convolutions and matrix products.
    """

    weight_bytes: int
    front_end_bytes: int
    operators: OperatorCount
