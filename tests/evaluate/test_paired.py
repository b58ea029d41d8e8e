from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_evaluate import paired_loss
from edgeml_runtime.contract import MetricName, MetricSpec
from edgeml_runtime.errors import InputError


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
