"""Preprocessing as users write it: what is cut off the traced graph, what stays, and that answers stay the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeml_export.graph.folding import PixelQuantization
from edgeml_export.graph.input_chain import constant_value, is_layout, operator_name
from edgeml_export.graph.layers import module_path
from edgeml_export.tracing import trace


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


users = load("user_networks")

IMAGE = {"image": ("uint8", (6, 7, 3))}
PLANES = {"image": ("uint8", (3, 6, 7))}
GREY = {"image": ("uint8", (6, 7))}
FLAT = {"image": ("uint8", (30,))}
AUDIO = {"wave": ("int16", (120,))}
SENSORS = {"sensors": ("float32", (5,))}
SERIES = {"sensors": ("float32", (16, 5))}

# float32 rounds to 6e-8; sums over some tens of terms, in another order or with scales in the weights, differ by a few
# of those steps. Measured: 1.2e-6 of the standard deviation at most.
CLOSE = 5e-6


def conv(channels=3, *, padding=1, **options):
    """One convolution, whose every output is compared, at the borders too."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=padding, **options), nn.Flatten())


def linear(features):
    torch.manual_seed(1)
    return nn.Linear(features, 4)


def first(x):
    return x.permute(0, 3, 1, 2)


def deviation(graph, prepared, data):
    """Largest difference from PyTorch's own answers, in standard deviations of these."""
    expected = users.eager(prepared, data)
    count = len(expected)
    with torch.no_grad():
        found = [graph.module(*graph.feed(prepared.input_names, data, index))[0] for index in range(count)]
    return float(np.abs(torch.cat(found).numpy() - expected).max() / expected.std())


def traced(function, network, inputs, **options):
    prepared, items = users.make(function, network, inputs)
    return trace(prepared, **options), prepared, items.inputs


def names(graph, *, layout=False):
    """The operators of a graph, in order."""
    operators = [node for node in graph.module.graph.nodes if node.op == "call_function"]
    return [operator_name(node) for node in operators if layout or not is_layout(node)]


DEFAULT = PixelQuantization(scale=1 / 64, zero_point=128)
UNIT = PixelQuantization(scale=1 / 255, zero_point=0)
RAW = PixelQuantization(scale=1.0, zero_point=0)


def in_place(_, x):
    y = x.float()
    y -= 128
    y /= 64
    return first(y)


def batch_norm_first(_, x):
    variance = torch.full((3,), 64.0**2 - 1e-5)
    return functional.batch_norm(first(x).float(), torch.full((3,), 128.0), variance, eps=1e-5)


# The same normalisation, as different people write it.
WRITTEN = {
    "subtract and divide": lambda _, x: first((x.float() - 128) / 64),
    "permuted first": lambda _, x: (first(x).float() - 128) / 64,
    "permuted in between": lambda _, x: first(x.float() - 128) / 64,
    "cast last": lambda _, x: first((x - 128.0) / 64),
    "no cast": lambda _, x: first(x / 64 - 2),
    "methods": lambda _, x: first(x).to(torch.float32).sub(128).div(64),
    "functions": lambda _, x: torch.divide(torch.subtract(first(x).float(), 128), 64),
    "true_divide": lambda _, x: first(torch.true_divide(x - 128.0, 64)),
    "in place": in_place,
    "in place methods": lambda _, x: first(x.float().sub_(128).div_(64)),
    "of an image of range 0 to 1": lambda _, x: first((x / 255 - 128 / 255) / (64 / 255)),
    "literals": lambda _, x: (first(x).float() - torch.tensor(128.0)) / torch.tensor([64.0, 64.0, 64.0]).view(3, 1, 1),
    "as_tensor": lambda _, x: first((x.float() - torch.as_tensor((128.0, 128.0, 128.0))) / 64),
    "computed": lambda s, x: first((x.float() - torch.ones_like(s.mean) * 2**7) * torch.full((3,), 2.0) ** -6),
    "alpha": lambda _, x: first(torch.sub(x.float(), 64, alpha=2) / 64),
    "negated twice": lambda _, x: first(-(128 - x.float()) / -64) * -1,
    "added with alpha": lambda _, x: first(torch.add(x.float(), torch.tensor(-64.0), alpha=2) / 64),
    "reversed with alpha": lambda _, x: first(torch.rsub(x.float(), 256, alpha=2) / -128),
    "from a constant": lambda _, x: first((torch.tensor(128.0) - x) / -64),
    "from a constant with alpha": lambda _, x: first(torch.sub(torch.tensor(256.0), x.float(), alpha=2) / -128),
    "batch norm": batch_norm_first,
    "chained": lambda _, x: first(((x.float() - 100) / 32 - 28 / 32) / 2),
    "in double": lambda _, x: first((x.double() - 128) / 64).float(),
    "type": lambda _, x: first(x.type(torch.float32).subtract_(128).divide_(64)),
    "type_as": lambda s, x: first((x.type_as(s.mean) - 128) / 64),
    "channels last": lambda _, x: ((first(x).float() - 128) / 64).contiguous(memory_format=torch.channels_last),
    "contiguous": lambda _, x: first((x.contiguous().float() - 128).clone() / 64).contiguous(),
    "movedim": lambda _, x: (x.movedim(-1, 1).float() - 128) / 64,
    "moveaxis": lambda _, x: (torch.moveaxis(x, 3, 1).float() - 128) / 64,
    "swapped twice": lambda _, x: (x.swapaxes(3, 1).transpose(2, 3).float() - 128) / 64,
}


