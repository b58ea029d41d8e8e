"""The loaders against independent references: scipy.signal, the standard library, Pillow and plain numpy."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import scipy.signal
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from edgeml_runtime.loaders import load_tensor
from edgeml_runtime.loaders.resample import resample, resampled_length, resampling_filter
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec

RNG = np.random.default_rng(8)
RATES = [(48000, 8000), (44100, 8000), (44100, 16000), (16000, 8000), (8000, 16000), (8000, 44100), (22050, 16000)]


def spec(name, dtype, shape, **options):
    return InputSpec(
        name="x",
        dtype=dtype,
        shape=shape,
        range=(-32768, 32767),
        unit="",
        source="",
        loader=LoaderSpec(name=name, version=1, options=options),
    )


def resampled(signal, source_hz, target_hz):
    count = resampled_length(len(signal), source_hz=source_hz, target_hz=target_hz)
    return resample(signal, source_hz=source_hz, target_hz=target_hz, first=0, count=count, name="signal")


@pytest.mark.parametrize(("source_hz", "target_hz"), RATES)
def test_resampling_equals_scipy_with_the_same_filter(source_hz, target_hz):
    signal = RNG.standard_normal(3001)
    common = np.gcd(source_hz, target_hz)
    up, down = target_hz // common, source_hz // common
    # resample_poly multiplies the window it is given by `up`, which our filter already holds.
    expected = scipy.signal.resample_poly(signal, up, down, window=resampling_filter(up, down) / up)
    found = resampled(signal, source_hz, target_hz)
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() < 1e-12  # float64, another order of summation


@pytest.mark.parametrize(("source_hz", "target_hz"), RATES)
def test_resampling_agrees_with_the_default_of_scipy_on_what_both_keep(source_hz, target_hz):
    kept_hz = 0.6 * min(source_hz, target_hz) / 2
    low_pass = scipy.signal.firwin(801, kept_hz, fs=source_hz)
    signal = scipy.signal.lfilter(low_pass, 1.0, RNG.standard_normal(6000))
    common = np.gcd(source_hz, target_hz)
    expected = scipy.signal.resample_poly(signal, target_hz // common, source_hz // common)
    edge = len(expected) // 5
    error = (resampled(signal, source_hz, target_hz) - expected)[edge:-edge]
    # scipy's Kaiser window (β = 5) ripples by about -54 dB in its pass band.
    assert error.std() < 3e-3 * expected[edge:-edge].std()


def test_filter_keeps_the_pass_band_and_stops_80_db():
    up, down = 80, 441
    frequency, response = scipy.signal.freqz(resampling_filter(up, down), worN=2**17, fs=44100 * up)
    level_db = 20 * np.log10(np.abs(response) / up + 1e-12)
    assert np.abs(level_db[frequency <= 0.84 * 4000]).max() < 0.01
    assert level_db[frequency >= 4000].max() < -78


@pytest.mark.parametrize("channels", [1, 2])
def test_file_of_the_standard_library_is_read_exactly(channels):
    values = RNG.integers(-32768, 32768, (500, channels)).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(values.tobytes())
    found = load_tensor(spec("wav", DType.INT16, (500,), sample_rate_hz=16000), buffer.getvalue())
    assert np.array_equal(found, np.rint(values.mean(axis=1)).astype(np.int16))


def photograph(kind="PNG", **settings):
    buffer = io.BytesIO()
    Image.fromarray(load_sample_image("flower.jpg")).save(buffer, kind, **settings)  # 427 × 640
    return buffer.getvalue()


def triangle_resize(pixels, size):
    """Shrink along axis 0 with a triangle as wide as the ratio, in float64: what antialiased bilinear means."""
    ratio = len(pixels) / size
    centre = (np.arange(size) + 0.5) * ratio
    weights = np.maximum(0, 1 - np.abs(np.arange(len(pixels)) + 0.5 - centre[:, None]) / ratio)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.tensordot(weights, pixels, axes=1)


def test_stretched_photograph_equals_antialiased_bilinear():
    found = load_tensor(spec("image", DType.UINT8, (96, 64, 3), fit="stretch"), photograph())
    pixels = load_sample_image("flower.jpg").astype(np.float64)
    expected = triangle_resize(triangle_resize(pixels, 96).swapaxes(0, 1), 64).swapaxes(0, 1)
    # Pillow rounds to uint8 between the two axes and again at the end: half a level each.
    assert np.abs(found - expected).max() <= 1.01


def test_padded_and_cropped_photograph_equal_pillow_itself():
    picture = Image.open(io.BytesIO(photograph("JPEG", quality=90)))
    padded = load_tensor(spec("image", DType.UINT8, (96, 96, 3)), photograph("JPEG", quality=90))
    expected = ImageOps.pad(picture, (96, 96), Image.Resampling.BILINEAR, color=(128, 128, 128))
    assert np.array_equal(padded, np.asarray(expected))
    cropped = load_tensor(spec("image", DType.UINT8, (96, 96), fit="crop"), photograph("JPEG", quality=90))
    expected = ImageOps.fit(picture.convert("L"), (96, 96), Image.Resampling.BILINEAR)
    # ImageOps rounds the cut to whole pixels in another place.
    assert np.abs(cropped.astype(int) - np.asarray(expected)).mean() < 0.6
