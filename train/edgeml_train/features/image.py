"""Pixels to network input, as a module that exports to ONNX and TFLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline, single_input

if TYPE_CHECKING:
    from edgeml_train.features.base import Inputs

__all__ = ["ImageFeatures"]

_CENTRE = 128.0
_SPREAD = 64.0


class ImageFeatures(FeaturePipeline):
    """Normalise pixels and move the channels in front.

    The default, ``(x - 128) / 64``, needs no data and is the better choice for int8: zero is an exact pixel value
    (128), so zero padding inside the network is exact, and one scale and zero point serve every channel. With
    ``per_channel=True``, mean and standard deviation of each channel are learned by :meth:`fit`.

    Args:
        channels: Channels of the image, the last axis of the input.
        per_channel: Learn statistics of each channel instead of the fixed normalisation.
    """

    def __init__(self, *, channels: int = 3, per_channel: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.per_channel = per_channel
        size = channels if per_channel else 1
        self.register_buffer("mean", torch.full((1, 1, 1, size), _CENTRE))
        self.register_buffer("scale", torch.full((1, 1, 1, size), 1.0 / _SPREAD))
        self.mean: torch.Tensor
        self.scale: torch.Tensor

    def fit(self, inputs: Inputs) -> None:
        """Learn the channels' statistics; nothing is learned by the fixed normalisation.

        Args:
            inputs: uint8 [items, height, width, channels], or a mapping with that one entry.

        Raises:
            ProjectError: The array is not uint8 images of that many channels.
        """
        images = single_input(inputs, pipeline="ImageFeatures")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != self.channels:
            raise ProjectError(
                f"ImageFeatures.fit: expected uint8 [items, height, width, {self.channels}], "
                f"found {images.dtype} {list(images.shape)}; give the shape [height, width, channels] in edgeml.toml"
            )
        if not self.per_channel:
            return
        # Histograms of 256 levels give exact sums without a float copy of the whole training split.
        levels = np.arange(256, dtype=np.float64)
        for channel in range(self.channels):
            counts = np.bincount(images[..., channel].reshape(-1), minlength=256)
            mean = float(counts @ levels / counts.sum())
            variance = float(counts @ (levels - mean) ** 2 / counts.sum())
            self.mean[..., channel] = mean
            self.scale[..., channel] = 1.0 / max(variance**0.5, 1.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise.

        Args:
            image: uint8 [b, height, width, channels].

        Returns:
            float32 [b, channels, height, width].
        """
        return ((image.to(torch.float32) - self.mean) * self.scale).permute(0, 3, 1, 2)
