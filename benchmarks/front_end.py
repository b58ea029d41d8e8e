"""Measure the log-mel front end against the same one as a dense DFT, each in front of the same keyword network.

``python benchmarks/front_end.py`` exports both, from the raw waveform, in every default variant, and prints a Markdown
table: size of the file, and time of a prediction, ours ÷ dense, both timed in turns in one run. The dense one is what a
user would write: one convolution whose kernels are the windowed cosines and sines.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from interleaved import time_in_turns
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export import export_bundle
from edgeml_runtime import Model
from edgeml_runtime.contract_parse import parse_contract
from edgeml_train.features import LogMel
from edgeml_train.features.mel import mel_filters
from edgeml_train.fused import FusedModel
from edgeml_train.networks import ds_cnn

if TYPE_CHECKING:
    from edgeml_runtime.contract import Contract

SAMPLES = RATE_HZ = 8000
FRAME, HOP, MELS, CLASSES = 256, 128, 40, 10


class DenseLogMel(nn.Module):
    """int16 [b, 8000] → float32 [b, 1, frames, mels], as :class:`edgeml_train.features.LogMel` gives it.

    Args:
        fitted: Its statistics are taken over.
    """

    def __init__(self, fitted: LogMel) -> None:
        super().__init__()
        bins = FRAME // 2 + 1
        angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(FRAME)) / FRAME
        window = np.hanning(FRAME + 1)[:-1] / 32768
        kernels = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        filters = mel_filters(sample_rate_hz=RATE_HZ, n_fft=FRAME, mels=MELS, low_hz=60.0, high_hz=RATE_HZ / 2)
        self.register_buffer("kernels", torch.tensor(kernels[:, None], dtype=torch.float32))
        self.register_buffer("filters", torch.tensor(filters.T.copy(), dtype=torch.float32))
        self.register_buffer("mean", fitted.mean.clone())
        self.register_buffer("scale", fitted.scale.clone())
        self.floor = fitted.floor

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """The spectrogram."""
        parts = nn.functional.conv1d(waveform.to(torch.float32).unsqueeze(1), self.kernels, stride=HOP)
        squares = parts * parts
        power = squares[:, : FRAME // 2 + 1] + squares[:, FRAME // 2 + 1 :]
        log_mel = torch.log(torch.matmul(self.filters, power) + self.floor)
        return ((log_mel - self.mean) * self.scale).transpose(1, 2).unsqueeze(1)


def contract() -> Contract:
    """Ten keywords from a second of sound; what is lost is not judged, as the weights are random."""
    labels = [f"word-{index}" for index in range(CLASSES)]
    waveform = {"name": "waveform", "dtype": "int16", "shape": [SAMPLES], "range": [-32768, 32767]}
    return parse_contract(
        {
            "model": {"name": "keywords", "version": "1.0.0"},
            "inputs": [{**waveform, "unit": "PCM sample", "source": "microphone"}],
            "outputs": [
                {"name": "logits", "role": "logits", "shape": [CLASSES]},
                {"name": "scores", "role": "scores", "shape": [CLASSES], "labels": labels},
            ],
            "target": {"name": "word", "kind": "classification"},
            "metric": {"primary": "accuracy", "floor": 0.0},
            "export": {"max_metric_drop": 1.0, "max_slice_drop": 1.0, "float_scopes": ["features", "network.0"]},
        },
        source="front_end.py",
    )


def items(count: int, seed: int) -> LabelledData:
    """Noise of many levels, with no labels worth the name."""
    generator = np.random.default_rng(seed)
    level = 10 ** generator.uniform(1, 4, (count, 1))
    waveforms = np.clip(generator.normal(0, level, (count, SAMPLES)), -32768, 32767).astype(np.int16)
    return LabelledData(inputs={"waveform": waveforms}, targets=np.zeros(count, np.int64))


def main() -> int:
    """Export both, and print."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    promise = contract()
    ours = LogMel(samples=SAMPLES, sample_rate_hz=RATE_HZ)
    ours.fit(items(64, 1).inputs)
    network = ds_cnn(CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        bundles = {}
        for name, features in (("ours", ours), ("dense", DenseLogMel(ours))):
            bundles[name] = Path(folder) / f"{name}.edgeml"
            fused = FusedModel(promise, features, network).eval()
            export_bundle(fused, contract=promise, calibration=items(64, 2), test=items(64, 3), out=bundles[name])
        print("| variant | file, ours | file, dense DFT | time, ours ÷ dense | ours, µs |\n|---|---|---|---|---|")
        for variant in promise.export.variants:
            print(row(variant, bundles))
    return 0


def row(variant: str, bundles: dict[str, Path]) -> str:
    """One variant of both bundles."""
    item: Any = items(1, 4).inputs["waveform"][0]
    with Model.load(bundles["ours"], variant=variant) as ours, Model.load(bundles["dense"], variant=variant) as dense:
        timing = time_in_turns(lambda: ours.predict(item), lambda: dense.predict(item))
        sizes = [
            next(member.size_bytes for member in model.manifest.members if member.name == model.variant.file) / 1e3
            for model in (ours, dense)
        ]
    return f"| {variant} | {sizes[0]:.0f} kB | {sizes[1]:.0f} kB | {timing.ratio:.2f} | {timing.first_us:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
