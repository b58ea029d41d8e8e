"""The zoo: networks that export, bench and comparisons with other tools are measured on, from raw inputs.

Weights are random and seeded: what is measured on them is speed, size, and how far a variant agrees with PyTorch.
Layers stand in ``zoo_networks.py``, how weights are drawn in ``zoo_weights.py``, the raw inputs in ``zoo_items.py``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from zoo_items import images, sounds
from zoo_networks import Autoencoder, DsCnn, MobileNetV1, MobileNetV2, ResNet8
from zoo_weights import aim, randomise, settle

from edgeml_evaluate import LabelledData
from edgeml_runtime.contract_parse import parse_contract
from edgeml_train.features import Cepstra, Chain, FeaturePipeline, ImageFeatures, LogMel
from edgeml_train.fused import FusedModel, predict_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo_items import Raw

    from edgeml_runtime.contract import Contract

__all__ = ["ZOO", "ZooEntry"]

_SEED = 20210614
_SETTLING_ITEMS = 96
_BATCH = 32


class MeanSquaredError(nn.Module):
    """Of two tensors [b, n], for each item: [b, 1]."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compare."""
        difference = x - y
        return (difference * difference).mean(dim=1, keepdim=True)


class Reconstruction(nn.Module):
    """How badly the autoencoder reconstructs its input: the anomaly score of the benchmark, [b, ...] → [b, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder = Autoencoder()
        self.score = MeanSquaredError()

    def forward(self, features: Tensor) -> Tensor:
        """Score."""
        x = features.flatten(1)
        error: Tensor = self.score(x, self.autoencoder(x))
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """One network of the zoo.

    Attributes:
        contract: Its contract; the name of the entry is the name of the model in it.
        features: Makes the feature pipeline.
        network: Makes what comes behind it.
        raw: (items, generator) → the raw input [items, *shape] in the contract's dtype, and the scene of each.
        bare_shape: Shape of what the bare network takes, without the batch dimension.
        parameters: Trainable numbers of the bare network.
        macs: Multiplications of the bare network's convolutions and linear layers for one item.
    """

    contract: Contract
    features: Callable[[], FeaturePipeline]
    network: Callable[[], nn.Module]
    raw: Raw
    bare_shape: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def name(self) -> str:
        """The model's name."""
        return self.contract.name

    def build(self) -> FusedModel:
        """The fused model in evaluation mode, the same weights every time; a copy that the caller may change."""
        return copy.deepcopy(_built(self.name))

    def bare(self) -> nn.Module:
        """The network of the benchmark alone, with the weights of :meth:`build`: [b, *bare_shape] float32."""
        network = self.build().network
        return network.autoencoder if isinstance(network, Reconstruction) else network

    def items(self, count: int, seed: int) -> LabelledData:
        """Raw inputs whose targets are what the model itself decides in PyTorch: a lost item is a disagreement.

        Args:
            count: Number of items.
            seed: The same seed gives the same items.

        Returns:
            The items, with target and no attributes.
        """
        raw, _ = self.raw(count, np.random.default_rng(seed))
        inputs = {self.contract.inputs[0].name: raw}
        outputs = predict_array(_built(self.name), inputs, batch_size=_BATCH)
        targets = outputs.argmax(axis=1) if self.contract.outputs[0].shape != (1,) else outputs[:, 0].astype(np.float64)
        return LabelledData(inputs=inputs, targets=targets)


@cache
def _built(name: str) -> FusedModel:
    """Random weights, then normalisation statistics and the last layer from seeded items."""
    entry = next(entry for entry in ZOO if entry.name == name)
    raw, scenes = entry.raw(_SETTLING_ITEMS, np.random.default_rng(_SEED))
    features, network = entry.features(), entry.network()
    features.fit(raw)
    randomise(network, seed=_SEED)
    with torch.no_grad():
        batches = [features(part) for part in torch.split(torch.from_numpy(raw), _BATCH)]
    settle(network, batches)
    if isinstance(network, nn.Sequential):
        aim(network, batches, torch.from_numpy(scenes))
    return FusedModel(entry.contract, features, network).eval()


