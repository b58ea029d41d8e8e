"""AudioAugmentation: every change by itself, determinism, and what stays as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.augment import AudioAugmentation

OFF = AudioAugmentation(
    speed=0.0, shift=0.0, gain_db=(0.0, 0.0), noise_share=0.0, snr_db=(20.0, 20.0), time_masks=0, band_masks=0
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tones(items=64, samples=2000, amplitude=8000.0):
    phase = torch.linspace(0, 3, items)[:, None] + torch.arange(samples) * 0.3
    return (amplitude * torch.sin(phase)).round().to(torch.int16)


def changed(batch, seed=0, **settings):
    (result,) = dataclasses.replace(OFF, **settings).inputs((batch,), generator(seed))
    assert result.dtype == torch.int16
    assert result.shape == batch.shape
    return result


def test_with_everything_off_nothing_changes():
    batch = tones()
    assert torch.equal(changed(batch), batch)
    features = torch.randn(4, 1, 20, 10)
    assert torch.equal(OFF.features(features, generator()), features)


def test_same_seed_gives_the_same_batch_and_the_given_one_is_left_alone():
    batch = tones()
    before = batch.clone()
    augmentation = AudioAugmentation()
    first, again, other = (augmentation.inputs((batch,), generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch, before)


def test_the_global_random_state_is_not_used():
    before = torch.random.get_rng_state()
    AudioAugmentation().inputs((tones(),), generator())
    AudioAugmentation().features(torch.ones(4, 1, 20, 10), generator())
    assert torch.equal(before, torch.random.get_rng_state())


def test_gain_is_drawn_per_item_between_its_ends():
    batch = tones()
    ratio_db = 20 * torch.log10(changed(batch, gain_db=(-12.0, 6.0)).double().std(1) / batch.double().std(1))
    assert -12.05 < ratio_db.min() < -9
    assert 4 < ratio_db.max() < 6.05


def test_loud_items_are_clipped_not_wrapped():
    loud = torch.full((3, 100), 30000, dtype=torch.int16)
    assert (changed(loud, gain_db=(6.0, 6.0)) == 32767).all()
    assert (changed(-loud, gain_db=(6.0, 6.0)) == -32768).all()


def test_noise_has_the_drawn_ratio_and_reaches_the_stated_share():
    batch = tones(items=400)
    noise = (changed(batch, noise_share=0.5, snr_db=(20.0, 20.0)) - batch).double()
    noisy = noise.abs().sum(1) > 0
    assert 0.4 < noisy.double().mean() < 0.6
    snr_db = 20 * torch.log10(batch[noisy].double().square().mean(1).sqrt() / noise[noisy].square().mean(1).sqrt())
    assert (snr_db - 20).abs().max() < 0.7


def test_silence_stays_silent():
    silence = torch.zeros(5, 300, dtype=torch.int16)
    assert torch.equal(changed(silence, noise_share=1.0, speed=0.1, shift=0.1, gain_db=(6.0, 6.0)), silence)


def test_shift_moves_every_item_by_its_own_amount_and_brings_in_silence():
    batch = torch.zeros(200, 1000, dtype=torch.int16)
    batch[:, 480:520] = 9000
    moved = changed(batch, shift=0.1).double()
    middle = (moved * torch.arange(1000)).sum(1) / moved.sum(1) - 499.5
    assert -100.1 < middle.min() < -80
    assert 80 < middle.max() < 100.1
    full = changed(torch.full((50, 1000), 9000, dtype=torch.int16), shift=0.1)
    assert (full == 0).any(dim=1).sum() >= 45
    assert (full.sum(1) > 0.89 * 9000 * 1000).all()


def test_speed_changes_pitch_within_its_range():
    batch = tones(items=100)
    spectrum = np.abs(np.fft.rfft(changed(batch, speed=0.15).numpy() * np.hanning(2000)))
    factors = spectrum.argmax(axis=1) / (0.3 / (2 * np.pi) * 2000)
    assert 0.84 < factors.min() < 0.9
    assert 1.1 < factors.max() < 1.16


@pytest.mark.parametrize(
    ("axis", "settings", "widest"),
    [(2, {"time_masks": 1, "time_mask_share": 0.25}, 5), (3, {"band_masks": 1, "band_mask_share": 0.4}, 4)],
)
def test_masks_cover_one_stretch_up_to_the_stated_width(axis, settings, widest):
    augmentation = dataclasses.replace(OFF, **settings)
    masked = augmentation.features(torch.ones(500, 1, 20, 10), generator())
    other = 5 - axis
    assert torch.equal(masked.amin(other), masked.amax(other))  # whole rows or columns
    widths = (masked.amin(other)[:, 0] == 0).sum(1)
    assert set(widths.tolist()) == set(range(widest + 1))
    edges = masked.amin(other)[:, 0].diff(dim=1).abs().sum(1)
    assert edges.max() <= 2
    covered = masked.amin(other)[:, 0].mean(0)
    assert covered.max() < 1.0  # every position is reached


def test_several_masks_are_drawn_apart():
    one, two = (dataclasses.replace(OFF, time_masks=n, time_mask_share=0.2) for n in (1, 2))
    features = torch.ones(300, 1, 20, 10)
    assert two.features(features, generator()).mean() < one.features(features, generator()).mean() - 0.05


@pytest.mark.parametrize(
    "inputs",
    [(), (torch.zeros(2, 9),), (torch.zeros(9, dtype=torch.int16),), (torch.zeros(2, 9, dtype=torch.int16),) * 2],
)
def test_other_inputs_are_refused(inputs):
    with pytest.raises(ProjectError, match=r"expected one input int16 \[b, samples\]"):
        AudioAugmentation().inputs(inputs, generator())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"speed": 1.0}, "speed"),
        ({"shift": -0.1}, "shift"),
        ({"gain_db": (3.0, -3.0)}, "gain_db"),
        ({"snr_db": (3.0, -3.0)}, "snr_db"),
        ({"noise_share": 1.1}, "noise_share"),
        ({"time_masks": -1}, "time_masks"),
        ({"time_mask_share": 1.1}, "time_mask_share"),
        ({"band_masks": -1}, "band_masks"),
        ({"band_mask_share": -0.1}, "band_mask_share"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ProjectError, match=f"AudioAugmentation: expected {words}"):
        AudioAugmentation(**settings)
