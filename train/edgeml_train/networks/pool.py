"""Global average pooling that exports to one mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GlobalAveragePool"]


class GlobalAveragePool(nn.Module):
    """[b, channels, height, width] → [b, channels].

    Not ``nn.AdaptiveAvgPool2d(1)``: behind channels-last features (an image that was NHWC) its export re-strides the
    result with a gather, which no backend needs and which stays float in int8 variants.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Mean over height and width.

        Args:
            x: float32 [b, channels, height, width].

        Returns:
            float32 [b, channels].
        """
        return x.mean(dim=(2, 3), keepdim=True).flatten(1)