def _classifier(name: str, description: str, inputs: dict[str, Any], classes: int) -> Contract:
    labels = [f"class-{index}" for index in range(classes)]
    outputs = [
        {"name": "logits", "role": "logits", "dtype": "float32", "shape": [classes]},
        {"name": "scores", "role": "scores", "dtype": "float32", "shape": [classes], "labels": labels},
    ]
    data = {
        "outputs": outputs,
        "target": {"name": "class", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.9},
        # Random weights leave narrower margins between classes than trained ones.
        "export": {"max_metric_drop": 0.02},
    }
    return _contract(name, description, inputs, data)


def _contract(name: str, description: str, inputs: dict[str, Any], data: dict[str, Any]) -> Contract:
    model = {"name": name, "version": "1.0.0", "description": description}
    return parse_contract({"model": model, "inputs": [inputs], **data}, source="zoo")


def _pixels(side: int) -> dict[str, Any]:
    shape = [side, side, 3]
    common = {"dtype": "uint8", "range": [0, 255], "unit": "grey level", "source": "camera"}
    return {"name": "image", "shape": shape, **common}


def _samples(count: int) -> dict[str, Any]:
    common = {"dtype": "int16", "range": [-32768, 32767], "unit": "PCM sample", "source": "microphone, 16 kHz"}
    return {"name": "waveform", "shape": [count], **common}


# Parameters: those that the layers of the references add up to; Keras' summary of ds-cnn says 23,756. Multiplications:
# 2.657 M, 12.502 M, 7.490 M and 264.192 k in the model summaries of github.com/SiliconLabs/mltk (mltk/models/tinyml).
# MobileNetV2: 3,504,872 and 0.30 G in torchvision's documentation.
ZOO: tuple[ZooEntry, ...] = (
    ZooEntry(
        contract=_classifier("ds-cnn", "Keyword spotting, one second of sound.", _samples(16000), 12),
        # Windows of 30 ms every 20 ms, 40 mel bands up to 4 kHz, 10 cepstra (keyword_spotting/get_dataset.py).
        features=lambda: Chain(
            LogMel(samples=16000, sample_rate_hz=16000, frame=480, hop=320, mels=40, low_hz=20.0, high_hz=4000.0),
            Cepstra(mels=40, coefficients=10),
        ),
        network=DsCnn,
        raw=sounds(16000),
        bare_shape=(1, 49, 10),
        parameters=23_756,
        macs=2_656_768,
    ),
    ZooEntry(
        contract=_classifier("resnet8", "Image classification.", _pixels(32), 10),
        features=ImageFeatures,
        network=ResNet8,
        raw=images(32),
        bare_shape=(3, 32, 32),
        parameters=78_186,
        macs=12_501_632,
    ),
    ZooEntry(
        contract=_classifier("mobilenetv1", "Visual wake words, width 0.25.", _pixels(96), 2),
        features=ImageFeatures,
        network=MobileNetV1,
        raw=images(96),
        bare_shape=(3, 96, 96),
        parameters=216_322,
        macs=7_489_664,
    ),
    ZooEntry(
        contract=_contract(
            "autoencoder",
            "Anomaly score of machine sound.",
            _samples(3072),
            {
                "outputs": [{"name": "error", "role": "value", "shape": [1], "unit": "squared standard deviations"}],
                "target": {"name": "error", "kind": "regression"},
                "metric": {"primary": "mae", "floor": 1.0},
                "export": {"float_scopes": ["features", "network.score"], "max_metric_drop": 0.05},
            },
        ),
        # Five windows of 64 ms every 32 ms, 128 mel bands (anomaly_detection/common.py).
        features=lambda: LogMel(samples=3072, sample_rate_hz=16000, frame=1024, hop=512, mels=128, low_hz=0.0),
        network=Reconstruction,
        raw=sounds(3072),
        bare_shape=(640,),
        parameters=267_928,
        macs=264_192,
    ),
    ZooEntry(
        contract=_classifier("mobilenetv2", "ImageNet classification, width 1.0.", _pixels(224), 1000),
        features=ImageFeatures,
        network=MobileNetV2,
        raw=images(224),
        bare_shape=(3, 224, 224),
        parameters=3_504_872,
        macs=300_774_272,
    ),
)
