from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import LabelledData, paired_loss, slice_losses
from edgeml_runtime.contract import MetricName, MetricSpec, SliceRules
from edgeml_runtime.errors import InputError, ProjectError


def predictions(targets, wrong):
    changed = targets.copy()
    changed[list(wrong)] = (changed[list(wrong)] + 1) % 3
    return changed


@pytest.mark.parametrize(
    ("n", "lost", "gained", "within"),
    [
        (100, 2, 0, True),  # two items are allowed where they are more than half a point
        (100, 3, 0, False),
        (100, 5, 3, True),  # what is gained counts against what is lost
        (1000, 5, 0, True),  # half a point is five items of a thousand
        (1000, 6, 0, False),
        (400, 2, 0, True),  # 0.985 - 0.98 in binary lies a little above 0.005
        (100, 0, 4, True),
    ],
)
def test_allowance_of_a_classifier(contract, n, lost, gained, within):
    targets = np.arange(n) % 3
    reference = predictions(targets, [0, 1, *range(10, 10 + gained)])  # both have the first two wrong
    candidate = predictions(targets, [0, 1, *range(20, 20 + lost)])

    loss = paired_loss(contract, reference, candidate, targets)

    assert (loss.lost, loss.gained, loss.items, loss.n) == (lost, gained, lost - gained, n)
    assert loss.drop == pytest.approx((lost - gained) / n)
    assert loss.allowed_drop == max(0.005, 2 / n)
    assert loss.within is within


@pytest.mark.parametrize(("error", "within"), [(0.05, True), (0.15, False), (-0.3, True)])
def test_regression_has_no_allowance_in_items(regression, error, within):
    targets = np.linspace(0, 1, 10)

    loss = paired_loss(regression, targets + 0.5, targets + 0.5 + error, targets)

    assert loss.drop == pytest.approx(error)
    assert (loss.items, loss.allowed_drop, loss.within) == (0, 0.1, within)


def test_drop_is_in_the_unit_of_the_metric(contract):
    contract = replace(contract, metric=MetricSpec(primary=MetricName.BALANCED_ACCURACY, floor=0))
    targets = np.array([0] * 90 + [1] * 10)
    candidate = targets.copy()
    candidate[-1] = 0

    assert paired_loss(contract, targets, candidate, targets).drop == pytest.approx(0.05)


def test_lengths_are_checked(contract):
    with pytest.raises(InputError, match="same 3 items, found 3 of the reference and 2"):
        paired_loss(contract, np.zeros(3), np.zeros(2), np.zeros(3))


def test_dict_has_plain_values(contract):
    targets = np.arange(9) % 3
    assert paired_loss(contract, targets, targets, targets).to_dict() == {
        "drop": 0.0,
        "items": 0,
        "lost": 0,
        "gained": 0,
        "n": 9,
        "allowed_drop": 2 / 9,
        "within": True,
    }


def spoken(sizes):
    """So many items of every speaker, the letters in turn."""
    speakers = np.repeat(list(sizes), list(sizes.values()))
    inputs = {"x": np.zeros((len(speakers), 4), np.float32)}
    return LabelledData(inputs=inputs, targets=np.arange(len(speakers)) % 3, attributes={"speaker": speakers})


@pytest.mark.parametrize(
    ("n", "lost", "gained", "within"),
    [
        (20, 2, 0, True),  # two items are allowed where they are more than five points
        (20, 3, 0, False),
        (20, 4, 2, True),
        (500, 25, 0, True),  # five points of five hundred are 25 items
        (500, 26, 0, False),
        (9, 9, 0, True),  # fewer than min_items: too few to judge
        (10, 3, 0, False),  # exactly min_items
    ],
)
def test_a_slice_has_its_own_allowance(contract, n, lost, gained, within):
    data = spoken({"ann": 600, "bob": n})
    reference = predictions(data.targets, range(600 + lost, 600 + lost + gained))
    candidate = predictions(data.targets, range(600, 600 + lost))

    ann, bob = slice_losses(replace(contract, slices=SliceRules(by=("speaker",))), data, reference, candidate)

    assert (ann.name, ann.loss.drop, ann.within, ann.too_small) == ("speaker=ann", 0, True, False)
    assert (bob.name, bob.within, bob.too_small) == ("speaker=bob", within, n < 10)
    assert (bob.loss.lost, bob.loss.gained, bob.loss.n) == (lost, gained, n)
    assert bob.loss.allowed_drop == max(0.05, 2 / n)
    assert bob.to_dict()["within"] is within


def test_what_is_lost_in_one_slice_can_be_within_the_whole(contract):
    data = spoken({"ann": 600, "bob": 20})
    candidate = predictions(data.targets, [600, 601, 602])

    losses = slice_losses(contract, data, data.targets, candidate)

    assert paired_loss(contract, data.targets, candidate, data.targets).within
    assert [loss.name for loss in losses if not loss.within] == ["speaker=bob"]
    assert [loss.name for loss in losses] == ["speaker=ann", "speaker=bob", "label=a", "label=b", "label=c"]


def test_slices_of_a_regression_have_the_allowance_in_its_unit(regression):
    regression = replace(regression, slices=SliceRules(by=("speaker",)))
    regression = replace(regression, export=replace(regression.export, max_slice_drop=0.2))
    data = replace(spoken({"ann": 10, "bob": 10}), targets=np.linspace(0, 1, 20))
    error = np.repeat([0.15, 0.25], 10)

    ann, bob = slice_losses(regression, data, data.targets, data.targets + error)

    assert (ann.within, bob.within) == (True, False)
    assert bob.loss.allowed_drop == 0.2


def test_faults_of_slices_are_named(contract):
    data = spoken({"ann": 30})
    with pytest.raises(InputError, match="same 30 items, found 30 of the reference and 29"):
        slice_losses(contract, data, data.targets, data.targets[:-1])
    with pytest.raises(ProjectError, match="attribute 'speaker'"):
        slice_losses(contract, replace(data, attributes={}), data.targets, data.targets)


def test_without_slices_there_are_none(contract):
    data = spoken({"ann": 30})
    assert slice_losses(replace(contract, slices=SliceRules()), data, data.targets, data.targets) == ()
