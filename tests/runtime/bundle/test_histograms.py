"""Reference histograms against counting by hand and the statistics of the standard library."""

from __future__ import annotations

import json
import math
import statistics
from itertools import pairwise

import numpy as np
import pytest

from edgeml_runtime.bundle import Bundle, Limits
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.canonical import canonical_json
from edgeml_runtime.contract import Statistic, TelemetryFeature
from edgeml_runtime.errors import BundleFormatError, BundleLimitError, InputError
from edgeml_runtime.histograms import (
    HISTOGRAMS,
    Histogram,
    feature_value,
    feature_values,
    histogram,
    histograms_member,
    merge,
    read_histograms,
)


def feature(statistic=Statistic.VALUE, edges=(0.0, 1.0, 2.5), name="f"):
    return TelemetryFeature(name=name, tensor="x", statistic=statistic, edges=edges)


def count_by_hand(edges, values):
    """Upper-inclusive buckets, as the OTLP specification words them."""
    bounds = [-math.inf, *edges, math.inf]
    return tuple(
        sum(low < value <= high or (low == -math.inf == value) for value in values if not math.isnan(value))
        for low, high in pairwise(bounds)
    )


def test_an_edge_belongs_to_the_bucket_below_it():
    values = [-math.inf, -1, 0.0, 1e-9, 1.0, np.nextafter(1.0, 2), 2.5, 2.6, math.inf, math.nan, math.nan]
    counted = histogram(feature(), values)
    assert counted == Histogram(name="f", edges=(0.0, 1.0, 2.5), counts=(3, 2, 2, 2), missing=2, n=11)
    assert counted.counts == count_by_hand((0.0, 1.0, 2.5), values)


def test_random_values_against_counting_by_hand():
    rng = np.random.default_rng(3)
    edges = tuple(np.unique(rng.normal(size=12).round(1)).tolist())
    values = rng.normal(size=(7, 50)).round(1)
    values[2, 5:9] = np.nan
    counted = histogram(feature(edges=edges), values)
    assert counted.counts == count_by_hand(edges, values.ravel().tolist())
    assert (counted.missing, counted.n) == (4, 350)


@pytest.mark.parametrize("values", [[], 1.0, np.float32(1), np.array([], np.int16)])
def test_no_value_and_a_single_one(values):
    counted = histogram(feature(), values)
    assert sum(counted.counts) == counted.n == np.size(values)
    assert all(type(count) is int for count in counted.counts)


