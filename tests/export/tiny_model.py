"""A tiny fused model, its contract and its data; also run as a program, to export in another process."""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

from edgeml_evaluate import LabelledData

CLASSES = 4
SAMPLES = 256


class Spectrum(nn.Module):
    """int16 [b, 256] → [b, 1, 16, 16]: log power of frames of 16 samples, through a fitted scale."""

    def __init__(self):
        super().__init__()
        angle = 2 * np.pi * np.outer(np.arange(16), np.arange(16)) / 32
        self.register_buffer("basis", torch.tensor(np.cos(angle) / 32768, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros(16))

    def fit(self, waveforms):
        with torch.no_grad():
            self.mean.copy_(self.log_power(waveforms).mean(dim=(0, 1)))

    def log_power(self, waveform):
        frames = waveform.to(torch.float32).reshape(-1, 16, 16) @ self.basis
        return torch.log(frames * frames + 1e-4)

    def forward(self, waveform):
        return (self.log_power(waveform) - self.mean).unsqueeze(1)


class TinyFused(nn.Module):
    """Spectrum, two convolutions with batch normalisation, dropout, a linear layer."""

    def __init__(self):
        super().__init__()
        self.features = Spectrum()
        self.network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 32, 3, stride=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(32, CLASSES),
        )

    def forward(self, waveform):
        logits = self.network(self.features(waveform))
        return {"logits": logits, "scores": torch.softmax(logits, dim=-1)}


def make_items(count, *, seed):
    """Sines of four frequencies in noise."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, count)
    time = np.arange(SAMPLES)
    phase = rng.uniform(0, 2 * np.pi, (count, 1))
    waves = np.sin(2 * np.pi * time * (targets[:, None] * 2 + 1) / 32 + phase) * rng.uniform(2000, 20000, (count, 1))
    waves = np.clip(waves + rng.normal(0, 1000, (count, SAMPLES)), -32768, 32767).astype(np.int16)
    side = np.where(np.arange(count) % 2 == 0, "left", "right")
    return LabelledData(inputs={"waveform": waves}, targets=targets, attributes={"side": side})


def contract_data():
    """The contract as it would stand in edgeml.toml."""
    labels = [f"tone-{index}" for index in range(CLASSES)]
    return {
        "model": {"name": "tiny", "version": "1.0.0", "description": "Tells four tones apart."},
        "inputs": [
            {
                "name": "waveform",
                "dtype": "int16",
                "shape": [SAMPLES],
                "range": [-32768, 32767],
                "unit": "PCM sample",
                "source": "microphone",
                "loader": {"name": "wav", "version": 1, "sample_rate_hz": 8000},
            }
        ],
        "outputs": [
            {"name": "logits", "role": "logits", "dtype": "float32", "shape": [CLASSES]},
            {"name": "scores", "role": "scores", "dtype": "float32", "shape": [CLASSES], "labels": labels},
        ],
        "target": {"name": "tone", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.5},
        "slices": {"by": ["side", "label"], "min_items": 5},
        "export": {"required": ["onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"]},
        "telemetry": [{"name": "level", "tensor": "waveform", "statistic": "rms", "edges": [10, 100, 1000, 10000]}],
    }


def main(weights, recording, out, *variants):
    """Export the model with the given weights, these variants or the default ones, and write nothing but the bundle."""
    from edgeml_export import export_bundle
    from edgeml_runtime.contract_parse import parse_contract

    torch.set_num_threads(1)
    model = TinyFused()
    model.load_state_dict(torch.load(weights, weights_only=True))
    data = contract_data()
    if variants:
        data["export"] = {"variants": list(variants), "required": []}
    report = export_bundle(
        model,
        contract=parse_contract(data, source="test"),
        calibration=make_items(160, seed=1),
        test=make_items(101, seed=2),
        out=out,
        golden_files={7: str(recording)},
        card="# tiny\n",
    )
    return 0 if report.ok else 1


if __name__ == "__main__":
    from pathlib import Path

    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]))
