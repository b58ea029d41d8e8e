"""MobileNetV3 large and small (Howard et al., "Searching for MobileNetV3", arXiv 1905.02244, tables 1 and 2)."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["MobileNetV3"]

# Kernel, expanded channels, channels, squeeze and excitation, hard swish (or else ReLU), stride.
_LARGE = (
    *((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1)),
    *((5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1)),
    *((3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1)),
    *((3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1)),
    *((5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
)
_SMALL = (
    *((3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1)),
    *((5, 96, 40, 1, 1, 2), (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1)),
    *((5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1)),
    *((5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1)),
)
_EPSILON = 1e-3


class _Excitation(nn.Module):
    """Squeeze and excitation by a quarter of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = _rounded(channels / 4)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, height, width] → the same shape."""
        scaled: Tensor = x * self.scale(x)
        return scaled


class _Block(nn.Module):
    """An inverted residual."""

    def __init__(self, channels_in: int, row: tuple[int, ...]) -> None:
        super().__init__()
        kernel, hidden, channels, excited, swish, stride = row
        layers = [] if hidden == channels_in else _conv(channels_in, hidden, 1, swish=swish)
        layers += _conv(hidden, hidden, kernel, stride=stride, groups=hidden, swish=swish)
        layers += [_Excitation(hidden)] if excited else []
        layers += [nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels, eps=_EPSILON)]
        self.branch = nn.Sequential(*layers)
        self.joined = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, height, width] → [b, channels', height', width']."""
        y: Tensor = self.branch(x)
        return x + y if self.joined else y


class MobileNetV3(nn.Sequential):
    """ImageNet: [b, 3, 224, 224] → 1000 logits.

    Args:
        large: Whether it is the large one.
    """

    def __init__(self, *, large: bool) -> None:
        rows, last = (_LARGE, 1280) if large else (_SMALL, 1024)
        layers = _conv(3, 16, 3, stride=2, swish=1)
        channels = 16
        for row in rows:
            layers.append(_Block(channels, row))
            channels = row[2]
        layers += _conv(channels, 6 * channels, 1, swish=1)
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6 * channels, last), nn.Hardswish()]
        super().__init__(*layers, *head, nn.Linear(last, 1000))


def _rounded(channels: float) -> int:
    """To a multiple of eight that is not more than a tenth below, as the authors' code does."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _conv(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, swish: int = 0
) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    activation = nn.Hardswish() if swish else nn.ReLU()
    return [convolution, nn.BatchNorm2d(channels_out, eps=_EPSILON), activation]
