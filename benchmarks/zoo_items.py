"""Seeded raw inputs for the zoo: photographs of a few scenes, and recordings of a few chords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Raw = Callable[[int, np.random.Generator], tuple[NDArray[Any], NDArray[np.int64]]]

__all__ = ["images", "sounds"]

_SCENES = 12
_SEED = 20210614
_SAMPLE_RATE_HZ = 16000


def images(side: int) -> Raw:
    """Smooth coloured scenes, each item under its own light and with noise.

    Args:
        side: Height and width in pixels.

    Returns:
        (items, generator) → uint8 [items, side, side, 3], and the scene of each item.
    """

    def raw(count: int, generator: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.int64]]:
        coarse = np.random.default_rng(_SEED).uniform(0, 255, (_SCENES, 3, 6, 6)).astype(np.float32)
        smooth = nn.functional.interpolate(torch.from_numpy(coarse), size=(side, side), mode="bicubic")
        pictures = smooth.permute(0, 2, 3, 1).numpy()
        scenes = generator.integers(0, _SCENES, count)
        items = np.empty((count, side, side, 3), np.uint8)
        for index, scene in enumerate(scenes):
            lit = generator.uniform(0.7, 1.2) * (pictures[scene] - 128) + 128 + generator.uniform(-20, 20)
            items[index] = np.clip(lit + generator.normal(0, 8, lit.shape), 0, 255)
        return items, scenes

    return raw


def sounds(samples: int) -> Raw:
    """Chords of four tones at 16 kHz, each item with its own pitch, onset and loudness, in noise.

    Args:
        samples: Length of an item.

    Returns:
        (items, generator) → int16 [items, samples], and the chord of each item.
    """

    def raw(count: int, generator: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.int64]]:
        chords_hz = np.exp(np.random.default_rng(_SEED).uniform(np.log(80), np.log(3500), (_SCENES, 4)))
        time_s = np.arange(samples) / _SAMPLE_RATE_HZ
        scenes = generator.integers(0, _SCENES, count)
        items = np.empty((count, samples), np.int16)
        for index, scene in enumerate(scenes):
            tones_hz = chords_hz[scene, :, None] * generator.uniform(0.97, 1.03)
            phases = generator.uniform(0, 2 * np.pi, (4, 1))
            onset_s = generator.uniform(0, 0.3) * time_s[-1]
            envelope = np.exp(-4 * np.abs(time_s - onset_s) / time_s[-1])
            wave = np.sin(2 * np.pi * tones_hz * time_s + phases).sum(axis=0) * envelope
            wave = wave * generator.uniform(1000, 6000) + generator.normal(0, 100, samples)
            items[index] = np.clip(wave, -32768, 32767)
        return items, scenes

    return raw
