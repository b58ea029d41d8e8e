"""Baselines: what a model has to beat to be worth its bytes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgeml_evaluate.intervals import metric_interval
from edgeml_evaluate.metrics import compute_metric
from edgeml_evaluate.scoring import MetricValue
from edgeml_evaluate.slices import attribute_of
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate.data import LabelledData

__all__ = ["BaselineResult", "best_baseline", "fit_baselines"]

Array = NDArray[Any]

_MAX_ITERATIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """A baseline on the test set.

    Attributes:
        name: ``"majority class"`` (``"mean"`` for regression) or ``"linear model"``.
        metric: The contract's metric on the test set.
    """

    name: str
    metric: MetricValue

    def to_dict(self) -> dict[str, Any]:
        """JSON values: ``name`` is the baseline's, ``metric`` the metric's."""
        values = self.metric.to_dict()
        return {**values, "name": self.name, "metric": values["name"]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BaselineResult:
        """The inverse of :meth:`to_dict`."""
        return cls(name=values["name"], metric=MetricValue.from_dict({**values, "name": values["metric"]}))


def fit_baselines(
    contract: Contract,
    train: LabelledData,
    test: LabelledData,
    train_features: Array,
    test_features: Array,
    *,
    progress: Progress = silent,
) -> tuple[BaselineResult, ...]:
    """Train and measure the two baselines on the features the model gets.

    The linear model is a logistic regression (ridge regression for values) on standardised features, with the default
    regularisation of scikit-learn.

    Args:
        contract: Names the metric and the group.
        train: Items to fit on.
        test: Items to measure on.
        train_features: [n, …] fitted features of ``train``.
        test_features: [m, …] the same of ``test``.
        progress: Told when each one is done.

    Returns:
        The simpler one first.
    """
    classify = contract.target.kind is TargetKind.CLASSIFICATION
    models: list[tuple[str, Any]] = (
        [
            ("majority class", DummyClassifier(strategy="most_frequent")),
            ("linear model", make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS, tol=1e-3))),
        ]
        if classify
        else [("mean", DummyRegressor()), ("linear model", make_pipeline(StandardScaler(), Ridge()))]
    )
    name = contract.metric.primary
    groups = attribute_of(contract, test, contract.group) if contract.group else None
    flat_train, flat_test = (np.reshape(x, (len(x), -1)) for x in (train_features, test_features))
    results = []
    for done, (label, model) in enumerate(models):
        progress(ProgressEvent(step="baseline", done=done, total=len(models), message=label))
        with warnings.catch_warnings():
            # Not converged after that many iterations is near enough for a yardstick.
            warnings.simplefilter("ignore", ConvergenceWarning)
            predictions = model.fit(flat_train, train.targets).predict(flat_test)
        value = MetricValue(
            name=name,
            value=compute_metric(name, test.targets, predictions),
            interval=metric_interval(name, test.targets, predictions, groups),
            n=len(test),
        )
        results.append(BaselineResult(name=label, metric=value))
    progress(ProgressEvent(step="baseline", done=len(models), total=len(models)))
    return tuple(results)


def best_baseline(results: tuple[BaselineResult, ...]) -> BaselineResult:
    """The better one by the metric, the simpler one of equals.

    Args:
        results: At least one.

    Returns:
        The one a model is compared with.
    """
    sign = 1 if results[0].metric.name.higher_is_better else -1
    return max(results, key=lambda result: sign * result.metric.value)
