"""Affine maps in the weights behind them, compared with PyTorch at every place of the first layer's output."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeml_export.graph.input_chain import is_layout, operator_name
from edgeml_export.tracing import trace


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


users = load("user_networks")

IMAGE = {"image": ("uint8", (6, 7, 3))}
SIX = {"image": ("int16", (6, 5, 4))}
WAVE = {"wave": ("int16", (120,))}
SENSORS = {"sensors": ("float32", (5,))}
SERIES = {"sensors": ("float32", (16, 5))}
CLIP = {"clip": ("uint8", (3, 4, 5, 6))}

# float32 rounds to 6e-8; a scale in the weights and an offset in the bias move the roundings of some tens of terms.
# Measured: 2.1e-6 of the standard deviation at most.
CLOSE = 1e-5


def channels(s, x):
    """What differs from channel to channel: three means and deviations, channels in front."""
    return ((x.float() - s.mean) / s.std).permute(0, 3, 1, 2)


def six(_, x):
    """Six planes of samples, each with a mean and a deviation of its own."""
    steps = torch.arange(1.0, 7.0).view(6, 1, 1)
    return (x.float() - 100 * steps) / (2000 * steps)


def sensors(_, x):
    return (x - torch.arange(10.0, 15.0)) / torch.arange(1.0, 6.0)


def layers(*modules):
    torch.manual_seed(5)
    for module in modules:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    return nn.Sequential(*modules, nn.Flatten())


class Shared(nn.Module):
    """Two convolutions with one weight, of which only the first reads the input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.weight = nn.Parameter(torch.randn(3, 3, 1, 1))

    def forward(self, x):
        return functional.conv2d(functional.conv2d(x, self.weight), self.weight).flatten(1)


