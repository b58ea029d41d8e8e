"""Augmentation for images: random changes to the pixels of training batches that keep the label.

Every random number comes from the generator that is handed in, so the same seed gives the same batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from edgeml_runtime.errors import ProjectError

__all__ = ["ImageAugmentation"]

_WHITE = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAugmentation:
    """Shift, rotation, scale, mirror, brightness and contrast on uint8 images.

    Every item of a batch draws its own values. A field of 0 switches that change off. Geometry is one bilinear
    resampling; what comes in from outside repeats the picture's edge, as a plain background and an arm that leaves the
    picture go on.

    Attributes:
        shift: Largest shift either way along both axes, as a share of height and width.
        rotation_deg: Largest rotation either way.
        scale: Largest relative change of size: 0.15 draws factors from 0.85 to 1.15.
        mirror_share: Share of items mirrored left to right. Off by default: it is right only where the mirrored picture
            could have been taken and means the same.
        brightness: Largest change of level either way, as a share of full scale.
        contrast: Largest relative change of the distance from the item's mean level.

    Raises:
        ProjectError: A setting is out of its range.
    """

    shift: float = 0.1
    rotation_deg: float = 10.0
    scale: float = 0.15
    mirror_share: float = 0.0
    brightness: float = 0.15
    contrast: float = 0.25

    def __post_init__(self) -> None:
        checks = {
            "shift from 0 to 1": 0.0 <= self.shift <= 1.0,
            "rotation_deg from 0 to 180": 0.0 <= self.rotation_deg <= 180.0,
            "scale from 0 to below 1": 0.0 <= self.scale < 1.0,
            "mirror_share from 0 to 1": 0.0 <= self.mirror_share <= 1.0,
            "brightness from 0 to 1": 0.0 <= self.brightness <= 1.0,
            "contrast from 0 to 1": 0.0 <= self.contrast <= 1.0,
        }
        for expected, holds in checks.items():
            if not holds:
                found = getattr(self, expected.split(maxsplit=1)[0])
                raise ProjectError(f"ImageAugmentation: expected {expected}, found {found}")

    def inputs(self, inputs: tuple[torch.Tensor, ...], generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Change position, size, direction, level and contrast of the images.

        Args:
            inputs: One tensor uint8 [b, height, width, channels].
            generator: Where every random number comes from.

        Returns:
            One tensor uint8 [b, height, width, channels].

        Raises:
            ProjectError: It is not one uint8 tensor with four axes.
        """
        if len(inputs) != 1 or inputs[0].dtype != torch.uint8 or inputs[0].ndim != 4:
            found = ", ".join(f"{tensor.dtype} {list(tensor.shape)}" for tensor in inputs)
            raise ProjectError(
                f"ImageAugmentation: expected one input uint8 [b, height, width, channels], found {found or 'none'}"
            )
        images = self._move(inputs[0].permute(0, 3, 1, 2).to(torch.float32), generator)
        factor = 1.0 + _uniform(len(images), self.contrast, generator)[:, None, None, None]
        offset = _WHITE * _uniform(len(images), self.brightness, generator)[:, None, None, None]
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        changed = (images - mean) * factor + mean + offset
        return (changed.round().clamp(0.0, _WHITE).to(torch.uint8).permute(0, 2, 3, 1).contiguous(),)

    def features(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Leave features as they are: everything is done on the pixels.

        Args:
            features: What the feature pipeline made.
            generator: Not drawn from.

        Returns:
            The same tensor.
        """
        return features

    def _move(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Resample every image around its middle; rotation is by angle in pixels, whatever the aspect ratio."""
        items, _, height, width = images.shape
        angle = _uniform(items, math.radians(self.rotation_deg), generator)
        inverse = 1.0 / (1.0 + _uniform(items, self.scale, generator))
        down, right = _uniform(items, self.shift, generator), _uniform(items, self.shift, generator)
        mirror = 1.0 - 2.0 * (torch.rand(items, generator=generator) < self.mirror_share)
        cos, sin = inverse * angle.cos(), inverse * angle.sin()
        # Output position → input position, both from -1 to 1 over the axis.
        to_x = torch.stack((mirror * cos, mirror * sin * (height / width), -2.0 * right), dim=1)
        to_y = torch.stack((-sin * (width / height), cos, -2.0 * down), dim=1)
        grid = torch.nn.functional.affine_grid(
            torch.stack((to_x, to_y), dim=1), list(images.shape), align_corners=False
        )
        return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _uniform(items: int, largest: float, generator: torch.Generator) -> torch.Tensor:
    """[items] values from -largest to largest."""
    return largest * (2.0 * torch.rand(items, generator=generator) - 1.0)
