"""ImageFeatures, Standardise, Window and Chain against independent references."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageStat
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import StandardScaler

from edgeml_runtime.errors import ProjectError
from edgeml_train.features import Chain, Fill, ImageFeatures, LogMel, Standardise, Window

RNG = np.random.default_rng(9)
IMAGES = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)


def columns():
    """Columns of very different size, two of them with missing values, one that never varies."""
    values = RNG.normal([1013.25, -4.0, 0.0, 3e-3], [8.0, 20.0, 1e-2, 1e-3], (200, 4))
    values = np.concatenate([values, np.full((200, 1), 7.3)], axis=1).astype(np.float32)
    values[::7, 0] = np.nan
    values[3::5, 3] = np.nan
    return values


def test_image_features_by_default_are_exact_in_the_pixel_128():
    pipeline = ImageFeatures()
    pipeline.fit(IMAGES)
    values = pipeline(torch.from_numpy(IMAGES)).numpy()
    assert values.dtype == np.float32
    assert np.array_equal(values, (IMAGES.transpose(0, 3, 1, 2) - 128.0) / 64.0)


def test_fitted_channels_equal_the_statistics_of_pillow():
    buffer = io.BytesIO()
    Image.fromarray(IMAGES.reshape(120, 5, 3)).save(buffer, "PNG")
    statistics = ImageStat.Stat(Image.open(buffer))
    pipeline = ImageFeatures(per_channel=True)
    pipeline.fit({"image": IMAGES})
    expected = (IMAGES - np.array(statistics.mean)) / np.array(statistics.stddev)
    # float32 against float64 on values of a few units.
    assert np.abs(pipeline(torch.from_numpy(IMAGES)).numpy() - expected.transpose(0, 3, 1, 2)).max() < 1e-6


def test_channel_that_never_varies_stays_finite():
    pipeline = ImageFeatures(channels=1, per_channel=True)
    flat = np.full((2, 4, 4, 1), 9, np.uint8)
    pipeline.fit(flat)
    assert torch.equal(pipeline(torch.from_numpy(flat)), torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize("images", [IMAGES.astype(np.float32), IMAGES[..., :1], IMAGES[0]])
def test_image_features_refuse_other_arrays(images):
    with pytest.raises(ProjectError, match=r"ImageFeatures\.fit: expected uint8"):
        ImageFeatures().fit(images)


@pytest.mark.parametrize("fill", list(Fill))
def test_standardise_equals_scikit_learn(fill):
    values = columns()
    # scikit-learn's scaler ignores NaN too; the imputer's values are standardised with the same statistics.
    imputed = SimpleImputer(strategy=fill.value).fit_transform(values.astype(np.float64))
    expected = StandardScaler().fit(values.astype(np.float64)).transform(imputed)
    pipeline = Standardise(columns=5, fill=fill)
    pipeline.fit(values)
    found = pipeline(torch.from_numpy(values)).numpy()
    assert found.dtype == np.float32
    # The statistics are rounded to float32: 1013.25 ± 8 keeps 1e-7 · 1013 / 8.
    assert np.abs(found - expected).max() < 3e-5


def test_indicators_equal_scikit_learn():
    values = columns()
    pipeline = Standardise(columns=5, indicators=True)
    pipeline.fit({"table": values})
    found = pipeline(torch.from_numpy(values)).numpy()
    expected = MissingIndicator(features="all").fit_transform(values)
    assert found.shape == (200, 10)
    assert np.array_equal(found[:, 5:], expected.astype(np.float32))
    assert np.isfinite(found).all()


def test_missing_value_becomes_the_mean_that_is_zero():
    values = columns()
    pipeline = Standardise(columns=5)
    pipeline.fit(values)
    assert torch.equal(pipeline(torch.full((1, 5), torch.nan)), torch.zeros(1, 5))


def test_time_steps_count_as_items():
    values = RNG.normal(size=(4, 50, 3)).astype(np.float32)
    pipeline = Standardise(columns=3)
    pipeline.fit(values)
    assert torch.equal(pipeline.mean, torch.from_numpy(values.reshape(-1, 3).mean(axis=0, dtype=np.float64)).float())
    assert pipeline(torch.from_numpy(values)).shape == (4, 50, 3)


@pytest.mark.parametrize(
    ("column", "words"), [([1.0, np.inf], "column 1 of 2 holds infinity"), ([np.nan] * 2, "column 1 of 2 has no value")]
)
def test_standardise_refuses_columns_it_cannot_learn(column, words):
    with pytest.raises(ProjectError, match=words):
        Standardise(columns=2).fit(np.array([[1.0, 2.0], column], np.float32).T)


def test_standardise_refuses_other_arrays():
    for values in (np.zeros((3, 4), np.float32), np.zeros(5, np.float32), np.full((3, 5), "a")):
        with pytest.raises(ProjectError, match="expected numbers of shape"):
            Standardise(columns=5).fit(values)


@pytest.mark.parametrize(("size", "step"), [(8, 4), (8, 8), (8, 3), (8, 12), (8, 1), (1, 1), (50, 7)])
@pytest.mark.parametrize("rest", [(), (3,)])
def test_window_equals_numpy(size, step, rest):
    series = RNG.normal(size=(2, 50, *rest)).astype(np.float32)
    expected = np.lib.stride_tricks.sliding_window_view(series, size, axis=1)[:, ::step]
    expected = np.moveaxis(expected, -1, 2)
    pipeline = Window(length=50, size=size, step=step)
    pipeline.fit(series)
    assert pipeline.windows == expected.shape[1]
    assert np.array_equal(pipeline(torch.from_numpy(series)).numpy(), expected)


@pytest.mark.parametrize("settings", [{"size": 0, "step": 1}, {"size": 51, "step": 1}, {"size": 5, "step": 0}])
def test_window_refuses_contradicting_settings(settings):
    with pytest.raises(ProjectError, match="expected 0 < size <= length"):
        Window(length=50, **settings)


def test_window_refuses_another_length():
    with pytest.raises(ProjectError, match=r"expected \[items, 50, ...\], found \[2, 49\]"):
        Window(length=50, size=5, step=5).fit(np.zeros((2, 49), np.float32))


def test_chain_fits_each_pipeline_on_what_the_one_before_makes():
    series = RNG.normal(5.0, 2.0, (300, 50)).astype(np.float32)
    chain = Chain(Window(length=50, size=10, step=5), Standardise(columns=10))
    chain.fit({"series": series})
    windows = np.lib.stride_tricks.sliding_window_view(series, 10, axis=1)[:, ::5]
    expected = StandardScaler().fit_transform(windows.reshape(-1, 10).astype(np.float64)).reshape(windows.shape)
    assert np.abs(chain(torch.from_numpy(series)).numpy() - expected).max() < 1e-5


def test_chain_refuses_what_is_no_pipeline():
    with pytest.raises(ProjectError, match="at least one"):
        Chain()
    with pytest.raises(ProjectError, match="expected a FeaturePipeline at position 0, found ReLU"):
        Chain(torch.nn.ReLU()).fit(np.zeros((1, 1), np.float32))


def test_several_inputs_need_to_be_told_apart():
    with pytest.raises(ProjectError, match=r"expected one input, found 2 \('a', 'b'\)"):
        LogMel(samples=8000, sample_rate_hz=8000).fit({"a": np.zeros((1, 8000)), "b": np.zeros((1, 8000))})


@pytest.mark.parametrize("pipeline", [LogMel(samples=8000, sample_rate_hz=8000), ImageFeatures(per_channel=True)])
def test_what_was_fitted_travels_in_the_state(pipeline):
    images = isinstance(pipeline, ImageFeatures)
    data = IMAGES if images else RNG.integers(-900, 900, (4, 8000)).astype(np.int16)
    fresh = ImageFeatures(per_channel=True) if images else LogMel(samples=8000, sample_rate_hz=8000)
    pipeline.fit(data)
    fresh.load_state_dict(pipeline.state_dict())
    assert torch.equal(fresh(torch.from_numpy(data)), pipeline(torch.from_numpy(data)))