class Product(nn.Module):
    """A matrix product with a fixed basis, such as a discrete Fourier transform, over frames of a signal."""

    def __init__(self, size=20):
        super().__init__()
        angle = 2 * np.pi * np.outer(np.arange(size), np.arange(size // 2)) / size
        self.register_buffer("basis", torch.tensor(np.cos(angle), dtype=torch.float32))

    def forward(self, x):
        frames = x.reshape(x.shape[0], -1, len(self.basis))
        return (frames @ self.basis).flatten(1)


class OwnWeights(nn.Module):
    """A convolution of an image with a part of itself."""

    def forward(self, x):
        return functional.conv2d(x, x[:, :, :2, :2].relu()).flatten(1)


class Lone(nn.Module):
    """A convolution of one image without a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.layer = nn.Conv2d(4, 2, 3)

    def forward(self, x):
        return self.layer(x).reshape(1, -1)


def spread(x):
    return functional.pad(x, (0, 1, 0, 1))


PADDING = "the offset is not because its zero padding stands for normalised values"
BOTH = "scale and offset are in the weights of the first"

# What is folded: inputs, preprocessing, network, the text, and what is left in front of the layer.
FOLDED = {
    "convolution": (IMAGE, channels, layers(nn.Conv2d(3, 4, 3)), f"{BOTH} conv2d", ["to"]),
    "without a bias": (IMAGE, channels, layers(nn.Conv2d(3, 4, 3, bias=False)), f"{BOTH} conv2d", ["to"]),
    "valid padding": (IMAGE, channels, layers(nn.Conv2d(3, 4, 3, padding="valid")), f"{BOTH} conv2d", ["to"]),
    "dilated": (IMAGE, channels, layers(nn.Conv2d(3, 4, 3, dilation=2)), f"{BOTH} conv2d", ["to"]),
    "strided": (IMAGE, channels, layers(nn.Conv2d(3, 4, (2, 3), stride=(2, 3))), f"{BOTH} conv2d", ["to"]),
    "depthwise": (SIX, six, layers(nn.Conv2d(6, 12, 3, groups=6)), f"{BOTH} conv2d", ["to"]),
    "grouped": (SIX, six, layers(nn.Conv2d(6, 4, 3, groups=2)), f"{BOTH} conv2d", ["to"]),
    "padded": (IMAGE, channels, layers(nn.Conv2d(3, 4, 3, padding=1)), PADDING, ["to", "add"]),
    "padded along one axis": (IMAGE, channels, layers(nn.Conv2d(3, 4, 3, padding=(0, 1))), PADDING, ["to", "add"]),
    "same padding": (IMAGE, channels, layers(nn.Conv2d(3, 4, (3, 5), padding="same")), PADDING, ["to", "add"]),
    "padded and grouped": (SIX, six, layers(nn.Conv2d(6, 6, 3, groups=3, padding=2)), PADDING, ["to", "add"]),
    "padded in front of it": (
        IMAGE, lambda s, x: spread(channels(s, x)), layers(nn.Conv2d(3, 4, 3, stride=2)), PADDING, ["to", "add", "pad"]
    ),
    "nothing but a scale, padded": (
        IMAGE, lambda _, x: x.permute(0, 3, 1, 2) / torch.tensor([50.0, 60.0, 70.0]).view(3, 1, 1),
        layers(nn.Conv2d(3, 4, 3, padding=1)), "the scale is in the weights of the first conv2d", ["to"],
    ),
    "negative, padded": (
        IMAGE, lambda _, x: (1 - x / 255).permute(0, 3, 1, 2), layers(nn.Conv2d(3, 4, 3, padding=1)), PADDING,
        ["to", "add"],
    ),
    "zero scale": (
        IMAGE, lambda _, x: x.permute(0, 3, 1, 2) * torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1) / 99 + 1,
        layers(nn.Conv2d(3, 4, 3)), f"{BOTH} conv2d", ["to"],
    ),
    "batch norm": (
        {"planes": ("uint8", (3, 6, 7))}, lambda _, x: x.float(), layers(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        f"{BOTH} conv2d", ["to"],
    ),
    "signal": (
        WAVE, lambda _, x: (x / 32768)[:, None], layers(nn.Conv1d(1, 4, 9, padding=4)),
        "the scale is in the weights of the first conv1d", ["to"],
    ),
    "clip": (
        CLIP, lambda s, x: (x - s.mean.view(3, 1, 1, 1)) / 50, layers(nn.Conv3d(3, 2, 2)), f"{BOTH} conv3d", ["to"]
    ),
    "series": (SERIES, lambda s, x: sensors(s, x).mT, layers(nn.Conv1d(5, 4, 3)), f"{BOTH} conv1d", []),
    "linear": (SENSORS, sensors, layers(nn.Linear(5, 4)), f"{BOTH} linear", []),
    "linear without a bias": (SENSORS, sensors, layers(nn.Linear(5, 4, bias=False)), f"{BOTH} linear", []),
    "linear over a series": (SERIES, sensors, layers(nn.Linear(5, 4)), f"{BOTH} linear", []),
    "flattened": (IMAGE, lambda s, x: channels(s, x).flatten(1), layers(nn.Linear(126, 4)), f"{BOTH} linear", ["to"]),
    "one weight for two": (IMAGE, channels, Shared(), f"{BOTH} conv2d", ["to"]),
    "constant product": (
        WAVE, lambda _, x: x / 32768, Product(), "the scale is in the weights of the first matmul", ["to"]
    ),
    "constant product with an offset": (
        WAVE, lambda _, x: x / 32768 + 0.25, Product(), "the offset is not because it has no bias", ["to", "add"]
    ),
    "a mean far from zero": (
        SENSORS, lambda _, x: (x - 5000) / 3, layers(nn.Linear(5, 4)), "too large beside the scale", ["add"]
    ),
}  # fmt: skip


def deviation(graph, prepared, data):
    """Largest difference from PyTorch's own answers, in standard deviations of these."""
    expected = users.eager(prepared, data)
    with torch.no_grad():
        found = [graph.module(*graph.feed(prepared.input_names, data, index))[0] for index in range(len(expected))]
    return float(np.abs(torch.cat(found).numpy() - expected).max() / expected.std())


def front(graph):
    """The operators in front of the first layer, changes of layout apart."""
    found = []
    for node in graph.module.graph.nodes:
        if operator_name(node) in ("conv1d", "conv2d", "conv3d", "linear", "matmul"):
            return found
        if node.op == "call_function" and not is_layout(node):
            found.append(operator_name(node))
    raise AssertionError("no layer")


@pytest.mark.parametrize(("inputs", "function", "network", "text", "left"), FOLDED.values(), ids=FOLDED)
def test_folding(inputs, function, network, text, left):
    prepared, items = users.make(function, network, inputs)
    found = trace(prepared)
    assert front(found.folded) == left
    assert list(found.folded.foldings[0].remaining) == left
    assert text in found.folded.foldings[0].folded
    assert deviation(found.folded, prepared, items.inputs) < CLOSE


# What cannot be folded, and stays as it was: inputs, preprocessing, network, what is left.
KEPT = {
    "a mean for every row": (
        IMAGE, lambda _, x: (x.float() - torch.arange(6.0).view(6, 1, 1)).permute(0, 3, 1, 2),
        layers(nn.Conv2d(3, 4, 3)), ["to", "add"],
    ),
    "zero scale, padded": (
        IMAGE, lambda _, x: x.permute(0, 3, 1, 2) * 0.0 + 1, layers(nn.Conv2d(3, 4, 3, padding=1)), ["to", "mul", "add"]
    ),
    "nothing but an offset, padded": (
        IMAGE, lambda s, x: x.permute(0, 3, 1, 2) - s.mean.view(3, 1, 1), layers(nn.Conv2d(3, 4, 3, padding=1)),
        ["to", "add"],
    ),
    "padded with ones": (
        IMAGE, lambda s, x: functional.pad(channels(s, x), (1, 1), value=1.0), layers(nn.Conv2d(3, 4, 3)),
        ["to", "add", "mul", "pad"],
    ),
    "padded with itself": (
        IMAGE, lambda s, x: functional.pad(channels(s, x), (1, 1, 0, 0), mode="reflect"), layers(nn.Conv2d(3, 4, 3)),
        ["to", "add", "mul", "pad"],
    ),
    "padded by channels": (
        IMAGE, lambda s, x: functional.pad(channels(s, x), (0, 0, 0, 0, 0, 1)), layers(nn.Conv2d(4, 4, 3)),
        ["to", "add", "mul", "pad"],
    ),
    "cut by padding": (
        IMAGE, lambda s, x: functional.pad(channels(s, x), (-1, 0)), layers(nn.Conv2d(3, 4, 3)),
        ["to", "add", "mul", "pad"],
    ),
    "weights of the input's own": (IMAGE, channels, OwnWeights(), ["to", "add", "mul"]),
    "one image without a batch": (
        {"planes": ("uint8", (4, 4, 4))}, lambda _, x: x[0] / torch.arange(50.0, 54.0).view(4, 1), Lone(), ["to", "mul"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "function", "network", "left"), KEPT.values(), ids=KEPT)
def test_what_cannot_be_folded_stays(inputs, function, network, left):
    torch.manual_seed(6)
    prepared, items = users.make(function, network, inputs)
    found = trace(prepared)
    assert found.folded.foldings == found.graph.foldings
    for graph in (found.graph, found.folded):
        assert [name for name in front(graph) if name not in ("select", "slice", "relu")] == left
        assert deviation(graph, prepared, items.inputs) < CLOSE


def test_the_report_says_what_other_variants_keep():
    prepared, _ = users.make(channels, layers(nn.Conv2d(3, 4, 3)), IMAGE)
    (folding,) = trace(prepared).folded.foldings
    assert folding.to_dict() == {
        "input": "image",
        "folded": "scale and offset are in the weights of the first conv2d; variants other than fp32 keep to, add, mul",
        "remaining": ["to"],
    }


def test_pixels_are_left_to_the_formats():
    prepared, _ = users.make(lambda _, x: (x / 255).permute(0, 3, 1, 2), layers(nn.Conv2d(3, 4, 3)), IMAGE)
    found = trace(prepared)
    assert found.folded.pixels == found.graph.pixels != {}
    assert found.folded.foldings == found.graph.foldings


def test_the_weights_of_the_other_layers_stay():
    """Only what reads the input gets new weights, also where two layers share theirs."""
    prepared, _ = users.make(channels, Shared(), IMAGE)
    graph = trace(prepared).folded.module
    read = [str(node.args[1].target) for node in graph.graph.nodes if operator_name(node) == "conv2d"]
    assert read[0].startswith("folded_")
    assert read[1] == "model.network.weight"
    assert torch.equal(graph.get_parameter(read[1]), prepared.module.model.network.weight)
