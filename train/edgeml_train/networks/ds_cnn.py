"""A depthwise-separable CNN for log-mel features."""

from __future__ import annotations

from torch import nn

from edgeml_train.networks.pool import GlobalAveragePool

__all__ = ["ds_cnn"]


def ds_cnn(
    classes: int, *, channels: int = 64, blocks: int = 4, first_stride: int = 2, dropout: float = 0.2
) -> nn.Sequential:
    """Build a DS-CNN (Zhang et al., "Hello Edge", 2017, arXiv:1711.07128; the keyword model of MLPerf Tiny).

    One 10×4 convolution with stride 2, then depthwise-separable blocks, global average pooling and one linear layer:
    23 k parameters and 4.7 million multiply-accumulates for 61×40 features at the defaults.

    Args:
        classes: Number of classes.
        channels: Width of every layer.
        blocks: Number of depthwise-separable blocks, at least one.
        first_stride: Stride of the first block, along both axes. With 1 (the original) every block works on the first
            convolution's resolution, at 2.9 times the work.
        dropout: Share of pooled features dropped in training.

    Returns:
        A module from float32 [b, 1, frames, mels] to logits float32 [b, classes].
    """
    layers: list[nn.Module] = [
        nn.Conv2d(1, channels, (10, 4), stride=2, padding=(5, 1), bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]
    for block in range(blocks):
        stride = first_stride if block == 0 else 1
        layers += [
            nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    layers += [GlobalAveragePool(), nn.Dropout(dropout), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)
