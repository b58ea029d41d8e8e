"""What a quantized variant loses against fp32, paired over the same items, overall and on every slice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.metrics import compute_metric
from edgeml_evaluate.slices import slice_masks
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from edgeml_evaluate.data import LabelledData

__all__ = ["PairedLoss", "SliceLoss", "paired_loss", "slice_losses"]

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
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLoss:
    """The loss on one slice.

    Attributes:
        name: ``ATTRIBUTE=VALUE``, such as ``speaker=theo``.
        loss: The loss over its items.
        too_small: Whether it has fewer items than the contract's ``slices.min_items``, too few to judge.
    """

    name: str
    loss: PairedLoss
    too_small: bool

    @property
    def within(self) -> bool:
        """Whether the slice is no reason to refuse the candidate: a slice too small to judge never is."""
        return self.too_small or self.loss.within

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"name": self.name, **self.loss.to_dict(), "within": self.within, "too_small": self.too_small}


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
    _check_lengths(reference_predictions, candidate_predictions, targets)
    rules = contract.export
    allowance = _Allowance(drop=rules.max_metric_drop, items=rules.max_metric_drop_items)
    return _compare(contract, reference_predictions, candidate_predictions, targets, allowance)


def slice_losses(
    contract: Contract, data: LabelledData, reference_predictions: Array, candidate_predictions: Array
) -> tuple[SliceLoss, ...]:
    """Compare a candidate with its reference on every slice of the contract.

    The allowance is that of :func:`paired_loss`, with ``export.max_slice_drop``, ``export.max_slice_drop_items`` and
    the items of the slice. Slices with fewer than ``slices.min_items`` items never fail.

    Args:
        contract: Names the metric, the attributes to slice by and the allowance.
        data: The items, with those attributes.
        reference_predictions: [n], class index or value, of the fp32 variant.
        candidate_predictions: [n], of the quantized variant, in the same order.

    Returns:
        One loss per value of every attribute, in the contract's order and then by value.

    Raises:
        InputError: When the arrays differ in length.
        ProjectError: When an attribute is missing.
    """
    _check_lengths(reference_predictions, candidate_predictions, data.targets)
    rules = contract.export
    allowance = _Allowance(drop=rules.max_slice_drop, items=rules.max_slice_drop_items)
    losses = []
    for name, mask in slice_masks(contract, data):
        reference, candidate = reference_predictions[mask], candidate_predictions[mask]
        loss = _compare(contract, reference, candidate, data.targets[mask], allowance)
        losses.append(SliceLoss(name=name, loss=loss, too_small=loss.n < contract.slices.min_items))
    return tuple(losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Allowance:
    """What may be lost: ``drop`` in the metric's unit or so many ``items``, whichever is more."""

    drop: float
    items: int


def _check_lengths(reference: Array, candidate: Array, targets: Array) -> None:
    if not len(reference) == len(candidate) == len(targets):
        raise InputError(
            f"expected predictions of the same {len(targets)} items, found {len(reference)} of the reference and "
            f"{len(candidate)} of the candidate"
        )


def _compare(
    contract: Contract, reference: Array, candidate: Array, targets: Array, allowance: _Allowance
) -> PairedLoss:
    name, n = contract.metric.primary, len(targets)
    before, after = compute_metric(name, targets, reference), compute_metric(name, targets, candidate)
    drop = before - after if name.higher_is_better else after - before
    lost = gained = 0
    allowed = allowance.drop
    if contract.target.kind is TargetKind.CLASSIFICATION:
        right, still_right = reference == targets, candidate == targets
        lost, gained = int(np.sum(right & ~still_right)), int(np.sum(~right & still_right))
        allowed = max(allowed, allowance.items / n)
    return PairedLoss(
        drop=drop,
        items=lost - gained,
        lost=lost,
        gained=gained,
        n=n,
        allowed_drop=allowed,
        within=drop <= allowed + _ROUNDING,
    )
