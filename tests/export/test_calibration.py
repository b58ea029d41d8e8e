"""Watching activations, and what the methods make of a whole model's."""

from __future__ import annotations

import numpy as np
import pytest

from edgeml_export.calibration import RangeObserver, calibrate, refuse_unbounded
from edgeml_runtime.contract import CalibrationMethod
from edgeml_runtime.errors import ProjectError

LARGEST = float(np.finfo(np.float32).max)
CLIPPING = [method for method in CalibrationMethod if method is not CalibrationMethod.MIN_MAX]


def watched(*parts):
    observer = RangeObserver()
    for part in parts:
        observer.widen(np.asarray(part, np.float32))
    for part in parts:
        observer.count(np.asarray(part, np.float32))
    return observer


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (([[1, 2], [3, -4]], [0.5]), (-4, 3)),
        (([2, 3],), (0, 3)),
        (([-2, -3], [-1]), (-3, 0)),
        (([], [1]), (0, 1)),
        (([LARGEST], [-LARGEST]), (-LARGEST, LARGEST)),
    ],
)
def test_a_range_is_exact_and_contains_zero(parts, expected):
    assert watched(*parts).range == expected


@pytest.mark.parametrize("scale", [1e-20, 1, 3e38])
@pytest.mark.parametrize("shape", [(4, 1000), (4, 10, 10, 10)])
def test_counts_are_those_of_numpy(scale, shape):
    rng = np.random.default_rng(0)
    values = (np.maximum(rng.uniform(-0.5, 1, shape), -0.3) * scale).astype(np.float32)
    values.reshape(-1)[::3] = 0
    histogram = watched(*values).histogram
    expected, edges = np.histogram(values[values != 0].astype(np.float64), 2048, (histogram.low, histogram.high))
    assert histogram.zeros == np.sum(values == 0)
    assert histogram.counts.sum() + histogram.zeros == values.size
    assert np.allclose(histogram.edges, edges)
    # float32 places a value next to an edge on either side of it
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 3


@pytest.mark.parametrize("values", [[np.nan, 1], [np.inf, 1], [0, 0], [1e-38], []])
def test_what_has_no_bins_cannot_be_clipped(values):
    observer = RangeObserver()
    observer.widen(np.asarray(values, np.float32))
    assert not observer.can_clip


def source(items, runs=None):
    """A model whose activations are known."""

    def run():
        if runs is not None:
            runs.append(len(items))
        yield from items

    return run


@pytest.fixture(scope="module")
def activations():
    rng = np.random.default_rng(0)
    items = [
        {
            "wide": rng.normal(size=(1, 4000)).astype(np.float32),
            "rectified": np.maximum(rng.normal(size=(1, 50, 80)), 0).astype(np.float32),
            "logits": rng.normal(size=(1, 400)).astype(np.float32),
            "missing": np.array([[1, np.nan if index == 3 else 2]], np.float32),
            "dead": np.zeros((1, 9), np.float32),
        }
        for index in range(100)
    ]
    items[50]["wide"][0, 7] = 25
    items[50]["logits"][0, 7] = 25
    return items


def smallest_and_largest(activations, name):
    values = np.concatenate([item[name].ravel() for item in activations])
    return min(float(values.min()), 0.0), max(float(values.max()), 0.0)


def test_min_max_takes_one_run_and_keeps_everything(activations):
    runs = []
    ranges = calibrate(source(activations, runs), CalibrationMethod.MIN_MAX, items=100)
    assert runs == [100]
    assert ranges["wide"][1] == 25
    for name in ("wide", "rectified", "logits", "dead"):
        assert ranges[name] == smallest_and_largest(activations, name)


@pytest.mark.parametrize("method", CLIPPING)
def test_the_other_methods_take_two_and_clip(activations, method):
    runs = []
    ranges = calibrate(source(activations, runs), method, items=100, whole={"logits"})
    assert runs == [100, 100]
    assert -5 < ranges["wide"][0] < -3 < 3 < ranges["wide"][1] < 20
    assert ranges["rectified"][0] == 0
    assert ranges["logits"] == smallest_and_largest(activations, "logits")
    assert ranges["dead"] == (0, 0)
    assert ranges.keys() == activations[0].keys()


@pytest.mark.parametrize("method", CalibrationMethod)
def test_what_was_nan_stays_nan_and_is_refused_where_it_is_to_be_quantized(activations, method):
    ranges = calibrate(source(activations), method, items=100)
    assert np.isnan(ranges["missing"]).all()
    refuse_unbounded({name: ranges[name] for name in ("wide", "dead")})
    with pytest.raises(ProjectError, match=r"'missing' is NaN or infinite.*float_scopes"):
        refuse_unbounded(ranges)


def test_more_integers_clip_less(activations):
    eight, sixteen = (
        calibrate(source(activations), CalibrationMethod.MSE, items=100, levels=2**bits)["wide"] for bits in (8, 16)
    )
    assert eight[1] < 20
    assert sixteen[1] > 24


@pytest.mark.parametrize(("method", "total"), [(CalibrationMethod.MIN_MAX, 100), (CalibrationMethod.MSE, 200)])
def test_progress_counts_the_items_of_every_run(activations, method, total):
    events = []
    calibrate(source(activations), method, items=100, progress=events.append, step="calibrate x")
    assert [event.done for event in events] == list(range(1, total + 1))
    assert {(event.step, event.total) for event in events} == {("calibrate x", total)}
