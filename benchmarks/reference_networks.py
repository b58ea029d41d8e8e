"""The networks whose latency others have published, as TFLite files: MobileNetV1 to V3, 224 × 224, width 1.0.

Weights are random and seeded: instructions do not depend on them. They are exported as ``edgeml export`` does it, int8
per channel, and the files are taken out of the bundle.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from mobilenet_v3 import MobileNetV3
from zoo_items import images
from zoo_networks import MobileNetV2
from zoo_weights import aim, randomise, settle

from edgeml_evaluate import LabelledData
from edgeml_export import export_bundle
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_train.features import ImageFeatures
from edgeml_train.fused import FusedModel, predict_array
from edgeml_train.networks import mobilenet_v1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from edgeml_runtime.contract import Contract

__all__ = ["NETWORKS", "PUBLISHED", "network_file"]

NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "mobilenet-v1": lambda: mobilenet_v1(1000, width=1.0, size=(224, 224)),
    "mobilenet-v2": MobileNetV2,
    "mobilenet-v3-large": lambda: MobileNetV3(large=True),
    "mobilenet-v3-small": lambda: MobileNetV3(large=False),
}
PUBLISHED = {
    "mobilenet-v1": ("fp32", "int8"),
    "mobilenet-v2": ("fp32", "int8"),
    "mobilenet-v3-large": ("fp32",),
    "mobilenet-v3-small": ("fp32",),
}
"""Network → precisions that latencies were published for."""
_SIDE = 224
_CLASSES = 1000
_ITEMS = 16
_SEED = 20210614


def network_file(name: str, precision: str, work: Path) -> Path:
    """The TFLite file of a network, made if it is not there yet.

    Args:
        name: A key of :data:`NETWORKS`.
        precision: One that :data:`PUBLISHED` has for it.
        work: Folder where files are kept.

    Returns:
        Its path.
    """
    path = work / f"{name}-{precision}.tflite"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        bundle = work / f"{name}.edgeml"
        _export(name, bundle)
        with Bundle.open(bundle) as opened:
            for variant in opened.manifest.variants:
                (work / f"{name}-{variant.id.rpartition('-')[2]}.tflite").write_bytes(opened.read(variant.file))
    return path


def _contract(name: str) -> Contract:
    variants = [f"tflite-{precision}" for precision in PUBLISHED[name]]
    labels = [f"class-{index}" for index in range(_CLASSES)]
    image = {"name": "image", "dtype": "uint8", "shape": [_SIDE, _SIDE, 3], "range": [0, 255]}
    data = {
        "model": {"name": name, "version": "1.0.0", "description": "Width 1.0, random weights."},
        "inputs": [image | {"unit": "grey level", "source": "camera"}],
        "outputs": [
            {"name": "logits", "role": "logits", "dtype": "float32", "shape": [_CLASSES]},
            {"name": "scores", "role": "scores", "dtype": "float32", "shape": [_CLASSES], "labels": labels},
        ],
        "target": {"name": "class", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.5},
        # What is counted does not depend on how well random weights agree.
        "export": {"variants": variants, "required": variants, "max_metric_drop": 0.5, "fp32_max_abs_of_std": 1e-3},
    }
    return parse_contract(data, source=name)


def _export(name: str, out: Path) -> None:
    torch.set_num_threads(1)
    raw, scenes = images(_SIDE)(3 * _ITEMS, np.random.default_rng(_SEED))
    features, network = ImageFeatures(), NETWORKS[name]()
    features.fit(raw)
    randomise(network, seed=_SEED)
    with torch.no_grad():
        batches = [features(part) for part in torch.split(torch.from_numpy(raw), _ITEMS)]
    settle(network, batches)
    aim(network, batches, torch.from_numpy(scenes))
    contract = _contract(name)
    fused = FusedModel(contract, features, network).eval()
    outputs = predict_array(copy.deepcopy(fused), {"image": raw}, batch_size=_ITEMS)
    data = LabelledData(inputs={"image": raw}, targets=outputs.argmax(axis=1))
    report = export_bundle(fused, contract=contract, calibration=data, test=data, out=out)
    if not report.ok:
        raise SystemExit("\n".join(f"{variant.id}: {variant.reason}" for variant in report.variants if variant.reason))
