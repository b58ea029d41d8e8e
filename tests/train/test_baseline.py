from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_runtime.contract import MetricName, MetricSpec, SliceRules, TargetKind, TargetSpec
from edgeml_runtime.tensors import DType, InputSpec
from edgeml_train.baseline import BOOSTING, BaselineResult, best_baseline, fit_baselines, raw_columns


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


def table_contract(contract, largest=2):
    numbers, categories = (
        InputSpec(
            name=name, dtype=dtype, shape=(columns,), range=limits, unit="1", source="test", allow_missing=missing
        )
        for name, dtype, columns, limits, missing in (
            ("numbers", DType.FLOAT32, 2, (-100.0, 100.0), True),
            ("categories", DType.INT32, 1, (-1.0, float(largest)), False),
        )
    )
    return replace(contract, inputs=(numbers, categories))


def table(n, seed):
    """Only the category says which class, and not in an order that a line could follow."""
    rng = np.random.default_rng(seed)
    categories = rng.integers(-1, 3, (n, 1), dtype=np.int32)
    numbers = np.where(rng.random((n, 2)) < 0.2, np.nan, rng.normal(0, 1, (n, 2))).astype(np.float32)
    targets = np.array([1, 0, 1, 2])[categories[:, 0] + 1]
    machine = np.array([f"m{i % 40}" for i in range(n)])
    return LabelledData(
        inputs={"categories": categories, "numbers": numbers}, targets=targets, attributes={"machine": machine}
    )


def test_raw_columns_are_in_the_contracts_order_with_nan_for_what_is_unknown(project):
    data = table(50, 1)
    values, categorical = raw_columns(table_contract(project.contract), data)

    assert values.shape == (50, 3)
    assert categorical.tolist() == [False, False, True]
    np.testing.assert_array_equal(values[:, :2], data.inputs["numbers"].astype(float))
    unknown = data.inputs["categories"][:, 0] == -1
    assert unknown.any()
    np.testing.assert_array_equal(np.isnan(values[:, 2]), unknown)
    np.testing.assert_array_equal(values[~unknown, 2], data.inputs["categories"][~unknown, 0])


@pytest.mark.parametrize(("largest", "categorical"), [(254, True), (255, False)])
def test_too_many_categories_count_as_numbers(project, largest, categorical):
    assert raw_columns(table_contract(project.contract, largest), table(9, 1))[1][-1] == categorical


def test_gradient_boosting_is_the_third_baseline_of_a_table(project):
    contract, (train, test) = table_contract(project.contract), (table(300, 1), table(200, 2))
    features = [np.nan_to_num(data.inputs["numbers"]) for data in (train, test)]
    events = []
    results = fit_baselines(contract, train, test, *features, table=True, progress=events.append)

    assert [result.name for result in results] == ["majority class", "linear model", "gradient boosting"]
    # From the raw columns it sees the category, which the features leave out; from missing values and unknowns too.
    assert results[2].metric.value == 1.0
    assert results[1].metric.value < 0.7
    assert best_baseline(results).name == BOOSTING
    assert [event.done for event in events] == [0, 1, 2, 3]
    assert [np.mean(result.predictions == test.targets) for result in results] == [
        result.metric.value for result in results
    ]


def test_boosting_repeats_itself(project):
    contract, (train, test) = table_contract(project.contract), (table(300, 1), table(200, 2))
    features = [np.nan_to_num(data.inputs["numbers"]) for data in (train, test)]
    first, again = (fit_baselines(contract, train, test, *features, table=True) for _ in range(2))

    assert first == again


def test_values_are_boosted_too(project):
    contract = replace(
        table_contract(project.contract),
        target=TargetSpec(name="y", kind=TargetKind.REGRESSION),
        metric=MetricSpec(primary=MetricName.MAE, floor=1),
        slices=SliceRules(),
        group=None,
    )
    train, test = (replace(data, targets=data.targets.astype(np.float32)) for data in (table(300, 1), table(200, 2)))
    features = [np.nan_to_num(data.inputs["numbers"]) for data in (train, test)]
    results = fit_baselines(contract, train, test, *features, table=True)

    assert [result.name for result in results] == ["mean", "linear model", "gradient boosting"]
    assert results[2].metric.value < 0.1 < results[1].metric.value
