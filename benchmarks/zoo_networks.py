"""The networks of the zoo in PyTorch: the four of MLPerf Tiny, and MobileNetV2.

The first four follow the Keras code and the trained reference files of the benchmark layer by layer
(github.com/mlcommons/tiny, ``benchmark/training``): every convolution has a bias, batch normalisation has Keras'
epsilon, and padding is Keras' ``same``, which at stride 2 pads an even size to the right and below only. Softmax is
left to the fused model. MobileNetV2 follows Sandler et al. (arXiv 1801.04381, table 2) as torchvision writes it.

Networks take what their feature pipeline gives: float32 [b, channels, height, width], or [b, 640] for the autoencoder.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgeml_train.networks.autoencoder import dense_autoencoder
from edgeml_train.networks.mobilenet_v1 import batch_norm, mobilenet_v1_layers, separable
from edgeml_train.networks.resnet8 import resnet8_layers
from edgeml_train.networks.same_conv import SameConv, halved

__all__ = ["Autoencoder", "DsCnn", "MobileNetV1", "MobileNetV2", "ResNet8"]

Size = tuple[int, int]


def _pooled(classes: int, channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


class DsCnn(nn.Sequential):
    """Keyword spotting: [b, 1, 49, 10] MFCC → 12 logits (``keyword_spotting/keras_model.py``, ``ds_cnn``).

    The trained reference pools over all 25 x 5 values (``trained_models/kws_ref_model_float32.tflite``).
    """

    def __init__(self) -> None:
        size = (49, 10)
        layers: list[nn.Module] = [SameConv(1, 64, kernel=(10, 4), stride=2, size=size), batch_norm(64), nn.ReLU()]
        layers.append(nn.Dropout(0.2))
        for _ in range(4):
            layers += separable(64, 64, stride=1, size=halved(size, 2))
        super().__init__(*layers, nn.Dropout(0.4), *_pooled(12, 64))


class ResNet8(nn.Sequential):
    """Image classification: [b, 3, 32, 32] → 10 logits (``image_classification/keras_model.py``, 16 filters)."""

    def __init__(self) -> None:
        layers, channels = resnet8_layers(width=16, size=(32, 32), in_channels=3)
        super().__init__(*layers, *_pooled(10, channels))


class MobileNetV1(nn.Sequential):
    """Visual wake words: [b, 3, 96, 96] → 2 logits, width 0.25 (``visual_wake_words/vww_model.py``)."""

    def __init__(self) -> None:
        layers, channels = mobilenet_v1_layers(width=0.25, size=(96, 96), in_channels=3)
        super().__init__(*layers, *_pooled(2, channels))


class Autoencoder(nn.Sequential):
    """Anomaly detection: [b, 640] log-mel → its reconstruction (``anomaly_detection/keras_model.py``)."""

    def __init__(self) -> None:
        super().__init__(*dense_autoencoder(640))


class _Inverted(nn.Module):
    """An inverted residual with a linear bottleneck."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int, expand: int) -> None:
        super().__init__()
        hidden = channels_in * expand
        self.branch = nn.Sequential(
            *(_conv6(channels_in, hidden, 1) if expand != 1 else ()),
            *_conv6(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.joined = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """[b, channels, height, width] → [b, channels', height', width']."""
        y: Tensor = self.branch(x)
        return x + y if self.joined else y


def _conv6(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU6()]


class MobileNetV2(nn.Sequential):
    """ImageNet: [b, 3, 224, 224] → 1000 logits, width 1.0, with torchvision's symmetric padding."""

    # Expansion, channels, repetitions, stride of the first: table 2 of the paper.
    _BLOCKS = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def __init__(self) -> None:
        channels = 32
        layers = _conv6(3, channels, 3, stride=2)
        for expand, wider, repetitions, stride in self._BLOCKS:
            for index in range(repetitions):
                layers.append(_Inverted(channels, wider, stride=1 if index else stride, expand=expand))
                channels = wider
        layers += _conv6(channels, 1280, 1)
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000))
