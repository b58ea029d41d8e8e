"""Inputs that no test set holds and every device meets: silence, full scale, an impulse, noise, extremes in turns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.parity import measure_parity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec

__all__ = ["BOUND", "HOSTILE_CASES", "HostileResult", "hostile_inputs", "judge_hostile", "unbounded"]

HOSTILE_CASES = ("zero", "lowest", "full scale", "impulse", "noise", "alternating")
"""Names of the cases, in the order of the items that :func:`hostile_inputs` gives."""

BOUND = "bound what the model divides by or takes the logarithm or root of, or narrow the range in edgeml.toml"
"""What to do about outputs that are no numbers."""

_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileResult:
    """What a variant made of one hostile input.

    Attributes:
        case: Name of the case.
        max_abs: Largest absolute difference of the deciding output from PyTorch's, in its unit; NaN where one of the
            two is NaN or infinite.
        mean_abs: Mean absolute difference, in its unit; None where there is no number.
        cosine: Cosine of the angle between the two; None where one is zero or no number.
        sqnr_db: Signal-to-quantization-noise ratio in decibels; None where they are equal or no number.
        allowed: What ``max_abs`` may be; None where only NaN and infinity are refused, as int8 saturates.
        same_decision: Whether the largest element is the same; None for outputs of one element.
    """

    case: str
    max_abs: float
    mean_abs: float | None
    cosine: float | None
    sqnr_db: float | None
    allowed: float | None
    same_decision: bool | None

    @property
    def within(self) -> bool:
        """Whether it is good."""
        return self.allowed is None or self.max_abs <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a difference that is no number is null."""
        return {
            "case": self.case,
            "max_abs": self.max_abs if math.isfinite(self.max_abs) else None,
            "mean_abs": self.mean_abs,
            "cosine": self.cosine,
            "sqnr_db": self.sqnr_db,
            "allowed": self.allowed,
            "same_decision": self.same_decision,
        }


def hostile_inputs(contract: Contract) -> dict[str, NDArray[Any]]:
    """One item for every hostile case, within the contract's ranges.

    Args:
        contract: Gives dtype, shape and range of every input.

    Returns:
        Contract input name → [cases, *shape] in the contract's dtype, the same at every call.
    """
    return {spec.name: np.stack([_case(spec, case) for case in HOSTILE_CASES]) for spec in contract.inputs}


def _case(spec: InputSpec, case: str) -> NDArray[Any]:
    low, high = spec.range
    dtype = np.dtype(spec.dtype.value)
    rest = min(max(0.0, low), high)
    values = np.full(spec.shape, rest, np.float64)
    if case == "lowest":
        values[...] = low
    elif case == "full scale":
        values[...] = high
    elif case == "impulse":
        values.reshape(-1)[values.size // 2] = high
    elif case == "noise":
        values[...] = np.random.default_rng(_SEED).uniform(low, high, spec.shape)
    elif case == "alternating":
        values.reshape(-1)[0::2], values.reshape(-1)[1::2] = low, high
    if dtype.kind in "iu":
        # The largest int64 is no float64, and what is next to it is one too large.
        largest = np.nextafter(float(np.iinfo(dtype).max) + 1, 0)
        values = np.clip(np.rint(values), np.ceil(low), min(np.floor(high), largest))
    return values.astype(dtype)


def judge_hostile(
    reference: NDArray[Any], found: NDArray[Any], *, tolerance: float | None
) -> tuple[HostileResult, ...]:
    """Compare a variant's deciding output with PyTorch's on every case.

    Args:
        reference: [cases, *shape] from PyTorch.
        found: The same from the variant.
        tolerance: Allowed difference as a share of what PyTorch's output of the case spans, at least 1; None for
            variants whose activations saturate.

    Returns:
        One result per case.
    """
    results = []
    for case, expected, given in zip(HOSTILE_CASES, reference, found, strict=True):
        comparable = bool(np.isfinite(expected).all() and np.isfinite(given).all())
        span = max(1.0, float(np.abs(expected).max())) if comparable else 1.0
        parity = measure_parity(case, expected[None], given[None]) if comparable else None
        results.append(
            HostileResult(
                case=case,
                max_abs=math.nan if parity is None else parity.max_abs,
                mean_abs=None if parity is None else parity.mean_abs,
                cosine=None if parity is None else parity.cosine,
                sqnr_db=None if parity is None else parity.sqnr_db,
                allowed=None if tolerance is None else tolerance * span,
                same_decision=bool(expected.argmax() == given.argmax()) if expected.size > 1 else None,
            )
        )
    return tuple(results)


def unbounded(outputs: Mapping[str, NDArray[Any]]) -> str | None:
    """The first output that holds NaN or infinity for a hostile input, with the case.

    Args:
        outputs: Contract output name → [cases, *shape].

    Returns:
        A text for a message, or None where all are finite.
    """
    for name, values in outputs.items():
        for case, item in zip(HOSTILE_CASES, values, strict=True):
            if not np.isfinite(item).all():
                return (
                    f"output {name!r} is NaN or infinite for the hostile input {case!r}, which the contract's ranges "
                    f"allow; {BOUND}"
                )
    return None
