"""Small networks for the tests of slimming: everything that ties channels, and what must be left alone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from edgeml_train.networks import GlobalAveragePool, digit_cnn, ds_cnn, mlp, mobilenet_v1


class Net(nn.Module):
    """A network whose forward is the function given by the subclass; ends in a linear layer ``out``."""

    def __init__(self, features: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.out = nn.Linear(features, 3)

    def forward(self, x):
        return self.out(self.body(self.first(x).relu()))

    def body(self, x):
        return x.mean((2, 3))


class Residual(Net):
    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 1)

    def body(self, x):
        return (x + self.last(self.inner(x).relu())).relu().mean((2, 3))


class Concatenated(Net):
    def __init__(self):
        super().__init__(20)
        self.second = nn.Conv2d(8, 12, 3, padding=1)

    def body(self, x):
        return torch.cat([self.second(x).relu(), x], dim=1).mean((2, 3))


class Dense(Net):
    """Reads its channels twice, once through a concatenation."""

    def __init__(self):
        super().__init__(12)
        self.second, self.third = nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(12, 12, 1)

    def body(self, x):
        return self.third(torch.cat([x, self.second(x)], dim=1)).mean((2, 3))


class Flattened(Net):
    def __init__(self):
        super().__init__(8 * 16)

    def body(self, x):
        return x.flatten(1)


class FlattenedChannelsLast(Flattened):
    def body(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Gated(Net):
    """Squeeze and excitation: one factor for each channel."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)

    def body(self, x):
        factors = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return (x * factors[:, :, None, None]).mean((2, 3))


class SpatialGate(Net):
    """One map for all channels, which all of them depend on."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(8, 1, 1)

    def body(self, x):
        return (x * self.map(x).sigmoid()).mean((2, 3))


class Depthwise(Net):
    """A depthwise convolution with two filters for each channel."""

    def __init__(self):
        super().__init__(16)
        self.depthwise, self.norm = nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.BatchNorm2d(16)

    def body(self, x):
        return self.norm(self.depthwise(x)).relu().mean((2, 3))


class Pooled(Net):
    def __init__(self):
        super().__init__(8 * 4)
        self.norm, self.act = nn.BatchNorm2d(8), nn.PReLU(8)

    def body(self, x):
        x = F.max_pool2d(F.pad(self.act(self.norm(x)), (1, 1, 1, 1)), 3, 2)
        return F.adaptive_avg_pool2d(x, 2).flatten(1)


class Halves(Net):
    def __init__(self):
        super().__init__(4)

    def body(self, x):
        first, second = x.chunk(2, dim=1)
        return torch.maximum(first, second).mean((2, 3))


class Enlarged(Net):
    """Four channels become one of twice the size."""

    def __init__(self):
        super().__init__(2)

    def body(self, x):
        return F.pixel_shuffle(x, 2).mean((2, 3))


class Sequence(nn.Module):
    """Convolutions over time."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.out = nn.Conv1d(4, 8, 3, padding="same"), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(F.max_pool1d(self.norm(self.first(x)).relu(), 2).amax(2))


class Scaled(Net):
    """A buffer that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 8).reshape(8, 1, 1))

    def body(self, x):
        return (x * self.scale).mean((2, 3))


class Functional(nn.Module):
    """A convolution without a module of its own."""

    def __init__(self):
        super().__init__()
        self.weight, self.out = nn.Parameter(torch.randn(8, 1, 3, 3)), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(F.conv2d(x, self.weight).relu().mean((2, 3)))


class TwiceApplied(Net):
    """One module, called twice: its output channels are its input channels."""

    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(8, 8, 3, padding=1)

    def body(self, x):
        return self.again(self.again(x).relu()).mean((2, 3))


class Grouped(Net):
    def __init__(self):
        super().__init__(16)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4)

    def body(self, x):
        return self.grouped(x).mean((2, 3))


class Normalised(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)

    def body(self, x):
        return self.norm(x).mean((2, 3))


class Softmax(Net):
    def body(self, x):
        return torch.softmax(x.mean((2, 3)), dim=1)


class MeanOverChannels(Net):
    def __init__(self):
        super().__init__(16)

    def body(self, x):
        return x.mean(1).flatten(1)


class Shuffled(Net):
    """A channel shuffle that counts on the number of channels."""

    def body(self, x):
        items, channels, height, width = x.shape
        x = x.view(items, 2, channels // 2, height, width).transpose(1, 2)
        return x.reshape(items, channels, height, width).mean((2, 3))


class HardCoded(Net):
    def __init__(self):
        super().__init__(8 * 16)

    def body(self, x):
        return x.reshape(-1, 128)


class Recurrent(Net):
    def __init__(self):
        super().__init__(6)
        self.lstm = nn.LSTM(8, 6, batch_first=True)

    def body(self, x):
        return self.lstm(x.mean(3).transpose(1, 2))[0][:, -1]


class Shared(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.out(self.second(self.first(x).relu()).relu())


class InputAdded(nn.Module):
    """The network's input is added to its channels."""

    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.first(x).relu() + x)


