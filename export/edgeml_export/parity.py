"""How far a variant's outputs lie from PyTorch's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Parity", "decibels", "measure_parity", "sqnr_db"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """Difference of the deciding output (logits where there are any) between PyTorch eager and a variant.

    Attributes:
        output: Name of the output.
        items: Test items compared.
        max_abs: Largest absolute difference, in the output's unit.
        mean_abs: Mean absolute difference, in the output's unit.
        cosine: Cosine of the angle between the outputs of all items, taken as two vectors; None where one is zero.
        sqnr_db: Signal-to-quantization-noise ratio in decibels; None where the outputs are equal.
        reference_std: Standard deviation of PyTorch's output over all items and elements, in the output's unit.
        argmax_agreement: Share of items with the same largest element, 0 to 1; None for outputs of one element.
    """

    output: str
    items: int
    max_abs: float
    mean_abs: float
    cosine: float | None
    sqnr_db: float | None
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
            "cosine": self.cosine,
            "sqnr_db": self.sqnr_db,
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
    given = found.astype(np.float64).reshape(len(found), -1)
    difference = np.abs(expected - given)
    norms = float(np.linalg.norm(expected) * np.linalg.norm(given))
    ratio = sqnr_db(expected, given)
    agreement = None
    if expected.shape[1] > 1:
        agreement = float(np.mean(expected.argmax(axis=1) == given.argmax(axis=1)))
    return Parity(
        output=output,
        items=len(expected),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        cosine=float(np.vdot(expected, given)) / norms if norms > 0 else None,
        sqnr_db=ratio if math.isfinite(ratio) else None,
        reference_std=float(expected.std()),
        argmax_agreement=agreement,
    )


def sqnr_db(signal: NDArray[Any], noisy: NDArray[Any]) -> float:
    """Signal-to-quantization-noise ratio, 10 · log₁₀(Σ x² / Σ (x − x̂)²).

    Args:
        signal: The exact values, any shape.
        noisy: The same with noise.

    Returns:
        Decibels; infinite where there is no noise, minus infinite where there is noise and no signal.
    """
    power = float(np.square(signal, dtype=np.float64).sum())
    noise = float(np.square(signal.astype(np.float64) - noisy).sum())
    return decibels(power, noise)


def decibels(power: float, noise: float) -> float:
    """A ratio of powers.

    Args:
        power: Of the signal.
        noise: Of the noise.

    Returns:
        10 · log₁₀(power / noise); infinite where there is no noise, minus infinite where there is noise alone.
    """
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power > 0 else -math.inf
