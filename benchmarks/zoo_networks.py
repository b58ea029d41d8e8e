"""The networks of the zoo in PyTorch: the four of MLPerf Tiny, and MobileNetV2.

The first four follow the Keras code and the trained reference files of the benchmark layer by layer
(github.com/mlcommons/tiny, ``benchmark/training``): every convolution has a bias, batch normalisation has Keras'
epsilon, and padding is Keras' ``same``, which at stride 2 pads an even size to the right and below only. Softmax is
left to the fused model. MobileNetV2 follows Sandler et al. (arXiv 1801.04381, table 2) as torchvision writes it.

Networks take what their feature pipeline gives: float32 [b, channels, height, width], or [b, 640] for the autoencoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Autoencoder", "DsCnn", "MobileNetV1", "MobileNetV2", "ResNet8"]

_KERAS_EPSILON = 1e-3

Size = tuple[int, int]


class SameConv(nn.Conv2d):
    """A convolution with Keras' ``same`` padding: as many outputs as ⌈size / stride⌉, the odd zero behind.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        kernel: Height and width of the kernel.
        stride: Along both axes.
        size: Height and width of the input.
        groups: As of ``nn.Conv2d``.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: Size, stride: int, size: Size, groups: int = 1
    ) -> None:
        (top, bottom), (left, right) = (_same(n, k, stride) for n, k in zip(size, kernel, strict=True))
        even = top == bottom and left == right
        super().__init__(
            channels_in, channels_out, kernel, stride, padding=(top, left) if even else 0, groups=groups, bias=True
        )
        self.around = None if even else (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: float32 [b, channels, height, width].
        """
        return super().forward(x if self.around is None else nn.functional.pad(x, self.around))


def _same(size: int, kernel: int, stride: int) -> Size:
    """Zeros before and behind (tensorflow.org/api_docs/python/tf/nn, "Notes on padding")."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _halved(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_KERAS_EPSILON)


def _separable(channels_in: int, channels_out: int, *, stride: int, size: Size) -> list[nn.Module]:
    """A depthwise 3 x 3 and a pointwise convolution, each with normalisation and ReLU."""
    depthwise = SameConv(channels_in, channels_in, kernel=(3, 3), stride=stride, size=size, groups=channels_in)
    pointwise = nn.Conv2d(channels_in, channels_out, 1)
    return [depthwise, _norm(channels_in), nn.ReLU(), pointwise, _norm(channels_out), nn.ReLU()]


def _pooled(classes: int, channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


class DsCnn(nn.Sequential):
    """Keyword spotting: [b, 1, 49, 10] MFCC → 12 logits (``keyword_spotting/keras_model.py``, ``ds_cnn``).

    The trained reference pools over all 25 x 5 values (``trained_models/kws_ref_model_float32.tflite``).
    """

    def __init__(self) -> None:
        size = (49, 10)
        layers: list[nn.Module] = [SameConv(1, 64, kernel=(10, 4), stride=2, size=size), _norm(64), nn.ReLU()]
        layers.append(nn.Dropout(0.2))
        for _ in range(4):
            layers += _separable(64, 64, stride=1, size=_halved(size, 2))
        super().__init__(*layers, nn.Dropout(0.4), *_pooled(12, 64))


class _Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity, or beside a strided 1 x 1 convolution."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, size: Size) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            SameConv(channels_in, channels_out, kernel=(3, 3), stride=stride, size=size),
            _norm(channels_out),
            nn.ReLU(),
            SameConv(channels_out, channels_out, kernel=(3, 3), stride=1, size=_halved(size, stride)),
            _norm(channels_out),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, height, width] → [b, channels', height', width']."""
        return torch.relu(self.shortcut(x) + self.branch(x))


class ResNet8(nn.Sequential):
    """Image classification: [b, 3, 32, 32] → 10 logits (``image_classification/keras_model.py``, 16 filters)."""

    def __init__(self) -> None:
        super().__init__(
            SameConv(3, 16, kernel=(3, 3), stride=1, size=(32, 32)),
            _norm(16),
            nn.ReLU(),
            _Residual(16, 16, stride=1, size=(32, 32)),
            _Residual(16, 32, stride=2, size=(32, 32)),
            _Residual(32, 64, stride=2, size=(16, 16)),
            *_pooled(10, 64),
        )


class MobileNetV1(nn.Sequential):
    """Visual wake words: [b, 3, 96, 96] → 2 logits, width 0.25 (``visual_wake_words/vww_model.py``)."""

    _BLOCKS = (
        *((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)),
        *((128, 1),) * 5,
        *((256, 2), (256, 1)),
    )

    def __init__(self) -> None:
        size, channels = (96, 96), 8
        layers: list[nn.Module] = [SameConv(3, channels, kernel=(3, 3), stride=2, size=size), _norm(8), nn.ReLU()]
        size = _halved(size, 2)
        for wider, stride in self._BLOCKS:
            layers += _separable(channels, wider, stride=stride, size=size)
            channels, size = wider, _halved(size, stride)
        super().__init__(*layers, *_pooled(2, channels))


class Autoencoder(nn.Sequential):
    """Anomaly detection: [b, 640] log-mel → its reconstruction (``anomaly_detection/keras_model.py``)."""

    _WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for narrow, wide in zip(self._WIDTHS, self._WIDTHS[1:], strict=False):
            layers += [nn.Linear(narrow, wide), nn.BatchNorm1d(wide, eps=_KERAS_EPSILON), nn.ReLU()]
        super().__init__(*layers, nn.Linear(self._WIDTHS[-1], self._WIDTHS[0]))


class _Inverted(nn.Module):
    """An inverted residual with a linear bottleneck."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, expand: int) -> None:
        super().__init__()
        hidden = channels_in * expand
        self.branch = nn.Sequential(
            *(_conv6(channels_in, hidden, 1) if expand != 1 else ()),
            *_conv6(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.joined = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, height, width] → [b, channels', height', width']."""
        y: Tensor = self.branch(x)
        return x + y if self.joined else y


def _conv6(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU6()]


class MobileNetV2(nn.Sequential):
    """ImageNet: [b, 3, 224, 224] → 1000 logits, width 1.0, with torchvision's symmetric padding."""

    # Expansion, channels, repetitions, stride of the first: table 2 of the paper.
    _BLOCKS = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def __init__(self) -> None:
        channels = 32
        layers = _conv6(3, channels, 3, stride=2)
        for expand, wider, repetitions, stride in self._BLOCKS:
            for index in range(repetitions):
                layers.append(_Inverted(channels, wider, stride=1 if index else stride, expand=expand))
                channels = wider
        layers += _conv6(channels, 1280, 1)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))