@pytest.mark.parametrize("function", WRITTEN.values(), ids=WRITTEN)
def test_one_normalisation_in_many_words(function):
    found, prepared, data = traced(function, conv(), IMAGE)
    for graph in (found.graph, found.folded):
        assert names(graph) == ["conv2d"]
        (folding,) = graph.foldings
        assert folding.folded == "the pixel is the quantized input: scale 0.015625, zero point 128"
        assert folding.remaining == ()
        assert deviation(graph, prepared, data) < CLOSE
    (pixel,) = found.graph.pixels.values()
    assert pixel.zero_point == 128
    assert pixel.scale == pytest.approx(1 / 64, rel=1e-6)
    assert found.graph.example[0].dtype == torch.float32


# What becomes of other pixels: inputs, function, network, quantization, and what is left to compute.
PIXELS = {
    "no normalisation": (IMAGE, lambda _, x: first(x).float(), conv(), RAW, ()),
    "255": (IMAGE, lambda _, x: first(x / 255), conv(), UNIT, ()),
    "planes": (PLANES, lambda _, x: (x.float() - 128) / 64, conv(), DEFAULT, ()),
    "flat": (FLAT, lambda _, x: x / 255, linear(30), UNIT, ()),
    "grey": (GREY, lambda _, x: ((x.float() - 128) / 64).unsqueeze(1), conv(1), DEFAULT, ()),
    "indexed with None": (GREY, lambda _, x: (x[:, None].float() - 128) / 64, conv(1), DEFAULT, ()),
    "flattened": (IMAGE, lambda _, x: first(x / 255).flatten(1), linear(126), UNIT, ()),
    "contiguous and viewed": (
        IMAGE, lambda _, x: first(x / 255).contiguous().view(x.shape[0], -1), linear(126), UNIT, ()
    ),
    "cropped and mirrored": (IMAGE, lambda _, x: first(x[:, 1:-1, 1:].flip(2) / 255), conv(), UNIT, ()),
    "a zero that is no whole number, without padding": (
        IMAGE, lambda _, x: first(x / 127.5 - 1), conv(padding=0),
        PixelQuantization(scale=1 / 127.5, zero_point=128), (),
    ),
    "the same in front of a linear layer": (
        FLAT, lambda _, x: (x / 255 - 0.1307) / 0.3081, linear(30),
        PixelQuantization(scale=1 / 255 / 0.3081, zero_point=33), (),
    ),
    "clamped": (
        IMAGE, lambda _, x: first(((x.float() - 128) / 64).clamp(-1, 1) * 2), conv(), DEFAULT, ("clamp", "mul")
    ),
    "padded in front": (
        IMAGE, lambda _, x: functional.pad(first((x.float() - 128) / 64), (0, 1, 0, 1)), conv(padding=0, stride=2),
        DEFAULT, ("pad",),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "function", "network", "pixel", "remaining"), PIXELS.values(), ids=PIXELS)
def test_pixels(inputs, function, network, pixel, remaining):
    found, prepared, data = traced(function, network, inputs)
    assert found.graph.pixels["image"].scale == pytest.approx(pixel.scale, rel=1e-6)
    assert found.graph.pixels["image"].zero_point == pixel.zero_point
    assert found.graph.foldings[0].remaining == remaining
    for graph in (found.graph, found.folded):
        assert "to" not in names(graph)
        assert deviation(graph, prepared, data) < CLOSE


