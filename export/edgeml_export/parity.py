"""How far a variant's outputs lie from PyTorch's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Parity", "measure_parity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Difference of the deciding output (logits where there are any) between PyTorch eager and a variant.

    Attributes:
        output: Name of the output.
        items: Test items compared.
        max_abs: Largest absolute difference, in the output's unit.
        mean_abs: Mean absolute difference, in the output's unit.
        reference_std: Standard deviation of PyTorch's output over all items and elements, in the output's unit.
        argmax_agreement: Share of items with the same largest element, 0 to 1; None for outputs of one element.
    """

    output: str
    items: int
    max_abs: float
    mean_abs: float
    reference_std: float
    argmax_agreement: float | None

    @property
    def max_abs_of_std(self) -> float:
        """The largest difference as a share of the output's standard deviation."""
        return self.max_abs / self.reference_std if self.reference_std > 0 else float(self.max_abs > 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "output": self.output,
            "items": self.items,
            "max_abs": self.max_abs,
            "max_abs_of_std": self.max_abs_of_std,
            "mean_abs": self.mean_abs,
            "reference_std": self.reference_std,
            "argmax_agreement": self.argmax_agreement,
        }


def measure_parity(output: str, reference: NDArray[Any], found: NDArray[Any]) -> Parity:
    """Compare one output over many items.

    Args:
        output: Its name.
        reference: [n, *shape] from PyTorch in evaluation mode.
        found: [n, *shape] from the variant, finite.

    Returns:
        The differences, computed in float64.
    """
    expected = reference.astype(np.float64).reshape(len(reference), -1)
    difference = np.abs(expected - found.astype(np.float64).reshape(len(found), -1))
    agreement = None
    if expected.shape[1] > 1:
        agreement = float(np.mean(expected.argmax(axis=1) == found.reshape(len(found), -1).argmax(axis=1)))
    return Parity(
        output=output,
        items=len(expected),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        reference_std=float(expected.std()),
        argmax_agreement=agreement,
    )
