"""The linear model as a network, and the rule by which it takes the network's place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgeml_evaluate import Interval, LabelledData
from edgeml_evaluate.scoring import MetricValue
from edgeml_runtime.contract import MetricName, MetricSpec, SliceRules, TargetKind, TargetSpec
from edgeml_runtime.errors import ProjectError
from edgeml_train.baseline import fit_linear
from edgeml_train.simpler import Comparison, Kept, ModelChoice, compare_models, empty_linear, linear_network

RNG = np.random.default_rng(11)


def items(classes, count=240, shape=(5,)):
    targets = RNG.integers(0, classes, count)
    features = RNG.normal(0, [1.0, 100.0, 1e-3, 5.0, 0.0], (count, 5))
    features[:, : min(classes, 4)] += 2 * np.eye(classes)[targets][:, :4] * [1.0, 100.0, 1e-3, 5.0][: min(classes, 4)]
    return features.reshape(count, *shape).astype(np.float32), targets


@pytest.fixture
def regression(project):
    return replace(
        project.contract,
        target=TargetSpec(name="y", kind=TargetKind.REGRESSION),
        metric=MetricSpec(primary=MetricName.RMSE, floor=1),
        slices=SliceRules(),
        group=None,
    )


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("shape", [(5,), (1, 5)])
def test_the_network_gives_the_scores_of_scikit_learn(project, classes, shape):
    features, targets = items(classes, shape=shape)
    fitted = fit_linear(project.contract, features, targets)
    network = linear_network(project.contract, fitted, classes)
    with torch.no_grad():
        logits = network(torch.from_numpy(features))

    assert logits.shape == (240, classes)
    assert not network.training
    # Weights in float32 against float64.
    expected = fitted.predict_proba(features.reshape(240, 5))
    np.testing.assert_allclose(torch.softmax(logits, dim=1).numpy(), expected, atol=1e-4)


def test_values_are_those_of_ridge(regression):
    features, _ = items(3)
    targets = 3 * features[:, 0] + 0.01 * features[:, 1] + 7
    fitted = fit_linear(regression, features, targets)
    with torch.no_grad():
        values = linear_network(regression, fitted, 1)(torch.from_numpy(features))

    assert values.shape == (240, 1)
    np.testing.assert_allclose(values[:, 0].numpy(), fitted.predict(features), rtol=1e-5, atol=1e-4)


def test_weights_fit_a_fresh_shape(project):
    features, targets = items(3)
    network = linear_network(project.contract, fit_linear(project.contract, features, targets), 3)
    fresh = empty_linear(5, 3)
    fresh.load_state_dict(network.state_dict())

    assert torch.equal(fresh(torch.from_numpy(features)), network(torch.from_numpy(features)))
    assert not fresh.training


def test_a_class_without_training_items_is_refused(project):
    features, targets = items(3)
    fitted = fit_linear(project.contract, features, np.minimum(targets, 1))
    with pytest.raises(
        ProjectError, match=r"items of all 3 classes .* found 2\. Split otherwise, or set train\.prefer"
    ):
        linear_network(project.contract, fitted, 3)


def labelled(targets, machines=1):
    machine = np.array([f"m{i % machines}" for i in range(len(targets))])
    return LabelledData(
        inputs={"x": np.zeros((len(targets), 6), np.float32)}, targets=targets, attributes={"machine": machine}
    )


RIGHT = np.zeros(300, int)
FEW_WRONG = np.where(np.arange(300) < 2, 1, 0)
MANY_WRONG = np.where(np.arange(300) < 40, 1, 0)


@pytest.mark.parametrize(
    ("candidate", "reference", "advantage", "beats"),
    [
        (RIGHT, MANY_WRONG, 40 / 300, True),
        (MANY_WRONG, RIGHT, -40 / 300, False),
        (RIGHT, FEW_WRONG, 2 / 300, False),
        (RIGHT, RIGHT, 0.0, False),
    ],
)
def test_only_what_is_beyond_noise_beats(project, candidate, reference, advantage, beats):
    found = compare_models(project.contract, labelled(RIGHT), candidate=candidate, reference=reference)

    assert found.advantage == pytest.approx(advantage)
    assert found.interval.low < found.advantage < found.interval.high
    assert (found.beats, found.n) == (beats, 300)


def test_a_smaller_error_is_the_advantage(regression):
    targets = np.linspace(0, 1, 300)
    near, far = targets + 0.1, targets + np.where(np.arange(300) % 2, 0.2, 0.4)
    data = LabelledData(inputs={"x": np.zeros((300, 6), np.float32)}, targets=targets)

    found = compare_models(regression, data, candidate=near, reference=far)
    assert found.advantage == pytest.approx(np.sqrt(0.1) - 0.1)
    assert found.beats
    assert not compare_models(regression, data, candidate=far, reference=near).beats


def test_the_contracts_groups_are_drawn(project):
    wrong = np.repeat(np.arange(300) % 10 == 0, 1).astype(int)
    found = compare_models(project.contract, labelled(RIGHT, machines=10), candidate=RIGHT, reference=wrong)

    assert found.interval.method == "cluster-bootstrap"
    assert "10 groups only" in found.interval.note
    assert not found.beats  # one machine of ten makes the whole advantage


@pytest.mark.parametrize(("low", "kept"), [(0.001, Kept.NETWORK), (0.0, Kept.LINEAR), (-0.001, Kept.LINEAR)])
def test_the_network_is_kept_where_its_whole_advantage_is_above_zero(low, kept):
    interval = Interval(low=low, high=0.2, level=0.95, method="agresti-min")
    metric = MetricValue(name=MetricName.ACCURACY, value=0.9, interval=interval, n=50)
    choice = ModelChoice(comparison=Comparison(advantage=0.1, interval=interval, n=80), network=metric)

    assert choice.kept is kept
    values = choice.to_dict()
    assert set(values) == {"kept", "validation", "network"}
    assert values["validation"] == {
        "advantage": 0.1,
        "interval": interval.to_dict(),
        "n": 80,
        "beats": kept is Kept.NETWORK,
    }
    assert (values["kept"], values["network"]["value"]) == (kept.value, 0.9)