# Normalisations of pixels that are no quantization: why, and what is left of them.
NO_PIXELS = {
    "channels differ": (
        lambda s, x: first((x.float() - s.mean) / s.std), conv(),
        "nothing; the pixel is not the quantized input, because its elements are not normalised alike", ["add", "mul"],
    ),
    "written at length": (
        lambda s, x: first(((x.float() / 255).sub(s.mean / 255).div(s.std / 255) + 1 - 1) * 1.0), conv(),
        "to, div, sub, div, add, sub, mul written as to, add, mul", ["add", "mul"],
    ),
    "rows differ": (
        lambda _, x: first(x.float()) * torch.arange(1.0, 7.0).view(6, 1), conv(), "not normalised alike", ["mul"]
    ),
    "negative": (lambda _, x: first(1 - x / 255), conv(), "its scale is negative", ["add", "mul"]),
    "zero scale": (lambda _, x: first(x.float() * 0 + 3), conv(), "not normalised alike", ["mul", "add"]),
    "no whole number, padded": (
        lambda _, x: first(x / 127.5 - 1), conv(),
        "its zero is 127.5, which is no whole number, and its zero padding stands for normalised values",
        ["add", "mul"],
    ),
    "no whole number, no layer": (
        lambda _, x: first(x / 127.5 - 1).relu(), conv(),
        "no whole number, and no layer follows whose bias could take the rest", ["add", "mul", "relu"],
    ),
    "no pixel": (lambda _, x: first(x.float() - 300), conv(), "its zero is 300, which is no pixel", ["add"]),
    "a mean image": (
        lambda _, x: first(x.float() - torch.arange(126.0).view(6, 7, 3)), conv(), "not normalised alike", ["add"]
    ),
}  # fmt: skip


class Rebuild(nn.Module):
    """Gives the error of what a layer makes of the features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Linear(5, 5)

    def forward(self, x):
        return (self.layer(x) - x).square()


def test_what_compares_the_features_with_a_layers_output_comes_behind_it():
    found, prepared, data = traced(lambda _, x: x.tanh(), Rebuild(), SENSORS)
    (folding,) = found.graph.foldings
    assert folding.remaining == ("tanh",)
    assert deviation(found.graph, prepared, data) < CLOSE


@pytest.mark.parametrize(("function", "network", "why", "left"), NO_PIXELS.values(), ids=NO_PIXELS)
def test_other_maps_of_pixels_are_one_cast_and_two_steps_at_most(function, network, why, left):
    found, prepared, data = traced(function, network, IMAGE)
    assert not found.graph.pixels
    assert names(found.graph) == ["to", *left, "conv2d"]
    (folding,) = found.graph.foldings
    assert why in folding.folded
    assert folding.remaining == ("to", *left)
    assert deviation(found.graph, prepared, data) < CLOSE


def shared(_, x):
    y = x.float()
    return first(y / 255), first(y - 128)


class TwoBranches(nn.Module):
    """A network that reads one image, or two, twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, x, y=None):
        return (self.one(x) + self.two(x if y is None else y)).flatten(1)


