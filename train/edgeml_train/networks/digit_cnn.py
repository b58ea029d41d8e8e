"""A small CNN for 8×8 images of handwritten digits."""

from __future__ import annotations

from torch import nn

from edgeml_train.networks.pool import GlobalAveragePool

__all__ = ["digit_cnn"]


def digit_cnn(classes: int = 10, *, in_channels: int = 1, width: int = 32, dropout: float = 0.2) -> nn.Sequential:
    """Build three 3×3 convolutions with batch normalisation and global average pooling; 56 k parameters at the default.

    Args:
        classes: Number of classes.
        in_channels: Channels of the image.
        width: Channels of the first convolution; the other two have twice as many.
        dropout: Share of pooled features dropped in training.

    Returns:
        A module from float32 [b, in_channels, height, width] to logits float32 [b, classes].
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        GlobalAveragePool(),
        nn.Dropout(dropout),
        nn.Linear(2 * width, classes),
    )
