"""The layers of a traced model: which there are, whose they are, and how much they compute."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from edgeml_export.graph.layers import find_layers


class Model(nn.Module):
    """A model behind the name that every traced one has."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def traced(model, *shape, open_batch=False):
    """The graph of a model for items of a shape."""
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2 if open_batch else 1, *shape)
    return torch.export.export(
        Model(model).eval(), (example,), dynamic_shapes=({0: batch},) if open_batch else None, strict=False
    ).module(check_guards=False)


def counted(model, *shape):
    """Multiplications with additions of one item, as PyTorch counts them."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def constant(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


class Product(nn.Module):
    """Any function of the input and of one constant."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function = function
        self.register_buffer("constant", constant(*shape))

    def forward(self, x):
        return self.function(x, self.constant)


# Operator, position of its weight, axis of output channels, model, shape of an item.
KINDS = {
    "linear": ("linear", 1, 0, nn.Linear(5, 3), (5,)),
    "linear over frames": ("linear", 1, 0, nn.Linear(5, 3), (7, 5)),
    "conv1d": ("conv1d", 1, 0, nn.Conv1d(4, 6, 3, stride=2), (4, 20)),
    "conv2d": ("conv2d", 1, 0, nn.Conv2d(3, 8, (3, 5), stride=2, padding=1), (3, 12, 10)),
    "grouped": ("conv2d", 1, 0, nn.Conv2d(6, 8, 3, groups=2, dilation=2), (6, 12, 10)),
    "depthwise": ("conv2d", 1, 0, nn.Conv2d(6, 6, 3, groups=6), (6, 12, 10)),
    "same": ("conv2d", 1, 0, nn.Conv2d(3, 4, 3, padding="same"), (3, 5, 5)),
    "conv3d": ("conv3d", 1, 0, nn.Conv3d(2, 3, 2), (2, 4, 5, 6)),
    "conv_transpose1d": ("conv_transpose1d", 1, 1, nn.ConvTranspose1d(4, 6, 4, stride=2), (4, 9)),
    "conv_transpose2d": ("conv_transpose2d", 1, 1, nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1), (4, 5, 6)),
    "grouped transposed": ("conv_transpose2d", 1, 1, nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 5, 6)),
    "matmul": ("matmul", 1, -1, Product(lambda x, w: x @ w, 5, 3), (7, 5)),
    "matmul of a batch": ("matmul", 1, -1, Product(lambda x, w: x @ w, 3, 5, 4), (3, 7, 5)),
    "matmul from the left": ("matmul", 0, -2, Product(lambda x, w: w @ x, 3, 7), (7, 5)),
    "mm": ("mm", 1, -1, Product(lambda x, w: torch.mm(x.flatten(1), w), 35, 4), (7, 5)),
    "addmm": ("addmm", 2, -1, Product(lambda x, w: torch.addmm(torch.ones(4), x, w), 5, 4), (5,)),
    "functional": ("conv2d", 1, 0, Product(functional.conv2d, 4, 3, 2, 2), (3, 5, 5)),
    "computed weights": ("linear", 1, 0, Product(lambda x, w: functional.linear(x, w * 2 + 1), 4, 5), (5,)),
}


@pytest.mark.parametrize("open_batch", [False, True], ids=["one item", "open batch"])
@pytest.mark.parametrize(("operator", "position", "axis", "model", "shape"), KINDS.values(), ids=KINDS)
def test_kinds_of_layers(operator, position, axis, model, shape, open_batch):
    graph = traced(model, *shape, open_batch=open_batch)
    (layer,) = find_layers(graph)
    assert (layer.operator, layer.weight_position, layer.channel_axis) == (operator, position, axis)
    assert layer.macs == counted(model, *shape)
    assert layer.node.args[position] is not layer.source
    assert layer.source.meta["val"].shape[1:] == shape or operator == "mm"
    outputs = layer.node.meta["val"].shape[1 if operator.startswith("conv") else axis if operator == "matmul" else -1]
    assert layer.weight.shape[axis] * (model.groups if axis == 1 else 1) == outputs


# What looks like a layer, and has no weights.
NONE = {
    "two activations": (lambda x: x @ x.transpose(1, 2), (7, 5)),
    "a vector": (lambda x: x @ torch.arange(5.0), (7, 5)),
    "weights of the input's own": (lambda x: functional.linear(x, x[0]), (7, 5)),
    "two constants": (lambda x: x + torch.ones(4, 3) @ torch.ones(3, 5), (4, 5)),
    "no product": (lambda x: x * torch.arange(5.0), (7, 5)),
}


@pytest.mark.parametrize(("function", "shape"), NONE.values(), ids=NONE)
def test_what_is_no_layer(function, shape):
    model = nn.Module()
    model.forward = function
    assert find_layers(traced(model, *shape)) == ()


def test_layers_have_the_paths_of_their_modules():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
            self.head = nn.Linear(4, 2)
            self.weight = nn.Parameter(constant(2, 2))

        def forward(self, x):
            return functional.linear(self.head(self.inner(x).mean((2, 3))), self.weight)

    layers = find_layers(traced(nn.Sequential(OrderedDict(block=Block())), 3, 5, 5))
    assert [layer.path for layer in layers] == ["block.inner.0", "block.inner.2", "block.head", "block"]
    alone = find_layers(traced(Product(lambda x, w: x @ w, 5, 3), 5))
    assert [layer.path for layer in alone] == [""]


def test_a_layer_of_many_weights_is_one_too():
    (layer,) = find_layers(traced(nn.Linear(2100, 2100), 2100))
    assert layer.macs == layer.weight.numel() == 2100**2
