"""The metrics a contract can gate on, and the step from model outputs to predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from edgeml_evaluate.areas import AREAS, roc_area
from edgeml_runtime.contract import Contract, MetricName, TargetKind
from edgeml_runtime.errors import InputError

__all__ = ["compute_metric", "decide", "decision_output"]

Array = NDArray[Any]


def compute_metric(name: MetricName, targets: Array, predictions: Array) -> float:
    """One metric over items, by scikit-learn.

    ``balanced_accuracy`` is the mean recall and ``macro_f1`` the mean F1 over the classes that occur among the targets;
    a class that is only predicted has no recall to average.

    Args:
        name: Which metric.
        targets: [n], class index or value; 0 or 1 for areas under the ROC curve.
        predictions: [n], class index, value or anomaly score.

    Returns:
        The metric: a share in [0, 1], or an error in the target's unit for ``mae`` and ``rmse``.

    Raises:
        InputError: When there are no items, the two arrays differ in length, or an area lacks one kind of item.
    """
    if len(targets) != len(predictions) or len(targets) == 0:
        raise InputError(
            f"{name.value}: expected as many predictions as targets, at least one; "
            f"found {len(targets)} targets and {len(predictions)} predictions"
        )
    if name in AREAS:
        return roc_area(name, targets, predictions)
    if name is MetricName.ACCURACY:
        return float(sk.accuracy_score(targets, predictions))
    if name is MetricName.MAE:
        return float(sk.mean_absolute_error(targets, predictions))
    if name is MetricName.RMSE:
        return float(sk.root_mean_squared_error(targets, predictions))
    classes = np.unique(targets)
    score = sk.recall_score if name is MetricName.BALANCED_ACCURACY else sk.f1_score
    return float(score(targets, predictions, labels=classes, average="macro", zero_division=0.0))


def decision_output(contract: Contract) -> str:
    """The name of the output that decides: the logits, else the scores, else the first value.

    Args:
        contract: The contract.

    Returns:
        Name of an output; softmax keeps the order, so logits and scores decide alike.
    """
    order = {"logits": 0, "scores": 1, "value": 2}
    return min(contract.outputs, key=lambda output: order[output.role.value]).name


def decide(contract: Contract, outputs: Array) -> Array:
    """Predictions from the deciding output of many items.

    Args:
        contract: The contract.
        outputs: [n, classes] logits or scores for classification; [n] or [n, 1] values or anomaly scores.

    Returns:
        [n]: the class index of the largest score (the first one of equals), or the value or anomaly score as float64.

    Raises:
        InputError: When the shape does not fit the target.
    """
    if contract.target.kind is TargetKind.CLASSIFICATION:
        if outputs.ndim != 2:
            raise InputError(f"expected logits of shape [n, classes], found {list(outputs.shape)}")
        return np.asarray(np.argmax(outputs, axis=1))
    if outputs.ndim > 2 or (outputs.ndim == 2 and outputs.shape[1] != 1):
        raise InputError(f"expected values of shape [n] or [n, 1], found {list(outputs.shape)}")
    return outputs.reshape(len(outputs)).astype(np.float64)
