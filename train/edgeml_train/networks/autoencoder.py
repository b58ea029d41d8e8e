"""A fully connected autoencoder: what it reconstructs badly is unlike what it was trained on."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

__all__ = ["dense_autoencoder"]

_KERAS_EPSILON = 1e-3


def dense_autoencoder(columns: int, *, width: int = 128, depth: int = 4, bottleneck: int = 8) -> nn.Sequential:
    """Build the autoencoder of DCASE 2020, task 2 (Koizumi et al., 2020, arXiv:2006.05822), as MLPerf Tiny has it.

    Hidden layers, a bottleneck, as many hidden layers again, each with batch normalisation of Keras' epsilon and ReLU,
    and a linear layer to the columns (github.com/mlcommons/tiny, ``benchmark/training/anomaly_detection``). For the 640
    columns there (five frames of 128 mel bands): 268 k parameters, 264 k multiply-accumulates.

    Args:
        columns: Numbers of an item.
        width: Units of a hidden layer.
        depth: Hidden layers before the bottleneck, and after it.
        bottleneck: Units of the bottleneck.

    Returns:
        A module from float32 [b, columns] to its reconstruction, float32 [b, columns].
    """
    widths = [columns, *[width] * depth, bottleneck, *[width] * depth]
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.BatchNorm1d(wide, eps=_KERAS_EPSILON), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], columns))
