"""The simpler model: whether the network is worth its bytes, and the linear baseline as a network that exports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgeml_evaluate.intervals import Interval, difference_interval
from edgeml_evaluate.metrics import compute_metric
from edgeml_evaluate.slices import interval_groups
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from edgeml_evaluate.data import LabelledData
    from edgeml_evaluate.scoring import MetricValue

__all__ = ["Comparison", "Kept", "ModelChoice", "compare_models", "empty_linear", "linear_network"]


class Kept(Enum):
    """Which model a run keeps and exports."""

    NETWORK = "network"
    LINEAR = "linear model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One model against another over the same items.

    Attributes:
        advantage: How much better the one is, in the metric's unit; negative where it is worse.
        interval: Its 95 % confidence interval.
        n: Items compared.
    """

    advantage: float
    interval: Interval
    n: int

    @property
    def beats(self) -> bool:
        """Whether the whole interval of the advantage lies above zero."""
        return self.interval.low > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {"advantage": self.advantage, "interval": self.interval.to_dict(), "n": self.n, "beats": self.beats}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model a run keeps, and what it was decided by.

    Attributes:
        comparison: The network against the linear model on the validation split, which decided. The network was
            stopped by the loss over these items, which favours it a little; the linear model has not seen them.
        network: The network's metric on the test set, which did not decide.
    """

    comparison: Comparison
    network: MetricValue

    @property
    def kept(self) -> Kept:
        """The network only where it beats the linear model.

        "Not shown to be better" is no proof that the two are equal: with few items only a large advantage is seen. The
        rule errs towards the model that is smaller and can be read; how large an advantage may have been missed is the
        upper end of the interval.
        """
        return Kept.NETWORK if self.comparison.beats else Kept.LINEAR

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {"kept": self.kept.value, "validation": self.comparison.to_dict(), "network": self.network.to_dict()}


def compare_models(
    contract: Contract,
    data: LabelledData,
    *,
    candidate: NDArray[Any],
    reference: NDArray[Any],
) -> Comparison:
    """Compare the predictions of two models over the same items, by the contract's metric and paired.

    Args:
        contract: Names metric and group.
        data: The items.
        candidate: [n] class indices, or values, of the one.
        reference: [n] the same of the other.

    Returns:
        The candidate's advantage.
    """
    name = contract.metric.primary
    groups = interval_groups(contract, data)
    difference = compute_metric(name, data.targets, candidate) - compute_metric(name, data.targets, reference)
    return Comparison(
        advantage=difference if name.higher_is_better else -difference,
        interval=difference_interval(name, data.targets, reference, candidate, groups),
        n=len(data),
    )


def empty_linear(inputs: int, outputs: int) -> nn.Sequential:
    """The linear model's shape, for weights that are still to come.

    Args:
        inputs: Number of features of an item.
        outputs: Classes, or 1 for a value.

    Returns:
        A module from float32 [b, …] to float32 [b, outputs], in evaluation mode.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs)).eval()


def linear_network(contract: Contract, fitted: Pipeline, outputs: int) -> nn.Module:
    """scikit-learn's linear model as a network with the same decisions.

    ``(x - mean) / scale`` is taken into the weights. Of two classes scikit-learn has one decision value z; the logits
    are -z/2 and z/2, whose softmax is the logistic function of z.

    Args:
        contract: Says whether classes or values.
        fitted: What :func:`edgeml_train.baseline.fit_linear` gave.
        outputs: Classes, or 1 for a value.

    Returns:
        A module from float32 features [b, …] to logits [b, classes], or values [b, 1].

    Raises:
        ProjectError: When the training split lacks a class.
    """
    scaler, model = fitted[0], fitted[-1]
    weights = np.atleast_2d(model.coef_) / scaler.scale_
    bias = np.atleast_1d(model.intercept_) - weights @ scaler.mean_
    if contract.target.kind is TargetKind.CLASSIFICATION:
        if len(model.classes_) != outputs:
            raise ProjectError(
                f"splits(): expected items of all {outputs} classes in the training split, found "
                f"{len(model.classes_)}. Split otherwise, or set train.prefer_simpler = false."
            )
        if outputs == 2:
            weights, bias = (np.concatenate([-half, half]) for half in (weights / 2, bias / 2))
    network = empty_linear(weights.shape[1], outputs)
    network[1].load_state_dict({"weight": torch.from_numpy(weights).float(), "bias": torch.from_numpy(bias).float()})
    return network