# Where the chain of affine maps ends: function, network, quantization, remaining operators.
STOPS = {
    "integers before the cast": (
        lambda _, x: first((x.int() - 128).float() / 64), conv(), None, ["to", "sub", "to", "div"]
    ),
    "half precision": (lambda _, x: first((x.half() - 128) / 3).float(), conv(), None, ["to", "sub", "div", "to"]),
    "a division that rounds": (lambda _, x: first(x.float().div(3, rounding_mode="floor")), conv(), RAW, ["div"]),
    "bits read as another type": (lambda _, x: first(x.view(torch.int8).float() / 64), conv(), None, ["to", "div"]),
    "its own square": (lambda _, x: first(x.float() * x.float() / 9e3), conv(), None, ["to", "to", "mul", "div"]),
    "divides": (lambda _, x: first(9 / (x.float() + 1)), conv(), None, ["to", "add", "reciprocal", "mul"]),
    "a division by zero": (
        lambda _, x: torch.nan_to_num(first(x.float() / 0), posinf=1), conv(), RAW, ["div", "nan_to_num"]
    ),
    "a constant that is NaN": (
        lambda _, x: torch.nan_to_num(first(x.float() + torch.log(torch.tensor(-1.0))), nan=0.5), conv(), RAW,
        ["add", "nan_to_num"],
    ),
    "read twice": (
        lambda _, x: (first((x.float() - 128) / 64), first(x / 255)), TwoBranches(), None, ["to", "sub", "div", "div"]
    ),
    "read twice behind the cast": (shared, TwoBranches(), RAW, ["div", "sub"]),
    "read twice when normalised": (lambda _, x: first((x.float() - 128) / 64), TwoBranches(), DEFAULT, []),
    "a mask": (
        lambda _, x: first(torch.where(torch.tensor([True, False, True]), 1.0, x.float())), conv(), RAW, ["where"]
    ),
    "several results": (lambda _, x: first(x.float().sort(-1)[0]), conv(), RAW, ["sort"]),
    "a part changed in place": (
        lambda _, x: (y := first(x.float()), y[:, 0].sub_(128))[0], conv(), RAW, ["sub_"]
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "network", "pixel", "remaining"), STOPS.values(), ids=STOPS)
def test_what_is_no_affine_map_stays(function, network, pixel, remaining):
    found, prepared, data = traced(function, network, IMAGE)
    assert found.graph.pixels == ({} if pixel is None else {"image": pixel})
    assert list(found.graph.foldings[0].remaining) == remaining
    for graph in (found.graph, found.folded):
        assert deviation(graph, prepared, data) < CLOSE


# Inputs that are no pixels: what is left of them where weights stay as they are, and what is in fp32.
OTHERS = {
    "audio": (
        AUDIO, lambda _, x: (x / 32768).unsqueeze(1), nn.Sequential(nn.Conv1d(1, 4, 9), nn.Flatten()), ["to", "mul"]
    ),
    "audio of many steps": (
        AUDIO, lambda _, x: ((x.float() + 0.5) / 32767.5).unsqueeze(1) * 2 - 1,
        nn.Sequential(nn.Conv1d(1, 4, 9, padding=4), nn.Flatten()), ["to", "add", "mul"],
    ),
    "audio in double": (
        AUDIO, lambda _, x: (x.double() / 32768).float()[:, None], nn.Sequential(nn.Conv1d(1, 4, 9), nn.Flatten()),
        ["to", "mul"],
    ),
    "audio as integers": (AUDIO, lambda _, x: x.float(), linear(120), ["to"]),
    "floats as integers": ({"bits": ("int32", (5,))}, lambda _, x: x.view(torch.float32) * 3, linear(5), ["mul"]),
    "depth": ({"depth": ("int16", (6, 7, 3))}, lambda _, x: first(x.float()), conv(), ["to"]),
    "planes of depth": ({"depth": ("int16", (3, 6, 7))}, lambda _, x: x / 1000 - 2, conv(), ["to", "add", "mul"]),
    "sensors": (SENSORS, lambda _, x: (x - torch.arange(5)) / torch.arange(1.0, 6.0), linear(5), ["add", "mul"]),
    "sensors as they are": (SENSORS, lambda _, x: x, linear(5), []),
    "sensors with a mean": (SENSORS, lambda _, x: x.sub(20.5), linear(5), ["add"]),
    "sensors of a batch norm": (SENSORS, nn.BatchNorm1d(5), linear(5), ["mul"]),
    "a series": (
        SERIES, lambda _, x: ((x - torch.arange(5)) / torch.arange(1.0, 6.0)).transpose(1, 2),
        nn.Sequential(nn.Conv1d(5, 4, 3, padding=1), nn.Flatten()), ["add", "mul"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "function", "network", "left"), OTHERS.values(), ids=OTHERS)
def test_inputs_that_are_no_pixels(inputs, function, network, left):
    found, prepared, data = traced(function, network, inputs)
    assert not found.graph.pixels
    assert list(found.graph.foldings[0].remaining) == left
    for graph in (found.graph, found.folded):
        assert deviation(graph, prepared, data) < CLOSE


def test_integers_that_float32_rounds_stay_in_double():
    """Seconds since 1970, of which float32 knows every hundredth."""
    inputs = {"time": ("int64", (4,))}
    data = {"time": np.random.default_rng(1).integers(1_700_000_000, 1_700_086_400, (6, 4))}
    prepared, _ = users.make(lambda _, x: ((x.double() - 1.7e9) / 86400).float(), linear(4), inputs, data=data)
    found = trace(prepared)
    assert list(found.graph.foldings[0].remaining) == ["to", "sub", "div", "to"]
    assert deviation(found.graph, prepared, data) == 0


def test_a_large_mean_is_taken_off_before_anything_is_rounded():
    """Pascal around sea level: 101325 ± 1 differ from it in the last bits of a float32."""
    data = {"sensors": np.random.default_rng(1).normal(101325, 1, (6, 5)).astype(np.float32)}
    prepared, _ = users.make(lambda _, x: (x - 101325.0) / 1.5, linear(5), SENSORS, data=data)
    found = trace(prepared)
    for graph in (found.graph, found.folded):
        assert deviation(graph, prepared, data) < CLOSE


def test_channels_lie_in_rows():
    """What differs from channel to channel is computed over rows of many pixels, wherever the user wrote it."""
    inputs = {"image": ("uint8", (96, 96, 3))}
    for function in (
        lambda s, x: first((x.float() - s.mean) / s.std),
        lambda s, x: (first(x).float() - s.mean.view(3, 1, 1)) / s.std.view(3, 1, 1),
    ):
        found, prepared, data = traced(function, conv(), inputs)
        order = ["reshape", "to", "add", "mul", "reshape", "permute", "conv2d", "flatten"]
        assert names(found.graph, layout=True) == order
        nodes = {operator_name(node): node for node in found.graph.module.graph.nodes}
        assert nodes["add"].meta["val"].shape == (1, 128, 216)
        assert names(found.folded, layout=True) == [name for name in order if name != "mul"]
        assert deviation(found.graph, prepared, data) < CLOSE


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 300), (2, 3, 300)], ids=str)
def test_images_that_give_no_rows(shape):
    inputs = {"image": ("uint8", shape)}
    means = torch.arange(float(shape[-1]))
    found, prepared, data = traced(lambda _, x: (x - means).flatten(1), linear(int(np.prod(shape))), inputs)
    assert "add" in names(found.graph)
    assert deviation(found.graph, prepared, data) < CLOSE