class ComputedWeight(Net):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1))

    def body(self, x):
        return F.conv2d(x, self.kernel * self.gain).mean((2, 3))


IMAGE, COLUMNS = (1, 4, 4), (8,)

# Network, shape of an item, layers of every group → channels, layer → a part of why its channels stay.
SLIMMABLE = {
    "digit-cnn": (lambda: digit_cnn(3, width=8), (1, 8, 8), {"0": 8, "3": 16, "6": 16}, {}),
    "ds-cnn": (lambda: ds_cnn(3, channels=8, blocks=2), (1, 21, 10), {"0 3": 8, "6 9": 8, "12": 8}, {}),
    "mobilenet-v1": (
        lambda: nn.Sequential(*list(mobilenet_v1(3, size=(16, 16)))[:15], GlobalAveragePool(), nn.Linear(32, 3)),
        (3, 16, 16),
        {"0 3": 8, "6 9": 16, "12": 32},
        {},
    ),
    "mlp": (lambda: mlp(8, 3, hidden=(12, 6)), COLUMNS, {"0": 12, "3": 6}, {}),
    "residual": (Residual, IMAGE, {"first last": 8, "inner": 12}, {}),
    "concatenated": (Concatenated, IMAGE, {"first": 8, "second": 12}, {}),
    "dense": (Dense, IMAGE, {"first": 8, "second": 4, "third": 12}, {}),
    "flattened": (Flattened, IMAGE, {"first": 8}, {}),
    "flattened-channels-last": (FlattenedChannelsLast, IMAGE, {"first": 8}, {}),
    "gated": (Gated, IMAGE, {"first excite": 8, "squeeze": 4}, {}),
    "spatial-gate": (SpatialGate, IMAGE, {"first": 8}, {"map": "all channels of another layer depend on them"}),
    "depthwise-two-filters": (Depthwise, IMAGE, {"first depthwise": 8}, {}),
    "pooled": (Pooled, IMAGE, {"first": 8}, {}),
    "halves": (Halves, IMAGE, {"first": 4}, {}),
    "enlarged": (Enlarged, IMAGE, {"first": 2}, {}),
    "sequence": (Sequence, (4, 6), {"first": 8}, {}),
    "scaled": (Scaled, IMAGE, {"first": 8}, {}),
    "functional": (Functional, IMAGE, {"": 8}, {}),
    "twice-applied": (TwiceApplied, IMAGE, {"first again": 8}, {}),
}

LEFT_ALONE = {
    "grouped": (Grouped, IMAGE, {"first": "go into a convolution in 4 groups", "grouped": "come out of"}),
    "group-norm": (Normalised, IMAGE, {"first": "they go into group_norm"}),
    "softmax": (Softmax, IMAGE, {"first": "they go into softmax"}),
    "mean-over-channels": (MeanOverChannels, IMAGE, {"first": "they can only go all at once"}),
    "shuffled": (Shuffled, IMAGE, {"first": "the network's code"}),
    "hard-coded": (HardCoded, IMAGE, {"first": "the network's code does not run with fewer"}),
    "recurrent": (Recurrent, IMAGE, {"first": "they go into lstm"}),
    "shared": (Shared, COLUMNS, {"first": "two layers share their weights"}),
    "input-added": (InputAdded, COLUMNS, {"first": "they meet values that stay"}),
    "computed-weight": (ComputedWeight, IMAGE, {"first": "their weights are computed"}),
    "only-outputs": (lambda: nn.Linear(8, 3), COLUMNS, {}),
}
