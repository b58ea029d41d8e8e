"""Convolutions padded as Keras' ``same``, which at stride 2 pads an even size to the right and below only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SameConv", "halved", "same_padding"]

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
        (top, bottom), (left, right) = (same_padding(n, k, stride) for n, k in zip(size, kernel, strict=True))
        even = top == bottom and left == right
        super().__init__(
            channels_in, channels_out, kernel, stride, padding=(top, left) if even else 0, groups=groups, bias=True
        )
        self.around = None if even else (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: float32 [b, channels, height, width].

        Returns:
            float32 [b, channels_out, ⌈height / stride⌉, ⌈width / stride⌉].
        """
        return super().forward(x if self.around is None else nn.functional.pad(x, self.around))


def same_padding(size: int, kernel: int, stride: int) -> Size:
    """Zeros before and behind along one axis (tensorflow.org/api_docs/python/tf/nn, "Notes on padding").

    Args:
        size: Of the input.
        kernel: Of the kernel.
        stride: Of the convolution.

    Returns:
        (before, behind); behind is the larger one where they differ.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def halved(size: Size, stride: int) -> Size:
    """Height and width behind a convolution with ``same`` padding.

    Args:
        size: Height and width of its input.
        stride: Along both axes.

    Returns:
        ⌈height / stride⌉ and ⌈width / stride⌉.
    """
    return -(-size[0] // stride), -(-size[1] // stride)