# Tensors that depend on no input, and one that does; only the first has a value.
CONSTANTS = {
    "computed": lambda _: torch.arange(3.0) * 2 + 1,
    "random": lambda _: torch.rand(3),
    "changed in place": lambda _: torch.zeros(3).add_(1),
    "very large": lambda _: torch.zeros(1 << 23),
    "of an input": lambda x: x * 2,
}


def test_constants():
    model = nn.Module()
    model.register_buffer("buffer", torch.ones(1 << 23))
    model.forward = lambda x: (*(make(x) for make in CONSTANTS.values()), model.buffer + x)
    graph = torch.export.export(model, (torch.zeros(1),), strict=False).module(check_guards=False)
    results = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    computed, *others = (constant_value(graph, node) for node in results)
    assert computed.tolist() == [1, 3, 5]
    assert others == [None] * 5
    stored = next(node for node in graph.graph.nodes if node.op == "get_attr")
    assert constant_value(graph, stored).numel() == 1 << 23, "a stored constant has any size"
    assert constant_value(graph, 3) == 3
    assert constant_value(graph, None) is None


def mixed(_, image, wave, sensors, unused):
    del unused
    return (first((image.float() - 128) / 64).flatten(1), wave / 32768, (sensors - 20) / 5)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.image, self.wave, self.sensors = nn.Linear(126, 4), nn.Linear(120, 4), nn.Linear(5, 4)

    def forward(self, image, wave, sensors):
        return self.image(image) + self.wave(wave) + self.sensors(sensors)


MIXED = IMAGE | AUDIO | SENSORS | {"unused": ("uint8", (2,))}


def test_several_inputs_of_different_kinds():
    found, prepared, data = traced(mixed, Joined(), MIXED)
    assert found.graph.pixels == {"image": DEFAULT}
    assert [list(folding.remaining) for folding in found.graph.foldings] == [[], ["to", "mul"], ["add", "mul"], []]
    assert [list(folding.remaining) for folding in found.folded.foldings] == [[], ["to"], [], []]
    for graph in (found.graph, found.folded):
        assert deviation(graph, prepared, data) < CLOSE
    image, wave, *_ = found.graph.feed(prepared.input_names, data, 2)
    assert torch.equal(image, (torch.from_numpy(data["image"][2:3]).float() - 128) / 64)
    assert torch.equal(wave, torch.from_numpy(data["wave"][2:3]))


