"""ResNet-8: three residual blocks, for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeml_train.networks.mobilenet_v1 import batch_norm
from edgeml_train.networks.pool import GlobalAveragePool
from edgeml_train.networks.same_conv import SameConv, halved

__all__ = ["ResidualBlock", "resnet8", "resnet8_layers"]

_STACKS = 3


def resnet8(
    classes: int,
    *,
    width: int = 16,
    size: tuple[int, int] = (32, 32),
    in_channels: int = 3,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Build a ResNet of eight layers (He et al., "Deep Residual Learning", 2015, arXiv:1512.03385).

    One 3×3 convolution, three residual blocks of which the second and third halve the image and double the channels,
    global average pooling and one linear layer, as the image classification model of MLPerf Tiny has it
    (github.com/mlcommons/tiny, ``benchmark/training/image_classification/keras_model.py``). With ten classes and the
    defaults: 78 k parameters and 12.5 million multiply-accumulates.

    Args:
        classes: Number of classes.
        width: Channels of the first block.
        size: Height and width of the image, which decide where padding goes.
        in_channels: Channels of the image.
        dropout: Share of pooled features dropped in training.

    Returns:
        A module from float32 [b, in_channels, height, width] to logits float32 [b, classes].
    """
    layers, channels = resnet8_layers(width=width, size=size, in_channels=in_channels)
    return nn.Sequential(*layers, GlobalAveragePool(), nn.Dropout(dropout), nn.Linear(channels, classes))


def resnet8_layers(*, width: int, size: tuple[int, int], in_channels: int) -> tuple[list[nn.Module], int]:
    """Build the convolutions of ResNet-8, up to the pooling.

    Args:
        width: Channels of the first block.
        size: Height and width of the image.
        in_channels: Channels of the image.

    Returns:
        The layers in order, and the number of channels that come out.
    """
    stem = SameConv(in_channels, width, kernel=(3, 3), stride=1, size=size)
    layers: list[nn.Module] = [stem, batch_norm(width), nn.ReLU()]
    channels = width
    for stack in range(_STACKS):
        stride = 1 if stack == 0 else 2
        wider = channels * stride
        layers.append(ResidualBlock(channels, wider, stride=stride, size=size))
        channels, size = wider, halved(size, stride)
    return layers, channels


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside the identity, or beside a strided 1×1 convolution.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output; as many as go in where the stride is 1.
        stride: Of the first convolution.
        size: Height and width of the input.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            SameConv(channels_in, channels_out, kernel=(3, 3), stride=stride, size=size),
            batch_norm(channels_out),
            nn.ReLU(),
            SameConv(channels_out, channels_out, kernel=(3, 3), stride=1, size=halved(size, stride)),
            batch_norm(channels_out),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels_in, channels_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add branch and shortcut.

        Args:
            x: float32 [b, channels_in, height, width].

        Returns:
            float32 [b, channels_out, ⌈height / stride⌉, ⌈width / stride⌉], none below zero.
        """
        return torch.relu(self.shortcut(x) + self.branch(x))
