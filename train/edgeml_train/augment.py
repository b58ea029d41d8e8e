"""Augmentation: random changes to training batches that keep the label.

Applied in training only, to whole batches, on the inputs (before the feature pipeline) and on the features (after it).
Every random number comes from the generator that is handed in, so the same seed gives the same batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from edgeml_runtime.errors import ProjectError

__all__ = ["AudioAugmentation", "Augmentation"]

_FULL_SCALE = 32767.0


class Augmentation(Protocol):
    """What a task's ``augment()`` returns."""

    def inputs(self, inputs: tuple[torch.Tensor, ...], generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Change a batch of raw inputs.

        Args:
            inputs: One tensor [b, *shape] per input, in the contract's order.
            generator: Where every random number comes from.

        Returns:
            New tensors of the same shapes and dtypes; the given ones are left as they are.
        """

    def features(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change a batch of features.

        Args:
            features: What the feature pipeline made, [b, ...] float32.
            generator: Where every random number comes from.

        Returns:
            A new tensor of the same shape.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioAugmentation:
    """Speed, shift, gain and noise on int16 PCM; masks on its log-mel features.

    Every item of a batch draws its own values. A field of 0 (or equal ends of a range) switches that change off.

    Attributes:
        speed: Largest relative change of speed, and with it of pitch: 0.15 draws factors from 0.85 to 1.15.
        shift: Largest shift either way, as a share of the length; what comes in from outside is silence.
        gain_db: Smallest and largest gain.
        noise_share: Share of items that get white noise.
        snr_db: Smallest and largest signal-to-noise ratio, against the item's mean power.
        time_masks: Number of masks over time (SpecAugment, Park et al. 2019, arXiv:1904.08779).
        time_mask_share: Longest time mask, as a share of the frames.
        band_masks: Number of masks over mel bands.
        band_mask_share: Widest band mask, as a share of the bands.

    Raises:
        ProjectError: A setting is out of its range.
    """

    speed: float = 0.15
    shift: float = 0.1
    gain_db: tuple[float, float] = (-12.0, 6.0)
    noise_share: float = 0.5
    snr_db: tuple[float, float] = (5.0, 40.0)
    time_masks: int = 1
    time_mask_share: float = 0.15
    band_masks: int = 1
    band_mask_share: float = 0.2

    def __post_init__(self) -> None:
        checks = {
            "speed from 0 to below 1": 0.0 <= self.speed < 1.0,
            "shift from 0 to 1": 0.0 <= self.shift <= 1.0,
            "gain_db as (smallest, largest)": self.gain_db[0] <= self.gain_db[1],
            "noise_share from 0 to 1": 0.0 <= self.noise_share <= 1.0,
            "snr_db as (smallest, largest)": self.snr_db[0] <= self.snr_db[1],
            "time_masks of 0 or more": self.time_masks >= 0,
            "time_mask_share from 0 to 1": 0.0 <= self.time_mask_share <= 1.0,
            "band_masks of 0 or more": self.band_masks >= 0,
            "band_mask_share from 0 to 1": 0.0 <= self.band_mask_share <= 1.0,
        }
        for expected, holds in checks.items():
            if not holds:
                found = getattr(self, expected.split(maxsplit=1)[0])
                raise ProjectError(f"AudioAugmentation: expected {expected}, found {found}")

    def inputs(self, inputs: tuple[torch.Tensor, ...], generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Change speed, position, gain and noise of the waveforms.

        Args:
            inputs: One tensor int16 [b, samples].
            generator: Where every random number comes from.

        Returns:
            One tensor int16 [b, samples].

        Raises:
            ProjectError: It is not one int16 tensor with two axes.
        """
        if len(inputs) != 1 or inputs[0].dtype != torch.int16 or inputs[0].ndim != 2:
            found = ", ".join(f"{tensor.dtype} {list(tensor.shape)}" for tensor in inputs)
            raise ProjectError(f"AudioAugmentation: expected one input int16 [b, samples], found {found or 'none'}")
        waveform = _move(inputs[0].to(torch.float32), speed=self.speed, shift=self.shift, generator=generator)
        items = len(waveform)
        gain = 10.0 ** (_uniform(items, *self.gain_db, generator) / 20.0)
        snr_db = _uniform(items, *self.snr_db, generator)
        noisy = torch.rand(items, 1, generator=generator) < self.noise_share
        rms = waveform.square().mean(dim=1, keepdim=True).sqrt()
        noise = torch.randn(waveform.shape, generator=generator) * rms * 10.0 ** (-snr_db / 20.0)
        changed = (waveform + noise * noisy) * gain
        return (changed.round().clamp(-_FULL_SCALE - 1.0, _FULL_SCALE).to(torch.int16),)

    def features(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Set random stretches of time and of bands to zero, the fitted mean.

        Args:
            features: float32 [b, 1, frames, mels].
            generator: Where every random number comes from.

        Returns:
            float32 [b, 1, frames, mels].
        """
        for dim, masks, share in (
            (2, self.time_masks, self.time_mask_share),
            (3, self.band_masks, self.band_mask_share),
        ):
            for _ in range(masks):
                features = features * _keep(features, dim=dim, share=share, generator=generator)
        return features


def _uniform(items: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(items, 1, generator=generator)


def _move(waveform: torch.Tensor, *, speed: float, shift: float, generator: torch.Generator) -> torch.Tensor:
    """Play each item faster or slower around its middle and shift it, by linear interpolation; silence outside."""
    items, samples = waveform.shape
    factor = _uniform(items, 1.0 - speed, 1.0 + speed, generator)
    offset = _uniform(items, -shift, shift, generator) * samples
    middle = (samples - 1) / 2.0
    position = (torch.arange(samples) - middle) * factor + middle - offset
    padded = torch.nn.functional.pad(waveform, (1, 2))
    position = (position + 1.0).clamp(0.0, samples + 1.0)
    left = position.floor().to(torch.int64)
    share = position - left
    return padded.gather(1, left) * (1.0 - share) + padded.gather(1, left + 1) * share


def _keep(features: torch.Tensor, *, dim: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """0 in one random stretch along ``dim`` per item, 1 elsewhere."""
    items, size = features.shape[0], features.shape[dim]
    width = torch.randint(0, math.floor(share * size) + 1, (items, 1), generator=generator)
    start = (torch.rand(items, 1, generator=generator) * (size - width + 1)).floor()
    index = torch.arange(size)
    masked = (index >= start) & (index < start + width)
    shape = [items, 1, 1, 1]
    shape[dim] = size
    return (~masked).to(features.dtype).reshape(shape)
