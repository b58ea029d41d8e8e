from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import compute_metric, decide, decision_output
from edgeml_runtime.contract import MetricName
from edgeml_runtime.errors import InputError

TARGETS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
PREDICTIONS = np.array([0, 0, 0, 1, 1, 2, 2, 2])


# Worked out by hand from the definitions: recalls 3/4, 1/2, 1; precisions 1, 1/2, 2/3.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (MetricName.ACCURACY, 6 / 8),
        (MetricName.BALANCED_ACCURACY, (3 / 4 + 1 / 2 + 1) / 3),
        (MetricName.MACRO_F1, (6 / 7 + 1 / 2 + 4 / 5) / 3),
        (MetricName.MAE, 2 / 8),
        (MetricName.RMSE, (2 / 8) ** 0.5),
    ],
)
def test_values(name, expected):
    assert compute_metric(name, TARGETS, PREDICTIONS) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [MetricName.BALANCED_ACCURACY, MetricName.MACRO_F1])
def test_a_class_that_is_only_predicted_is_not_averaged(name):
    assert compute_metric(name, np.array([1, 1]), np.array([1, 1])) == 1.0
    value = compute_metric(name, np.array([1, 1]), np.array([1, 2]))
    assert value == pytest.approx({"balanced_accuracy": 0.5, "macro_f1": 2 / 3}[name.value])


@pytest.mark.parametrize("predictions", [np.array([]), np.array([1, 2])])
def test_length_is_checked(predictions):
    with pytest.raises(InputError, match="as many predictions as targets"):
        compute_metric(MetricName.ACCURACY, np.array([1][: len(predictions)]), predictions)


def test_classification_decides_by_the_largest(contract):
    assert decide(contract, np.array([[0.1, 0.7, 0.2], [5, 5, 1]])).tolist() == [1, 0]


def test_regression_decides_by_the_value(regression):
    assert decide(regression, np.array([[1.5], [2.0]], np.float32)).tolist() == [1.5, 2.0]
    assert decide(regression, np.array([1.5, 2.0])).tolist() == [1.5, 2.0]


def test_shapes_that_do_not_fit_are_refused(contract, regression):
    with pytest.raises(InputError, match=r"logits of shape \[n, classes\], found \[3\]"):
        decide(contract, np.zeros(3))
    with pytest.raises(InputError, match=r"found \[3, 2\]"):
        decide(regression, np.zeros((3, 2)))


def test_the_deciding_output_is_logits_before_scores(contract, regression):
    assert decision_output(contract) == "logits"
    assert decision_output(replace(contract, outputs=contract.outputs[1:])) == "scores"
    assert decision_output(regression) == "value"
