"""ImageAugmentation: every change by itself, determinism, and what stays as it was."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.augment_image import ImageAugmentation

OFF = ImageAugmentation(shift=0.0, rotation_deg=0.0, scale=0.0, mirror_share=0.0, brightness=0.0, contrast=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(items=32, height=24, width=32):
    return torch.randint(0, 256, (items, height, width, 3), generator=generator(9)).to(torch.uint8)


def squares(items=300, height=60, width=60, at=(20, 40)):
    """A white square of 8 × 8 around a place, on black."""
    images = torch.zeros(items, height, width, 1, dtype=torch.uint8)
    images[:, at[0] - 4 : at[0] + 4, at[1] - 4 : at[1] + 4] = 255
    return images


def centres(images):
    """Row and column of each picture's mass, from the middle of the picture, in pixels."""
    mass = images[..., 0].double()
    rows = torch.arange(mass.shape[1]) + 0.5 - mass.shape[1] / 2
    columns = torch.arange(mass.shape[2]) + 0.5 - mass.shape[2] / 2
    total = mass.sum((1, 2))
    return (mass.sum(2) @ rows.double()) / total, (mass.sum(1) @ columns.double()) / total


def changed(batch, seed=0, **settings):
    (result,) = dataclasses.replace(OFF, **settings).inputs((batch,), generator(seed))
    assert result.dtype == torch.uint8
    assert result.shape == batch.shape
    assert result.is_contiguous()
    return result


def test_with_everything_off_nothing_changes():
    batch = noise()
    assert torch.equal(changed(batch), batch)
    features = torch.randn(4, 3, 24, 32)
    assert torch.equal(ImageAugmentation().features(features, generator()), features)


def test_same_seed_gives_the_same_batch_and_the_given_one_is_left_alone():
    batch = noise()
    before = batch.clone()
    augmentation = ImageAugmentation(mirror_share=0.5)
    first, again, other = (augmentation.inputs((batch,), generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(batch, before)


def test_the_global_random_state_is_not_used():
    before = torch.random.get_rng_state()
    ImageAugmentation().inputs((noise(),), generator())
    assert torch.equal(before, torch.random.get_rng_state())


def test_shift_moves_every_item_by_its_own_amount_along_both_axes():
    rows, columns = centres(changed(squares(at=(30, 30)), shift=0.2))
    for moved in (rows, columns):
        assert -12.01 < moved.min() < -11
        assert 11 < moved.max() < 12.01
    assert torch.corrcoef(torch.stack((rows, columns)))[0, 1].abs() < 0.15


def test_what_comes_in_from_outside_repeats_the_edge():
    grey = torch.full((50, 20, 20, 3), 90, dtype=torch.uint8)
    assert torch.equal(changed(grey, shift=0.4, rotation_deg=45.0, scale=0.5), grey)


@pytest.mark.parametrize("size", [(60, 60), (40, 90)])
def test_rotation_keeps_the_distance_from_the_middle_and_stays_within_its_angle(size):
    height, width = size
    rows, columns = centres(
        changed(squares(height=height, width=width, at=(height // 2, 10 + width // 2)), rotation_deg=30.0)
    )
    assert (torch.hypot(rows, columns) - 10).abs().max() < 0.3
    angle = torch.rad2deg(torch.atan2(rows, columns))
    assert -30.5 < angle.min() < -27
    assert 27 < angle.max() < 30.5


def test_scale_changes_the_size_about_the_middle():
    _, columns = centres(changed(squares(at=(30, 40)), scale=0.2))
    assert 7.9 < columns.min() < 8.3
    assert 11.7 < columns.max() < 12.1


def test_mirror_reaches_its_share_and_is_exact():
    batch = noise(items=400)
    mirrored = changed(batch, mirror_share=0.3)
    flipped = (mirrored == batch.flip(2)).all(dim=3).all(dim=2).all(dim=1)
    kept = (mirrored == batch).all(dim=3).all(dim=2).all(dim=1)
    assert (flipped ^ kept).all()
    assert 0.22 < flipped.double().mean() < 0.38


def test_brightness_shifts_the_level_within_its_range():
    grey = torch.full((300, 4, 4, 3), 128, dtype=torch.uint8)
    level = changed(grey, brightness=0.1).double().mean((1, 2, 3)) - 128
    assert -26 <= level.min() < -24
    assert 24 < level.max() <= 26


def test_contrast_keeps_the_mean_and_scales_the_spread():
    batch = (noise(items=300, height=40, width=40) // 4 + 96).to(torch.uint8)
    result = changed(batch, contrast=0.25)
    ratio = result.double().std((1, 2, 3)) / batch.double().std((1, 2, 3))
    assert 0.74 < ratio.min() < 0.77
    assert 1.23 < ratio.max() < 1.26
    assert (result.double().mean((1, 2, 3)) - batch.double().mean((1, 2, 3))).abs().max() < 0.5


def test_levels_are_clipped_not_wrapped():
    for level, end in ((250, 255), (5, 0)):
        plain = torch.full((100, 4, 4, 3), level, dtype=torch.uint8)
        result = changed(plain, brightness=0.5)
        assert (result == end).all(dim=3).all(dim=2).all(dim=1).sum() > 20
        far = result.double().mean((1, 2, 3)) - level
        assert far.abs().max() <= 128


@pytest.mark.parametrize(
    "inputs",
    [
        (),
        (torch.zeros(2, 9, 9, 3),),
        (torch.zeros(9, 9, 3, dtype=torch.uint8),),
        (torch.zeros(2, 9, 9, 3, dtype=torch.uint8),) * 2,
    ],
)
def test_other_inputs_are_refused(inputs):
    with pytest.raises(ProjectError, match=r"expected one input uint8 \[b, height, width, channels\]"):
        ImageAugmentation().inputs(inputs, generator())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shift": 1.1}, "shift"),
        ({"rotation_deg": -1.0}, "rotation_deg"),
        ({"scale": 1.0}, "scale"),
        ({"mirror_share": 1.1}, "mirror_share"),
        ({"brightness": -0.1}, "brightness"),
        ({"contrast": 1.1}, "contrast"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ProjectError, match=f"ImageAugmentation: expected {words}"):
        ImageAugmentation(**settings)
