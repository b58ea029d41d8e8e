"""MobileNetV1: depthwise separable convolutions of any width."""

from __future__ import annotations

from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.networks.pool import GlobalAveragePool
from edgeml_train.networks.same_conv import SameConv, halved

__all__ = ["batch_norm", "mobilenet_v1", "mobilenet_v1_layers", "separable"]

_KERAS_EPSILON = 1e-3
_STEM_CHANNELS = 32
_STEM_STRIDE = 2
# Output channels at width 1 and stride of the 13 blocks: table 1 of the paper.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def mobilenet_v1(
    classes: int,
    *,
    width: float = 0.25,
    size: tuple[int, int] = (96, 96),
    in_channels: int = 3,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build MobileNetV1 (Howard et al., "MobileNets", 2017, arXiv:1704.04861).

    One 3×3 convolution, 13 depthwise separable blocks, global average pooling and one linear layer, as the visual wake
    words model of MLPerf Tiny has it: every convolution has a bias, batch normalisation has Keras' epsilon, padding is
    ``same``. At the defaults the layers below the last one have 216 k parameters and 7.5 million
    multiply-accumulates.

    Args:
        classes: Number of classes.
        width: Width multiplier: the share of the paper's channels in every layer.
        size: Height and width of the image, which decide where padding goes.
        in_channels: Channels of the image.
        dropout: Share of pooled features dropped in training.

    Returns:
        A module from float32 [b, in_channels, height, width] to logits float32 [b, classes].

    Raises:
        ProjectError: The width leaves less than one channel.
    """
    layers, channels = mobilenet_v1_layers(width=width, size=size, in_channels=in_channels)
    return nn.Sequential(*layers, GlobalAveragePool(), nn.Dropout(dropout), nn.Linear(channels, classes))


def mobilenet_v1_layers(*, width: float, size: tuple[int, int], in_channels: int) -> tuple[list[nn.Module], int]:
    """Build the convolutions of MobileNetV1, up to the pooling.

    Args:
        width: Width multiplier.
        size: Height and width of the image.
        in_channels: Channels of the image.

    Returns:
        The layers in order, and the number of channels that come out.

    Raises:
        ProjectError: The width leaves less than one channel.
    """
    channels = _scaled(_STEM_CHANNELS, width)
    stem = SameConv(in_channels, channels, kernel=(3, 3), stride=_STEM_STRIDE, size=size)
    layers: list[nn.Module] = [stem, batch_norm(channels), nn.ReLU()]
    size = halved(size, _STEM_STRIDE)
    for full, stride in _BLOCKS:
        wider = _scaled(full, width)
        layers += separable(channels, wider, stride=stride, size=size)
        channels, size = wider, halved(size, stride)
    return layers, channels


def separable(channels_in: int, channels_out: int, *, stride: int, size: tuple[int, int]) -> list[nn.Module]:
    """Build a depthwise 3×3 and a pointwise convolution, each with normalisation and ReLU.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        stride: Of the depthwise convolution.
        size: Height and width of the input.

    Returns:
        Six layers, in order.
    """
    depthwise = SameConv(channels_in, channels_in, kernel=(3, 3), stride=stride, size=size, groups=channels_in)
    pointwise = nn.Conv2d(channels_in, channels_out, 1)
    return [depthwise, batch_norm(channels_in), nn.ReLU(), pointwise, batch_norm(channels_out), nn.ReLU()]


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Build batch normalisation with Keras' epsilon, 0.001.

    Args:
        channels: Channels of input and output.

    Returns:
        The layer.
    """
    return nn.BatchNorm2d(channels, eps=_KERAS_EPSILON)


def _scaled(channels: int, width: float) -> int:
    """Channels at a width, rounded down as the Keras code of the network does."""
    scaled = int(channels * width)
    if scaled < 1:
        raise ProjectError(f"mobilenet_v1: expected a width of at least {1 / _STEM_CHANNELS}, found {width}")
    return scaled
