"""Affine maps of single elements, held against the same operations on random tensors."""

from __future__ import annotations

import itertools

import pytest
import torch

from edgeml_export.graph.affine import Affine

SHAPE = (2, 3, 4)
# Maps are float64, and so is what they are held against.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def constant(*shape, seed=0):
    """Numbers that are not near zero, so that scales can be divided by."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values + 0.5


OPERATIONS = {
    "per channel": (lambda x: x * constant(3, 1), lambda map_, _: map_.times(constant(3, 1))),
    "per element": (lambda x: x * constant(3, 4, seed=1), lambda map_, _: map_.times(constant(3, 4, seed=1))),
    "a number": (lambda x: x - 1.5, lambda map_, _: map_.plus(torch.tensor(-1.5, dtype=torch.float64))),
    "last axis": (lambda x: x + constant(4, seed=2), lambda map_, _: map_.plus(constant(4, seed=2))),
    "flip": (lambda x: x.flip(1), lambda map_, x: map_.moved(x.shape, lambda part: part.flip(1))),
    "split and merged": (
        lambda x: x.reshape(2, 12).reshape(2, 3, 4),
        lambda map_, x: map_.moved(x.shape, lambda part: part.reshape(2, 12)).moved(
            (2, 12), lambda part: part.reshape(2, 3, 4)
        ),
    ),
}


def applied(affine, x):
    return affine.scale * x + affine.offset


@pytest.mark.parametrize("names", list(itertools.permutations(OPERATIONS, 3)), ids=" then ".join)
def test_a_map_follows_operations(names):
    x = constant(*SHAPE, seed=9)
    affine, expected = Affine.identity(3), x
    moved = x
    for name in names:
        operation, follow = OPERATIONS[name]
        affine, expected = follow(affine, expected), operation(expected)
        moved = operation(moved) if name in ("flip", "split and merged") else moved
    torch.testing.assert_close(applied(affine, moved), expected, **CLOSE)


def test_the_identity_maps_to_itself():
    x = constant(*SHAPE)
    affine = Affine.identity(3)
    assert torch.equal(applied(affine, x), x)
    assert affine.elements == 2
    assert not affine.is_row
    assert affine.zero() == 0


@pytest.mark.parametrize(
    ("scale", "offset", "zero"),
    [
        (1 / 64, -2.0, 128.0),
        (1 / 255, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (-1 / 255, 1.0, 255.0),
        (1 / 127.5, -1.0, 127.5),
        (1 / 58.4, -123.7 / 58.4, 123.7),
        (0.0, 3.0, None),
        # What float32 makes of a mean of 128 that was written as 128 / 255, and a mean that merely is near it.
        (1 / 255, -float(torch.tensor(128 / 255, dtype=torch.float32)), 128.0),
        (1 / 255, -0.50196, 127.9998),
    ],
)
def test_the_value_that_becomes_zero(scale, offset, zero):
    parts = (torch.full((1, 1, 1), value, dtype=torch.float64) for value in (scale, offset))
    found = Affine(scale=next(parts), offset=next(parts)).zero()
    assert found == zero if zero is None or zero == round(zero) else found == pytest.approx(zero, abs=1e-4)
    assert zero is None or (found == round(found)) == (zero == round(zero))


def test_no_value_becomes_zero_where_channels_differ():
    assert Affine.identity(2).times(constant(3)).zero() is None
    assert Affine.identity(2).plus(constant(3)).zero() is None


def test_layout_leaves_a_map_as_short_as_it_was():
    affine = Affine.identity(4).times(constant(3))
    assert (affine.is_row, affine.elements) == (True, 4)
    moved = affine.moved((1, 5, 4, 3), lambda part: part.permute(0, 3, 1, 2))
    assert moved.scale.shape == (1, 3, 1, 1)
    assert not moved.is_row
    unsqueezed = moved.moved((1, 3, 5, 4), lambda part: part.reshape(1, 1, 3, 5, 4))
    assert unsqueezed.scale.shape == (1, 1, 3, 1, 1)
    flat = moved.moved((1, 3, 5, 4), lambda part: part.reshape(1, 60))
    assert flat.scale.shape == (1, 60)
    assert flat.offset.shape == (1, 1)


@pytest.mark.parametrize("order", [(0, 3, 1, 2), (0, 2, 3, 1), (0, 1, 3, 2), (3, 1, 0, 2), (0, 1, 2, 3)])
def test_a_map_before_a_permutation(order):
    x = constant(2, 3, 4, 5)
    scale, offset = (constant(*x.permute(order).shape, seed=seed) for seed in (1, 2))
    behind = Affine(scale=scale, offset=offset)
    before = behind.permuted_back(order)
    torch.testing.assert_close(applied(before, x).permute(order), applied(behind, x.permute(order)), **CLOSE)


def test_along_an_axis():
    channels = constant(3, 1, 1)
    affine = Affine.identity(4).times(channels).plus(-channels)
    scale, offset = affine.along(1)
    assert torch.equal(scale, channels.reshape(-1))
    assert torch.equal(offset, -channels.reshape(-1))
    assert affine.along(-1) is None
    uniform = Affine.identity(4).along(-1)
    assert [len(part) for part in uniform] == [1, 1]
    assert Affine.identity(3).times(constant(3, 4)).along(1) is None
