"""The precision search as a decision over callables, in every small world."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import pytest

from edgeml_evaluate import PairedLoss, SliceLoss
from edgeml_export.search import ValidationLoss, search_precision

LAYERS = "abcde"


def paired(within):
    return PairedLoss(
        drop=0.0 if within else 0.1, items=0, lost=0, gained=0, n=100, allowed_drop=0.005, within=bool(within)
    )


def loss(within):
    """A loss that is too much on one slice alone, where it is."""
    part = SliceLoss(name="side=left", loss=paired(within), too_small=False)
    return ValidationLoss(overall=paired(within=True), slices=(part,))


def index_of(layers, count):
    """A set of layers as the bits of a number."""
    return sum(1 << LAYERS[:count].index(layer) for layer in layers)


def search(world, count):
    """Search in a world: bit i says whether the set of float layers with the bits i keeps the metric."""
    made = []

    def make(layers):
        made.append(layers)
        return SimpleNamespace(layers=layers)

    found = search_precision(
        list(LAYERS[:count]), make, lambda variant: loss(world >> index_of(variant.layers, count) & 1)
    )
    return found, made


def monotone_worlds(count):
    """Worlds in which more float layers never lose what fewer keep: the monotone Boolean functions of ``count``."""
    worlds = [0, 1]
    for before in range(count):
        width = 1 << before
        worlds = [low | high << width for low in worlds for high in worlds if low & ~high == 0]
    return worlds


def check_always(world, count, found, made):
    """What holds in every world."""
    everything = tuple(LAYERS[:count])
    keeps = world >> index_of(found.float_layers, count) & 1
    assert found.found == bool(keeps), "it says what its result does"
    assert found.made.layers == found.float_layers
    assert found.float_layers == tuple(layer for layer in everything if layer in found.float_layers), (
        "in the order given"
    )
    assert made[0] == (), "everything quantized is tried first"
    assert len(set(made)) == len(made), "every attempt is made once"
    assert [step.float_layers for step in found.steps] == made
    assert [step.loss.within for step in found.steps] == [bool(world >> index_of(tried, count) & 1) for tried in made]
    if not found.found:
        assert found.float_layers == everything


@pytest.mark.parametrize("count", range(6))
def test_every_monotone_world(count):
    for world in monotone_worlds(count):
        found, made = search(world, count)
        check_always(world, count, found, made)
        assert found.found == bool(world), "where any set of layers keeps the metric, the result does"
        if not found.found:
            continue
        prefixes = [LAYERS[:size] for size in range(count + 1)]
        greedy = next(size for size, layers in enumerate(prefixes) if world >> index_of(layers, count) & 1)
        assert len(found.float_layers) <= greedy
        for fewer in combinations(found.float_layers, max(0, len(found.float_layers) - 1)):
            if found.float_layers:
                assert not world >> index_of(fewer, count) & 1, "each of them is needed"


def test_there_are_as_many_monotone_worlds_as_dedekind_counted():
    """Sequence A000372 of the On-Line Encyclopedia of Integer Sequences."""
    assert [len(monotone_worlds(count)) for count in range(6)] == [2, 3, 6, 20, 168, 7581]


@pytest.mark.parametrize("count", range(4))
def test_every_world_whatever(count):
    """Noise of few validation items is not monotone; the result keeps the metric wherever all layers in float do."""
    for world in range(1 << (1 << count)):
        found, made = search(world, count)
        check_always(world, count, found, made)
        if world >> ((1 << count) - 1) & 1 or world & 1:
            assert found.found


def test_many_layers_take_few_attempts():
    """One layer of 64, wherever it stands in the ranking: halving finds it, and all before it are dropped."""
    ranking = [f"layer.{index}" for index in range(64)]
    for needed in (0, 1, 31, 63):
        found = search_precision(
            ranking, lambda layers: layers, lambda made, needed=needed: loss(ranking[needed] in made)
        )
        assert found.float_layers == (ranking[needed],)
        assert len(found.steps) <= 1 + 7 + 6 + needed


def test_steps_are_json():
    """Two layers, of which both are needed."""
    found, _ = search(0b1000, 2)
    steps = [step.to_dict() for step in found.steps]
    assert steps[0]["float_layers"] == []
    assert steps[0]["validation_loss"]["within"] is False
    assert steps[0]["validation_loss"]["slices_missed"] == ["side=left"]
    assert {"float_layers": ["a", "b"], "within": True} in [
        {"float_layers": step["float_layers"], "within": step["validation_loss"]["within"]} for step in steps
    ]


@pytest.mark.parametrize(
    ("overall", "part", "too_small", "within"),
    [(True, True, False, True), (False, True, False, False), (True, False, False, False), (True, False, True, True)],
)
def test_promise_holds_overall_and_on_every_slice_large_enough(overall, part, too_small, within):
    slices = (SliceLoss(name="side=left", loss=paired(part), too_small=too_small),)
    assert ValidationLoss(overall=paired(overall), slices=slices).within is within