def test_a_normalisation_that_nothing_reads_vanishes():
    def forward(_, wave, image):
        (wave / 32768).add_(1)
        return image / 255

    found, prepared, data = traced(forward, nn.Sequential(nn.Flatten(), linear(126)), AUDIO | IMAGE)
    assert "to" not in names(found.graph)
    assert deviation(found.graph, prepared, data) < CLOSE


def test_a_normalised_input_that_is_an_output():
    found, prepared, data = traced(lambda _, x: x / 255, nn.Identity(), FLAT)
    assert names(found.graph) == []
    assert deviation(found.graph, prepared, data) < CLOSE


OPEN = {
    "pixels": (IMAGE, WRITTEN["subtract and divide"], conv()),
    "viewed": (IMAGE, PIXELS["contiguous and viewed"][1], linear(126)),
    "channels": (IMAGE, NO_PIXELS["channels differ"][0], conv()),
    "channels viewed": (IMAGE, lambda s, x: ((x - s.mean) / s.std).view(x.shape[0], -1), linear(126)),
    "mixed": (MIXED, mixed, Joined()),
    "frames": (AUDIO, lambda _, x: (x / 32768).reshape(-1, 12, 10).flatten(1), linear(120)),
    # The map of a row depends on where it lies among the rows of the whole batch.
    "rows of a batch": (
        SERIES, lambda _, x: (x - torch.arange(16.0)[:, None]).reshape(-1, 5) * 2,
        nn.Sequential(linear(5), nn.Unflatten(0, (-1, 16)), nn.Flatten()),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("inputs", "function", "network"), OPEN.values(), ids=OPEN)
def test_an_open_batch_stays_open(inputs, function, network):
    found, prepared, data = traced(function, network, inputs, dynamic_batch=True)
    closed = trace(prepared)
    assert found.graph.pixels == closed.graph.pixels
    for mine, theirs in zip(found.graph.foldings, closed.graph.foldings, strict=True):
        assert sorted(mine.remaining) == sorted(theirs.remaining)
    expected = users.eager(prepared, data)
    batch = torch.export.Dim("batch", min=1)
    for graph in (found.graph, found.folded):
        feeds = [graph.feed(prepared.input_names, data, index) for index in range(5)]
        whole = tuple(torch.cat(parts) for parts in zip(*feeds, strict=True))
        with torch.no_grad():
            answers = graph.module(*whole)[0].numpy()
        assert np.abs(answers - expected[:5]).max() < CLOSE * expected.std()
        example = tuple(torch.cat([item, item]) for item in graph.example)
        exported = torch.export.export(
            graph.module, example, dynamic_shapes=tuple({0: batch} for _ in example), strict=False
        )
        with torch.no_grad():
            again = exported.module()(*whole)[0].numpy()
        assert np.abs(again - answers).max() < CLOSE * expected.std()


def test_a_folded_graph_can_be_exported_again_and_leaves_the_model_alone():
    found, prepared, data = traced(NO_PIXELS["channels differ"][0], conv(padding=0), IMAGE)
    before = users.eager(prepared, data)
    for graph in (found.graph, found.folded):
        exported = torch.export.export(graph.module, graph.example, strict=False).module()
        with torch.no_grad():
            again = exported(*graph.feed(prepared.input_names, data, 0))[0].numpy()
        assert np.abs(again - before[:1]).max() < CLOSE * before.std()
    assert np.array_equal(users.eager(prepared, data), before)
    assert names(found.graph) == ["to", "add", "mul", "conv2d"], "fold_affine changed the graph it was given"


def test_shortened_operators_belong_to_the_module_they_were_written_in():
    """What float scopes are told by."""
    found, *_ = traced(NO_PIXELS["written at length"][0], conv(), IMAGE)
    nodes = [node for node in found.graph.module.graph.nodes if node.op == "call_function"]
    paths = {operator_name(node): module_path(node) for node in nodes}
    assert {name: paths[name] for name in ("reshape", "to", "add", "mul", "permute")} == dict.fromkeys(
        ("reshape", "to", "add", "mul", "permute"), "features"
    )
    assert paths["conv2d"] == "network.0"


def test_normalised_pixels():
    pixel = PixelQuantization(scale=1 / 64, zero_point=128)
    values = pixel.normalised(torch.tensor([0, 128, 255], dtype=torch.uint8))
    assert values.tolist() == [-2, 0, 127 / 64]
    assert pixel.range == (-2, 127 / 64)
