"""Areas under the ROC curve, whole or of its first part, over weighted items: what anomaly scores are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml_runtime.contract import MetricName
from edgeml_runtime.errors import InputError

__all__ = ["AREAS", "MAX_FALSE_ALARM_SHARE", "area_replicates", "roc_area"]

Array = NDArray[Any]

# The share of false alarms up to which the partial area counts: that of the DCASE challenges on machine sounds (Koizumi
# et al., "Description and discussion on DCASE2020 challenge task 2", 2020, p = 0.1).
MAX_FALSE_ALARM_SHARE = 0.1

AREAS = (MetricName.ROC_AUC, MetricName.PARTIAL_AUC)

_BLOCK = 100
_SEED = 19_820_401


def roc_area(name: MetricName, targets: Array, scores: Array) -> float:
    """The area under the ROC curve.

    ``roc_auc`` is the chance that an unusual item scores above a usual one, equal scores counting half (Hanley and
    McNeil, Radiology 143, 1982). ``partial_auc`` takes the curve up to a share of false alarms of
    :data:`MAX_FALSE_ALARM_SHARE` only, standardised so that chance is 0.5 and the best possible is 1 (McClish,
    "Analyzing a portion of the ROC curve", Medical Decision Making 9, 1989), as scikit-learn's ``max_fpr`` does.

    Args:
        name: ``roc_auc`` or ``partial_auc``.
        targets: [n], 1 where the item is unusual, 0 elsewhere.
        scores: [n], larger where the model finds it more unusual.

    Returns:
        The area, from 0 to 1.

    Raises:
        InputError: When the arrays do not fit, a score is not finite, or one of the two kinds of item is missing.
    """
    _check(name, targets, scores)
    return float(_Curve(targets, scores).areas(np.ones((1, len(targets))), name)[0])


def area_replicates(
    name: MetricName, targets: Array, scores: Array, groups: Array | None = None, *, replicates: int = 2000
) -> Array:
    """The area over items, or whole groups, drawn with replacement (Efron and Tibshirani, 1993, chapter 13).

    Args:
        name: ``roc_auc`` or ``partial_auc``.
        targets: [n], 0 or 1.
        scores: [n].
        groups: [n], which group each item belongs to; None draws items.
        replicates: How many, a multiple of 100.

    Returns:
        [replicates]; NaN where the draw has one kind of item only. The draws depend on the groups alone, so that two
        models over the same items can be compared replicate by replicate.

    Raises:
        InputError: As for :func:`roc_area`.
    """
    _check(name, targets, scores)
    curve = _Curve(targets, scores)
    members = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(members.max()) + 1
    rng = np.random.default_rng(_SEED)
    share = np.full(units, 1 / units)
    draws = (rng.multinomial(units, share, size=_BLOCK)[:, members] for _ in range(replicates // _BLOCK))
    return np.concatenate([curve.areas(weights.astype(np.float64), name) for weights in draws])


class _Curve:
    """The order of the items by score, from the highest: the same for every set of weights."""

    def __init__(self, targets: Array, scores: Array) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._starts = np.flatnonzero(np.diff(ordered, prepend=np.nan) != 0)
        self._unusual = targets[self._order].astype(np.float64)

    def areas(self, weights: Array, name: MetricName) -> Array:
        """The area of each row of weights [r, n]; NaN where a row has one kind of item only."""
        ordered = weights[:, self._order]
        ones = np.add.reduceat(ordered * self._unusual, self._starts, axis=1)
        zeros = np.add.reduceat(ordered * (1 - self._unusual), self._starts, axis=1)
        unusual, usual = ones.sum(axis=1, keepdims=True), zeros.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            hits, alarms = ones / unusual, zeros / usual
        hit, alarm = np.cumsum(hits, axis=1) - hits, np.cumsum(alarms, axis=1) - alarms
        limit = MAX_FALSE_ALARM_SHARE if name is MetricName.PARTIAL_AUC else 1.0
        # Each distinct score is one straight piece of the curve, of width `alarms`; what lies beyond the limit is cut.
        width = np.clip(limit - alarm, 0, alarms)
        slope = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)
        area = (width * (hit + slope * width / 2)).sum(axis=1)
        lowest = limit**2 / 2
        return np.asarray(0.5 * (1 + (area - lowest) / (limit - lowest)))


def _check(name: MetricName, targets: Array, scores: Array) -> None:
    if targets.ndim != 1 or targets.shape != scores.shape or not np.isin(targets, (0, 1)).all():
        raise InputError(
            f"{name.value}: expected as many scores as targets of 0 and 1, found targets {list(targets.shape)} "
            f"and scores {list(scores.shape)}"
        )
    if not np.isfinite(scores).all():
        raise InputError(f"{name.value}: expected finite scores, found NaN or infinity; look at the model's output")
    unusual = int(np.sum(targets))
    if unusual in (0, len(targets)):
        found = "only unusual ones" if unusual else "no unusual one"
        raise InputError(
            f"{name.value}: expected usual and unusual items, found {found} among {len(targets)}; split the data so "
            "that validation and test have both"
        )
