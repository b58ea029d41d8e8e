"""How well a classifier's scores rank the items of two classes, whatever threshold an application chooses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.areas import roc_area
from edgeml_evaluate.intervals import Interval, metric_interval
from edgeml_runtime.contract import MetricName

__all__ = ["Ranking", "rank_scores"]

Array = NDArray[Any]

_SEPARATED = "the classes are separated: the interval cannot say how rare a pair in the wrong order is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The area under the ROC curve, reported beside the contract's metric.

    Attributes:
        roc_auc: The chance that an item of the second class has a larger score than one of the first; equal scores
            count half.
        interval: Its confidence interval.
        n: Items it was computed over.
    """

    roc_auc: float
    interval: Interval
    n: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"roc_auc": self.roc_auc, "interval": self.interval.to_dict(), "n": self.n}


def rank_scores(targets: Array, scores: Array, groups: Array | None = None, *, level: float = 0.95) -> Ranking | None:
    """The area under the ROC curve with its interval, where both classes occur.

    Args:
        targets: [n], 0 or 1.
        scores: [n], larger for class 1.
        groups: [n] of str, which group each item belongs to; None where items are independent.
        level: Confidence level.

    Returns:
        The area and its interval, as :func:`edgeml_evaluate.intervals.metric_interval` gives it; None where only one
        class occurs. Where the scores separate the classes, every replicate is the same, and the interval's note says
        so.

    Raises:
        InputError: As for :func:`edgeml_evaluate.areas.roc_area`.
    """
    if targets.shape == scores.shape and len(np.unique(targets)) < 2:
        return None
    area = roc_area(MetricName.ROC_AUC, targets, scores)
    interval = metric_interval(MetricName.ROC_AUC, targets, scores, groups, level=level)
    # A sum over pieces of the curve: 1 but for rounding.
    if np.isclose(area, (0.0, 1.0), rtol=0, atol=1e-12).any():
        interval = replace(interval, note="; ".join(filter(None, [_SEPARATED, interval.note])))
    return Ranking(roc_auc=area, interval=interval, n=len(targets))
