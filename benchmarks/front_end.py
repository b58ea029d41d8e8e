"""Measure the log-mel front end against the same one as a dense DFT, each in front of the same keyword network.

``python benchmarks/front_end.py`` exports both, from the raw waveform, in every default variant and with the settings
of three tasks, and prints a Markdown table: size of the file, and time of a prediction, ours ÷ dense, both timed in
turns in one run. The dense one is what a user would write: one convolution whose kernels are the windowed cosines and
sines.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
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

CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What :class:`edgeml_train.features.LogMel` is told."""

    samples: int
    sample_rate_hz: int
    frame: int
    hop: int
    mels: int
    low_hz: float
    high_hz: float

    def log_mel(self) -> LogMel:
        """Ours, fitted."""
        ours = LogMel(
            samples=self.samples,
            sample_rate_hz=self.sample_rate_hz,
            frame=self.frame,
            hop=self.hop,
            mels=self.mels,
            low_hz=self.low_hz,
            high_hz=self.high_hz,
        )
        ours.fit(items(self.samples, 64, 1).inputs)
        return ours


SETTINGS = {
    "61 frames of 256": Setting(
        samples=8000, sample_rate_hz=8000, frame=256, hop=128, mels=40, low_hz=60.0, high_hz=4000.0
    ),
    "49 frames of 480, up to 4 of 8 kHz": Setting(
        samples=16000, sample_rate_hz=16000, frame=480, hop=320, mels=40, low_hz=20.0, high_hz=4000.0
    ),
    "5 frames of 1024": Setting(
        samples=3072, sample_rate_hz=16000, frame=1024, hop=512, mels=128, low_hz=0.0, high_hz=8000.0
    ),
}
"""Of the template spoken-digits, and of the zoo's ds-cnn and autoencoder."""


class DenseLogMel(nn.Module):
    """int16 [b, samples] → float32 [b, 1, frames, mels], as :class:`edgeml_train.features.LogMel` gives it.

    Args:
        setting: Frames and bands.
        fitted: Its statistics are taken over.
    """

    def __init__(self, setting: Setting, fitted: LogMel) -> None:
        super().__init__()
        self.hop, self.bins = setting.hop, setting.frame // 2 + 1
        angle = 2 * np.pi * np.outer(np.arange(self.bins), np.arange(setting.frame)) / setting.frame
        window = np.hanning(setting.frame + 1)[:-1] / 32768
        kernels = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        filters = mel_filters(
            sample_rate_hz=setting.sample_rate_hz,
            n_fft=setting.frame,
            mels=setting.mels,
            low_hz=setting.low_hz,
            high_hz=setting.high_hz,
        )
        self.register_buffer("kernels", torch.tensor(kernels[:, None], dtype=torch.float32))
        self.register_buffer("filters", torch.tensor(filters.T.copy(), dtype=torch.float32))
        self.register_buffer("mean", fitted.mean.clone())
        self.register_buffer("scale", fitted.scale.clone())
        self.floor = fitted.floor

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """The spectrogram."""
        parts = nn.functional.conv1d(waveform.to(torch.float32).unsqueeze(1), self.kernels, stride=self.hop)
        squares = parts * parts
        power = squares[:, : self.bins] + squares[:, self.bins :]
        log_mel = torch.log(torch.matmul(self.filters, power) + self.floor)
        return ((log_mel.transpose(1, 2) - self.mean) * self.scale).unsqueeze(1)


def contract(samples: int) -> Contract:
    """Ten keywords from a waveform; what is lost is not judged, as the weights are random."""
    labels = [f"word-{index}" for index in range(CLASSES)]
    waveform = {"name": "waveform", "dtype": "int16", "shape": [samples], "range": [-32768, 32767]}
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


def items(samples: int, count: int, seed: int) -> LabelledData:
    """Noise of many levels, with no labels worth the name."""
    generator = np.random.default_rng(seed)
    level = 10 ** generator.uniform(1, 4, (count, 1))
    waveforms = np.clip(generator.normal(0, level, (count, samples)), -32768, 32767).astype(np.int16)
    return LabelledData(inputs={"waveform": waveforms}, targets=np.zeros(count, np.int64))


def main() -> int:
    """Export both with every setting, and print."""
    torch.set_num_threads(1)
    print(
        "| frames | variant | file, ours | file, dense DFT | time, ours ÷ dense | ours, µs |\n|---|---|---|---|---|---|"
    )
    for title, setting in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            bundles = export_both(setting, Path(folder))
            for variant in contract(setting.samples).export.variants:
                print(row(title, variant, bundles, items(setting.samples, 1, 4)), flush=True)
    return 0


def export_both(setting: Setting, folder: Path) -> dict[str, Path]:
    """Bundles of the same network behind either front end."""
    torch.manual_seed(0)
    network = ds_cnn(CLASSES)
    promise = contract(setting.samples)
    ours = setting.log_mel()
    calibration, test = (items(setting.samples, 64, seed) for seed in (2, 3))
    bundles = {}
    for name, features in (("ours", ours), ("dense", DenseLogMel(setting, ours))):
        bundles[name] = folder / f"{name}.edgeml"
        fused = FusedModel(promise, features, network).eval()
        export_bundle(fused, contract=promise, calibration=calibration, test=test, out=bundles[name])
    return bundles


def row(title: str, variant: str, bundles: dict[str, Path], one: LabelledData) -> str:
    """One variant of both bundles."""
    item: Any = one.inputs["waveform"][0]
    with Model.load(bundles["ours"], variant=variant) as ours, Model.load(bundles["dense"], variant=variant) as dense:
        timing = time_in_turns(lambda: ours.predict(item), lambda: dense.predict(item))
        sizes = [
            next(member.size_bytes for member in model.manifest.members if member.name == model.variant.file) / 1e3
            for model in (ours, dense)
        ]
    figures = f"{sizes[0]:.0f} kB | {sizes[1]:.0f} kB | {timing.ratio:.2f} | {timing.first_us:.0f}"
    return f"| {title} | {variant} | {figures} |"


if __name__ == "__main__":
    sys.exit(main())
