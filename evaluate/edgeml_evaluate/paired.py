"""What a quantized variant loses against fp32, paired over the same items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.metrics import compute_metric
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import InputError

__all__ = ["PairedLoss", "paired_loss"]

Array = NDArray[Any]

# Differences of two shares k/n are only right to the last bits of a double.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLoss:
    """The loss of a candidate against a reference over the same items.

    Attributes:
        drop: How much worse the candidate's primary metric is, in the metric's unit; negative where it is better.
        items: Items the candidate lost less those it gained; 0 for regression, where items are not right or wrong.
        lost: Items the reference had right and the candidate has wrong.
        gained: Items the reference had wrong and the candidate has right.
        n: Items compared.
        allowed_drop: The contract's allowance, in the metric's unit.
        within: Whether the drop is within the allowance.
    """

    drop: float
    items: int
    lost: int
    gained: int
    n: int
    allowed_drop: float
    within: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "drop": self.drop,
            "items": self.items,
            "lost": self.lost,
            "gained": self.gained,
            "n": self.n,
            "allowed_drop": self.allowed_drop,
            "within": self.within,
        }


def paired_loss(
    contract: Contract, reference_predictions: Array, candidate_predictions: Array, targets: Array
) -> PairedLoss:
    """Compare a candidate with its reference over the same items.

    The allowance is the larger of ``export.max_metric_drop`` and ``export.max_metric_drop_items`` items, an item being
    worth 1/n of a classification metric. Regression errors are not counted in items: there the first one holds.

    Args:
        contract: Names the metric and the allowance.
        reference_predictions: [n], class index or value, of the fp32 variant.
        candidate_predictions: [n], of the quantized variant, in the same order.
        targets: [n].

    Returns:
        The loss and whether it is within the allowance.

    Raises:
        InputError: When the arrays differ in length or are empty.
    """
    if not len(reference_predictions) == len(candidate_predictions) == len(targets):
        raise InputError(
            f"expected predictions of the same {len(targets)} items, found {len(reference_predictions)} of the "
            f"reference and {len(candidate_predictions)} of the candidate"
        )
    name, rules, n = contract.metric.primary, contract.export, len(targets)
    reference = compute_metric(name, targets, reference_predictions)
    candidate = compute_metric(name, targets, candidate_predictions)
    drop = reference - candidate if name.higher_is_better else candidate - reference
    lost = gained = 0
    allowed = rules.max_metric_drop
    if contract.target.kind is TargetKind.CLASSIFICATION:
        right, still_right = reference_predictions == targets, candidate_predictions == targets
        lost, gained = int(np.sum(right & ~still_right)), int(np.sum(~right & still_right))
        allowed = max(allowed, rules.max_metric_drop_items / n)
    return PairedLoss(
        drop=drop,
        items=lost - gained,
        lost=lost,
        gained=gained,
        n=n,
        allowed_drop=allowed,
        within=drop <= allowed + _ROUNDING,
    )
