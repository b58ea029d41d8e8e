"""Baselines: what a model has to beat to be worth its bytes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from edgeml_evaluate.intervals import metric_interval
from edgeml_evaluate.metrics import compute_metric
from edgeml_evaluate.scoring import MetricValue
from edgeml_evaluate.slices import interval_groups
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.progress import Progress, ProgressEvent, silent
from edgeml_runtime.tensors import DType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate.data import LabelledData

__all__ = ["BOOSTING", "LINEAR", "BaselineResult", "best_baseline", "fit_baselines", "fit_linear", "raw_columns"]

Array = NDArray[Any]

LINEAR = "linear model"
BOOSTING = "gradient boosting"

_MAX_ITERATIONS = 100
# scikit-learn sorts values into at most so many bins, and takes no larger category.
_MAX_CATEGORIES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """A baseline on the test set.

    Attributes:
        name: ``"majority class"`` (``"mean"`` for regression), ``"linear model"`` or ``"gradient boosting"``.
        metric: The contract's metric on the test set.
        predictions: [n] for every item of the test set, while it is at hand: they are not stored.
    """

    name: str
    metric: MetricValue
    predictions: Array | None = field(default=None, repr=False, compare=False)

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
    table: bool = False,
    learned: bool = True,
    threads: int = 1,
    progress: Progress = silent,
) -> tuple[BaselineResult, ...]:
    """Train and measure the baselines on the features the model gets.

    The linear model is that of :func:`fit_linear`. For a table, gradient boosting over histograms comes third, on the
    raw columns as they are and with the defaults of scikit-learn: it deals with missing values and categories itself.

    Args:
        contract: Names the metric and the group.
        train: Items to fit on.
        test: Items to measure on.
        train_features: [k · n, …] fitted features of ``train``, as :func:`fit_linear` takes them.
        test_features: [m, …] the same of ``test``.
        table: Whether the inputs are columns of a table.
        learned: Whether there are more than the majority class or the mean; without, features are not read.
        threads: CPU threads of gradient boosting, which takes all there are otherwise.
        progress: Told when each one is done.

    Returns:
        The simpler one first.
    """
    classify = contract.target.kind is TargetKind.CLASSIFICATION
    features = train_features, test_features
    simplest = DummyClassifier(strategy="most_frequent") if classify else DummyRegressor()
    models: list[tuple[str, Any, tuple[Array, Array]]] = [
        ("majority class" if classify else "mean", simplest, features),
    ]
    if learned:
        models.append((LINEAR, _linear(contract, len(train_features) // len(train)), features))
    if learned and table:
        (raw_train, categorical), (raw_test, _) = raw_columns(contract, train), raw_columns(contract, test)
        boosting = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        models.append((BOOSTING, boosting(categorical_features=categorical, random_state=0), (raw_train, raw_test)))
    name = contract.metric.primary
    groups = interval_groups(contract, test)
    results = []
    for done, (label, model, (fitted, measured)) in enumerate(models):
        progress(ProgressEvent(step="baseline", done=done, total=len(models), message=label))
        with threadpool_limits(threads, user_api="openmp"):
            predictions = _fit(model, fitted, train.targets).predict(_flat(measured))
        value = MetricValue(
            name=name,
            value=compute_metric(name, test.targets, predictions),
            interval=metric_interval(name, test.targets, predictions, groups),
            n=len(test),
        )
        results.append(BaselineResult(name=label, metric=value, predictions=predictions))
    progress(ProgressEvent(step="baseline", done=len(models), total=len(models)))
    return tuple(results)


def fit_linear(contract: Contract, features: Array, targets: Array) -> Pipeline:
    """The linear model: a logistic regression, or ridge regression for values, on standardised features.

    Args:
        contract: Says which of the two.
        features: [k · n, …] fitted features: all items, k times over, each time as augmentation changed them.
        targets: [n].

    Returns:
        scikit-learn's ``StandardScaler`` and the model, with its default regularisation, for which an item counts once
        however often it comes.
    """
    return _fit(_linear(contract, len(features) // len(targets)), features, targets)


def raw_columns(contract: Contract, data: LabelledData) -> tuple[Array, NDArray[np.bool_]]:
    """The inputs as gradient boosting takes them.

    Args:
        contract: Gives the order of the inputs.
        data: The items; integer inputs are categories, -1 where unknown.

    Returns:
        float64 [n, columns] with NaN where missing or unknown, and the mask [columns] of the categories. A column with
        more categories than scikit-learn takes counts as numbers.
    """
    parts, categorical = [], []
    for spec in contract.inputs:
        values = np.reshape(data.inputs[spec.name], (len(data), -1)).astype(np.float64)
        if spec.dtype is not DType.FLOAT32:
            values = np.where(values < 0, np.nan, values)
        parts.append(values)
        is_category = spec.dtype is not DType.FLOAT32 and spec.range[1] < _MAX_CATEGORIES
        categorical.append(np.full(values.shape[1], is_category))
    return np.concatenate(parts, axis=1), np.concatenate(categorical)


def _linear(contract: Contract, copies: int) -> Pipeline:
    if contract.target.kind is TargetKind.CLASSIFICATION:
        return make_pipeline(StandardScaler(), LogisticRegression(C=1 / copies, max_iter=_MAX_ITERATIONS, tol=1e-3))
    return make_pipeline(StandardScaler(), Ridge(alpha=copies))


def _fit(model: Any, features: Array, targets: Array) -> Any:
    with warnings.catch_warnings():
        # Not converged after that many iterations is near enough for a yardstick.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(_flat(features), np.tile(targets, len(features) // len(targets)))


def _flat(features: Array) -> Array:
    return np.reshape(features, (len(features), -1))


def best_baseline(results: tuple[BaselineResult, ...]) -> BaselineResult:
    """The better one by the metric, the simpler one of equals.

    Args:
        results: At least one.

    Returns:
        The one a model is compared with.
    """
    sign = 1 if results[0].metric.name.higher_is_better else -1
    return max(results, key=lambda result: sign * result.metric.value)
