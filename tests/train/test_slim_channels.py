"""Which channels go together, which stay, and that what is left computes what it did."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.networks import digit_cnn, ds_cnn, mobilenet_v1
from edgeml_train.slim import NetworkShape, find_channels
from edgeml_train.slim.channels import count_macs, kept_count, slimmed
from edgeml_train.slim.slots import Slot


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


networks = load("slim_networks")


def made(build, shape):
    torch.manual_seed(0)
    network = build().eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return network, torch.randn(2, *shape)


def masked(network, shape, example):
    whole = copy.deepcopy(network)
    shape.masked(whole)
    return whole(example)


@pytest.mark.parametrize("name", networks.SLIMMABLE)
def test_channels_that_can_go(name):
    build, shape, groups, stay = networks.SLIMMABLE[name]
    network, example = made(build, shape)
    channels = find_channels(network, example)

    assert {" ".join(group.layers): len(group.channels) for group in channels.groups} == groups
    others = {path: why for path, why in channels.left_alone.items() if why != "they are the model's outputs"}
    assert others == stay
    assert len(channels.left_alone) == len(stay) + 1


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("name", networks.SLIMMABLE)
@torch.no_grad()
def test_what_is_left_computes_what_it_did(name, keep):
    build, shape, _, _ = networks.SLIMMABLE[name]
    network, example = made(build, shape)
    before = copy.deepcopy(network.state_dict())
    slim, kept = slimmed(network, find_channels(network, example), keep, example)

    torch.testing.assert_close(slim(example), masked(network, kept, example), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    if keep < 0.9:  # with few channels, all of them stay
        fewer = sum(parameter.numel() for parameter in slim.parameters())
        assert fewer < sum(parameter.numel() for parameter in network.parameters())
        assert count_macs(slim, example) < count_macs(network, example)
        assert not torch.allclose(slim(example), network(example))


@pytest.mark.parametrize("name", networks.SLIMMABLE)
@torch.no_grad()
def test_a_fresh_network_takes_the_stored_shape_and_weights(name):
    build, shape, _, _ = networks.SLIMMABLE[name]
    network, example = made(build, shape)
    slim, kept = slimmed(network, find_channels(network, example), 0.5, example)
    again = build().eval()
    NetworkShape.from_dict(json.loads(json.dumps(kept.to_dict()))).apply(again)
    again.load_state_dict(slim.state_dict())
    buffers = dict(network.named_buffers())

    assert [(key, value.shape) for key, value in again.named_parameters()] == [
        (key, value.shape) for key, value in slim.named_parameters()
    ]
    torch.testing.assert_close(again(example), slim(example))
    assert set(dict(again.named_buffers())) == set(buffers)
    assert str(again) == str(slim)
    assert all(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("name", networks.LEFT_ALONE)
def test_channels_that_stay_are_named_with_the_reason(name):
    build, shape, stay = networks.LEFT_ALONE[name]
    network, example = made(build, shape)
    channels = find_channels(network, example)

    assert not [group for group in channels.groups if set(group.layers) & set(stay)]
    for path, why in stay.items():
        assert why in channels.left_alone[path]


def test_outputs_are_never_touched():
    network, example = made(lambda: ds_cnn(3, channels=8, blocks=2), (1, 21, 10))
    slim, kept = slimmed(network, find_channels(network, example), 0.25, example)

    assert slim[-1].out_features == 3
    assert set(kept.kept["17.weight"]) == {1}
    assert "17.bias" not in kept.kept
    assert set(kept.kept["0.weight"]) == {0}  # and what reads the input is whole


def test_layers_know_their_new_sizes():
    network, example = made(lambda: ds_cnn(3, channels=8, blocks=1), (1, 21, 10))
    slim, _ = slimmed(network, find_channels(network, example), 0.5, example)
    first, norm, depthwise, pointwise = slim[0], slim[1], slim[3], slim[6]

    assert (first.in_channels, first.out_channels) == (1, 4)
    assert norm.num_features == 4
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (4, 4, 4)
    assert (pointwise.in_channels, pointwise.out_channels) == (4, 4)
    assert (slim[-1].in_features, slim[-1].out_features) == (4, 3)


@torch.no_grad()
def test_the_weakest_filters_go():
    network, example = made(lambda: digit_cnn(3, width=8), (1, 8, 8))
    network[0].weight[[1, 2, 5, 7]] *= 1e-3
    _, kept = slimmed(network, find_channels(network, example), 0.5, example)

    assert kept.kept["0.weight"][0] == (0, 3, 4, 6)
    assert kept.kept["1.running_var"][0] == kept.kept["3.weight"][1] == (0, 3, 4, 6)


@torch.no_grad()
def test_filters_count_with_the_scale_of_their_normalisation():
    network, example = made(lambda: digit_cnn(3, width=8), (1, 8, 8))
    network[0].weight[:] = 1.0
    network[1].weight[:] = 1.0
    network[1].running_var[:] = 1.0
    network[1].weight[[0, 3]] = 0.01
    network[1].running_var[[4, 6]] = 1e4
    _, kept = slimmed(network, find_channels(network, example), 0.5, example)

    assert kept.kept["0.weight"][0] == (1, 2, 5, 7)


@torch.no_grad()
def test_of_equal_channels_the_first_stay():
    network, example = made(lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), (8,))
    network[0].weight[:] = 0.5
    _, kept = slimmed(network, find_channels(network, example), 0.5, example)

    assert kept.kept["0.weight"][0] == (0, 1, 2)


def test_the_same_weights_lose_the_same_channels():
    network, example = made(lambda: mobilenet_v1(3, size=(16, 16)), (3, 16, 16))
    shapes = [slimmed(copy.deepcopy(network), find_channels(network, example), 0.5, example)[1] for _ in range(2)]

    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("channels", "keep", "left"),
    [
        (64, 0.5, 32),
        (64, 0.4, 24),
        (64, 0.01, 8),
        (64, 1.0, 64),
        (20, 0.9, 16),
        (20, 1.0, 20),
        (16, 0.5, 8),
        (15, 0.5, 8),
        (6, 0.5, 3),
        (2, 0.1, 1),
    ],
)
def test_how_many_channels_stay(channels, keep, left):
    assert kept_count(channels, keep) == left


@torch.no_grad()
def test_slimming_twice_is_one_shape():
    network, example = made(networks.Concatenated, networks.IMAGE)
    once, first = slimmed(network, find_channels(network, example), 0.75, example)
    twice, second = slimmed(once, find_channels(once, example), 0.5, example)
    both = first.then(second)
    again = copy.deepcopy(network)
    both.apply(again)

    torch.testing.assert_close(again(example), twice(example))
    assert both.since(first) == NetworkShape(kept={**both.kept, **second.kept})
    assert both.since(None) == both


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ({"0.weight": {0: (0, 9)}}, "'0.weight' with at least 10 entries along axis 0"),
        ({"7.weight": {0: (0,)}}, "'7.weight'"),
        ({"0.scale": {0: (0,)}}, "'0.scale'"),
    ],
)
def test_a_shape_of_another_network_is_refused(kept, named):
    network = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    with pytest.raises(ProjectError, match="the slimmed network: expected") as caught:
        NetworkShape(kept=kept).apply(network)

    assert named in str(caught.value)


def test_a_shape_names_what_is_left():
    network = nn.Linear(4, 3)
    shape = NetworkShape.without(network, [Slot("weight", 1, 2), Slot("weight", 1, 0)])

    assert shape.kept == {"weight": {1: (1, 3)}}


def test_a_network_that_cannot_be_traced_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ProjectError, match=r"cannot trace network\(\) of task.py"):
        find_channels(Branching(), torch.randn(2, 4))


def test_work_is_that_of_one_item():
    network, example = made(lambda: ds_cnn(10), (1, 61, 40))

    assert count_macs(network, example) == pytest.approx(4.6e6, rel=0.01)
