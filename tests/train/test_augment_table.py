"""Values that go missing in training."""

from __future__ import annotations

import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.augment_table import TableAugmentation

NUMBERS = torch.arange(4000.0).reshape(1000, 4)
CATEGORIES = torch.arange(3000, dtype=torch.int32).reshape(1000, 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_numbers_become_nan_and_categories_unknown_by_their_shares():
    augmentation = TableAugmentation(missing_share=0.1, unknown_share=0.3)
    numbers, categories = augmentation.inputs((NUMBERS, CATEGORIES), generator())

    assert (numbers.dtype, categories.dtype) == (torch.float32, torch.int32)
    lost, unknown = numbers.isnan(), categories == -1
    # Three standard deviations of a share of 4,000 and of 3,000 draws.
    assert lost.float().mean() == pytest.approx(0.1, abs=0.015)
    assert unknown.float().mean() == pytest.approx(0.3, abs=0.026)
    assert torch.equal(numbers[~lost], NUMBERS[~lost])
    assert torch.equal(categories[~unknown], CATEGORIES[~unknown])
    assert lost.any(dim=0).all()
    assert unknown.any(dim=0).all()


def test_by_default_the_unknown_is_met():
    numbers, categories = TableAugmentation().inputs((NUMBERS, CATEGORIES), generator())

    assert 0 < numbers.isnan().float().mean() < 0.03
    assert 0.03 < (categories == -1).float().mean() < 0.07


def test_shares_of_zero_change_nothing():
    off = TableAugmentation(missing_share=0.0, unknown_share=0.0)
    for given, found in zip((CATEGORIES, NUMBERS), off.inputs((CATEGORIES, NUMBERS), generator()), strict=True):
        assert torch.equal(given, found)


def test_same_seed_gives_the_same_batch_and_the_given_one_is_left_alone():
    before = torch.random.get_rng_state()
    kept = CATEGORIES.clone()
    first, again, other = (TableAugmentation().inputs((CATEGORIES,), generator(seed))[0] for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(CATEGORIES, kept)
    assert torch.equal(before, torch.random.get_rng_state())


def test_features_stay_as_they_are():
    assert TableAugmentation().features(NUMBERS, generator()) is NUMBERS


@pytest.mark.parametrize("settings", [{"missing_share": 1.0}, {"unknown_share": -0.1}])
def test_shares_out_of_range_are_refused(settings):
    (name,) = settings
    with pytest.raises(ProjectError, match=f"TableAugmentation: expected {name} from 0 to below 1"):
        TableAugmentation(**settings)
