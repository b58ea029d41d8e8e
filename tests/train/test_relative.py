"""Readings relative to the machine's own, and the autoencoder that scores them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features import Relative
from edgeml_train.networks import ReconstructionScore, ScoringAutoencoder, count_parameters

RNG = np.random.default_rng(3)
READINGS = torch.from_numpy(RNG.normal(70, 4, (5, 12)).astype(np.float32))
LEVEL, SPREAD = torch.full((5, 1), 70.0), torch.full((5, 1), 4.0)


def test_mean_and_deviation_of_each_block_in_the_machines_own_spread():
    found = Relative(length=12, block=4)(READINGS, LEVEL, SPREAD)
    blocks = ((READINGS.numpy() - 70) / 4).reshape(5, 3, 4)
    assert found.shape == (5, 6)
    assert found[:, :3].numpy() == pytest.approx(blocks.mean(axis=2), abs=1e-6)
    assert found[:, 3:].numpy() == pytest.approx(np.sqrt(blocks.var(axis=2) + 1e-6), abs=1e-6)


def test_machines_of_other_level_and_unit_look_alike():
    features = Relative(length=12, block=3)
    celsius = (READINGS - 32) / 1.8
    assert torch.allclose(
        features(READINGS, LEVEL, SPREAD), features(celsius, (LEVEL - 32) / 1.8, SPREAD / 1.8), atol=1e-5
    )


def test_the_utmost_a_contract_allows_stays_finite():
    features = Relative(length=4, block=2)
    for reading in (-1e9, 1e9):
        found = features(torch.full((1, 4), reading), torch.tensor([[-reading]]), torch.tensor([[1e-6]]))
        assert torch.isfinite(found).all()
        assert found.abs().max() <= 8.0


@pytest.mark.parametrize(("length", "block"), [(12, 5), (12, 0), (4, 8)])
def test_a_block_that_does_not_divide_the_window_is_refused(length, block):
    with pytest.raises(ProjectError, match="a block that divides the window"):
        Relative(length=length, block=block)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (READINGS.numpy(), "found one array"),
        ({"readings": READINGS.numpy()}, r"found \[\[12\]\]"),
        ({"a": READINGS.numpy(), "b": LEVEL.numpy(), "c": 0 * SPREAD.numpy()}, "expected spreads above 0"),
    ],
)
def test_other_inputs_are_refused(inputs, message):
    with pytest.raises(ProjectError, match=message):
        Relative(length=12, block=4).fit(inputs)


def test_the_score_is_error_and_code_in_their_units():
    features, rebuilt, code = torch.ones(2, 4), torch.tensor([[1.0, 1, 1, 1], [3, 1, 1, 1]]), torch.tensor([[3.0], [0]])
    assert ReconstructionScore(2.0)(features, rebuilt, code).tolist() == [[9 / 4], [2 / 4]]
    assert ReconstructionScore(2.0)(features, rebuilt).tolist() == [[0.0], [2 / 4]]


def test_the_autoencoder_is_noisy_in_training_only():
    torch.manual_seed(0)
    network = ScoringAutoencoder(10, hidden=6, codes=2)
    features = torch.randn(3, 10)
    assert network(features).shape == (3, 1)
    assert not torch.equal(network.train()(features), network(features))
    assert torch.equal(network.eval()(features), network(features))
    assert count_parameters(network) == 10 * 6 + 6 + 6 * 2 + 2 + 2 * 6 + 6 + 6 * 10 + 10


def test_what_was_never_seen_scores_higher():
    torch.manual_seed(0)
    usual = torch.randn(512, 2) @ torch.randn(2, 8)
    network = ScoringAutoencoder(8, hidden=16, codes=2, variance=0.5)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        network(usual).mean().backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        known, far = network(usual).mean(), network(5 * usual).mean()
        shape = network(usual.std() * torch.randn(512, 8)).mean()
    assert shape > 2 * known
    assert far > 5 * known