@pytest.mark.parametrize(
    ("statistic", "reference"),
    [
        (Statistic.MEAN, statistics.fmean),
        (Statistic.STD, statistics.pstdev),
        (Statistic.RMS, lambda values: math.sqrt(statistics.fmean(value * value for value in values))),
        (Statistic.MIN, min),
        (Statistic.MAX, max),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_statistics_against_the_standard_library(statistic, reference, dtype):
    rng = np.random.default_rng(5)
    low, high = (0, 255) if dtype is np.uint8 else (-32768, 32767)
    tensors = rng.integers(low, high, (5, 4, 30)).astype(dtype)
    expected = [reference([float(value) for value in item.ravel()]) for item in tensors]
    np.testing.assert_allclose(feature_values(feature(statistic), tensors), expected, rtol=1e-12)
    value = feature_value(feature(statistic), tensors[3])
    assert type(value) is float
    assert value == pytest.approx(expected[3], rel=1e-12)


def test_value_takes_every_element():
    tensor = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.testing.assert_array_equal(feature_value(feature(), tensor), np.arange(6.0))
    np.testing.assert_array_equal(feature_value(feature(), np.float32(3)), [3.0])
    assert feature_values(feature(), np.stack([tensor] * 4)).shape == (24,)


@pytest.mark.parametrize("statistic", [Statistic.MEAN, Statistic.STD, Statistic.RMS, Statistic.MIN, Statistic.MAX])
def test_an_item_with_a_missing_element_is_missing(statistic):
    tensors = np.array([[1.0, np.nan], [1.0, 2.0]], np.float32)
    counted = histogram(feature(statistic), feature_values(feature(statistic), tensors))
    assert (counted.missing, counted.n) == (1, 2)


def test_items_taken_in_blocks_give_the_same(monkeypatch):
    tensors = np.random.default_rng(1).normal(size=(23, 9))
    whole = feature_values(feature(Statistic.STD), tensors)
    monkeypatch.setattr("edgeml_runtime.histograms._BLOCK_ELEMENTS", 20)
    np.testing.assert_array_equal(feature_values(feature(Statistic.STD), tensors), whole)
    assert feature_values(feature(Statistic.STD), tensors[:0]).shape == (0,)


def test_merging_equals_counting_together():
    values = np.random.default_rng(2).normal(size=100)
    values[7] = np.nan
    parts = [histogram(feature(), part) for part in (values[:30], values[30:])]
    assert merge(*parts) == histogram(feature(), values)


@pytest.mark.parametrize("other", [feature(name="g"), feature(edges=(0.0, 1.0, 2.6)), feature(edges=(0.0, 1.0))])
def test_histograms_of_different_meaning_are_not_added(other):
    with pytest.raises(InputError, match="only with the same name and edges"):
        merge(histogram(feature(), [1]), histogram(other, [1]))


def reread(sample, tmp_path, content, limits=None):
    path = tmp_path / "x.edgeml"
    members = {**sample.members, HISTOGRAMS: content}
    write_bundle(path, contract=sample.contract, variants=sample.variants, members=members)
    with Bundle.open(path, limits=limits) as bundle:
        return read_histograms(bundle)


def test_round_trip(sample, tmp_path):
    histograms = (histogram(feature(), [1, 2, math.nan]), histogram(feature(name="g", edges=(1e-7, 3.0)), []))
    assert reread(sample, tmp_path, histograms_member(histograms)) == histograms


def test_spelling_is_the_one_of_the_specification():
    assert histograms_member([histogram(feature(edges=(0, 1)), [0, math.nan])]) == (
        b'{"histograms":[{"counts":[1,0,0],"edges":[0.0,1.0],"missing":1,"n":2,"name":"f"}],"version":1}'
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"edges": [1.0, 1.0, 2.0]}, "edges: expected strictly increasing"),
        ({"edges": []}, "edges: expected strictly increasing"),
        ({"edges": [0, 1, 2]}, "edges: expected strictly increasing floats"),
        ({"edges": [0.0, "1", 2.0]}, "edges: expected strictly increasing"),
        ({"counts": [1, 0, 0]}, "counts: expected 4 integers"),
        ({"counts": [1, 0, 1, -1]}, "counts: expected 4 integers"),
        ({"counts": [1, 0, 0, True]}, "counts: expected 4 integers"),
        ({"missing": -1, "n": 2}, "missing: expected at least 0"),
        ({"missing": 1}, "n: expected 4"),
        ({"n": 4}, "n: expected 3, counts and missing in all, found 4"),
        ({"name": 3}, "name: expected a string"),
        ({"n": None}, "n: expected an integer"),
    ],
)
def test_histograms_that_break_the_specification(sample, tmp_path, fields, message):
    document = json.loads(histograms_member([histogram(feature(), [1, 2, 3])]))
    document["histograms"][0].update(fields)
    with pytest.raises(BundleFormatError, match=rf"histograms\[0\]: {message}"):
        reread(sample, tmp_path, canonical_json(document))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"histograms":[],"version":2}', "version: expected 1, found 2"),
        (b'{"histograms":{},"version":1}', "histograms: expected a list"),
        (b"[]", "expected an object"),
        (b'{"histograms":[],"version":1} ', "not JSON|not canonical"),
        (histograms_member([histogram(feature(), [1])] * 2), "names of the histograms must differ"),
    ],
)
def test_documents_that_break_the_specification(sample, tmp_path, content, message):
    with pytest.raises(BundleFormatError, match=message):
        reread(sample, tmp_path, content)


def test_limit_is_kept(sample, tmp_path):
    content = histograms_member([histogram(feature(edges=tuple(np.arange(2000.0).tolist())), [1])])
    with pytest.raises(BundleLimitError, match="9000 are allowed"):
        reread(sample, tmp_path, content, limits=Limits(max_json_bytes=9000))
