"""A multi-layer perceptron for columns of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["mlp"]


def mlp(in_features: int, outputs: int, *, hidden: Sequence[int] = (32, 16), dropout: float = 0.2) -> nn.Sequential:
    """Build fully connected layers with ReLU and dropout between them.

    Args:
        in_features: Columns.
        outputs: Classes, or 1 for a value.
        hidden: Width of every hidden layer.
        dropout: Share of hidden units dropped in training.

    Returns:
        A module from float32 [b, in_features] to float32 [b, outputs].
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(in_features, width), nn.ReLU(), nn.Dropout(dropout)]
        in_features = width
    return nn.Sequential(*layers, nn.Linear(in_features, outputs))
