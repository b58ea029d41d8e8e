from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_runtime.contract import MetricName, MetricSpec, SliceRules, TargetKind, TargetSpec
from edgeml_train.baseline import BaselineResult, best_baseline, fit_baselines


def blobs(n, seed):
    rng = np.random.default_rng(seed)
    targets = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    x = (np.eye(3)[targets] * 6 + rng.normal(0, 1, (n, 3))).astype(np.float32)
    return LabelledData(
        inputs={"x": x}, targets=targets, attributes={"machine": np.array([f"m{i % 2}" for i in range(n)])}
    )


def test_majority_class_and_linear_model(project):
    train, test = blobs(200, 1), blobs(100, 2)
    events = []

    results = fit_baselines(
        project.contract, train, test, train.inputs["x"], test.inputs["x"].reshape(100, 1, 3), progress=events.append
    )

    assert [result.name for result in results] == ["majority class", "linear model"]
    assert results[0].metric.value == np.mean(test.targets == np.bincount(train.targets).argmax())
    assert results[1].metric.value > 0.95
    assert results[1].metric.interval.method == "cluster-bootstrap"
    assert best_baseline(results) is results[1]
    assert [event.done for event in events] == [0, 1, 2]


def test_the_linear_model_standardises(project):
    """Without it, columns in small units would hardly count under the regularisation."""
    train, test = blobs(200, 1), blobs(100, 2)
    results = fit_baselines(project.contract, train, test, train.inputs["x"] * 1e-6, test.inputs["x"] * 1e-6)

    assert results[1].metric.value > 0.95


def test_regression_compares_with_the_mean_and_the_smaller_error_wins(project):
    contract = replace(
        project.contract,
        target=TargetSpec(name="y", kind=TargetKind.REGRESSION),
        metric=MetricSpec(primary=MetricName.RMSE, floor=1),
        slices=SliceRules(),
        group=None,
    )
    x = np.linspace(-1, 1, 50, dtype=np.float32)[:, None]
    data = LabelledData(inputs={"x": x}, targets=3 * x[:, 0] + 1)

    results = fit_baselines(contract, data, data, x, x)

    assert [result.name for result in results] == ["mean", "linear model"]
    assert results[0].metric.value == pytest.approx(float(np.std(data.targets)), rel=1e-5)
    assert best_baseline(results).name == "linear model"


def test_the_simpler_one_of_equals_wins(project):
    train, test = blobs(50, 1), blobs(20, 2)
    results = fit_baselines(project.contract, train, test, train.inputs["x"], test.inputs["x"])
    equal = (results[0], replace(results[1], metric=results[0].metric))

    assert best_baseline(equal) is equal[0]


def test_dict_round_trip(project):
    train, test = blobs(50, 1), blobs(20, 2)
    result = fit_baselines(project.contract, train, test, train.inputs["x"], test.inputs["x"])[0]
    values = result.to_dict()

    assert (values["name"], values["metric"]) == ("majority class", "accuracy")
    assert BaselineResult.from_dict(values) == result
