"""LogMel against librosa, its numerics at the edges, and its settings."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.features import LogMel
from edgeml_train.features.mel import hz_to_mel, mel_filters, mel_to_hz

RNG = np.random.default_rng(4)


def recordings(samples=8000, rate=8000):
    """A voice-like glide over noise, a quiet tone, full-scale noise."""
    time = np.arange(samples) / rate
    glide = 9000 * np.sin(2 * np.pi * (200 * time + 300 * time**2)) + RNG.normal(0, 30, samples)
    tone = 12 * np.sin(2 * np.pi * 700 * time)
    noise = RNG.uniform(-32768, 32767, samples)
    return np.stack([glide, tone, noise]).round().astype(np.int16)


def librosa_log_mel(pcm, *, rate, frame, hop, mels, floor, low_hz=60.0, high_hz=None):
    power = librosa.feature.melspectrogram(
        y=pcm / 32768.0,
        sr=rate,
        n_fft=frame,
        hop_length=hop,
        window="hann",
        center=False,
        power=2.0,
        n_mels=mels,
        fmin=low_hz,
        fmax=high_hz,
    )
    return np.log(power + floor)


SETTINGS = {
    "the default at 8 kHz": {"rate": 8000, "frame": 256, "hop": 128, "mels": 40},
    "16 kHz, 25 ms every 10 ms": {"rate": 16000, "frame": 400, "hop": 160, "mels": 64},
    "hop of a whole frame": {"rate": 8000, "frame": 256, "hop": 256, "mels": 40},
    "hop without a common divisor": {"rate": 8000, "frame": 256, "hop": 81, "mels": 40},
    "odd factor": {"rate": 8000, "frame": 250, "hop": 125, "mels": 20},
    "the lower half": {"rate": 16000, "frame": 480, "hop": 320, "mels": 40, "low_hz": 20.0, "high_hz": 4000.0},
    "few long frames": {"rate": 16000, "frame": 1024, "hop": 512, "mels": 128, "low_hz": 0.0, "high_hz": 8000.0},
    "edges of the bands": {"rate": 8000, "frame": 512, "hop": 128, "mels": 20, "low_hz": 300.0, "high_hz": 3400.0},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_equals_librosa(case):
    settings = dict(SETTINGS[case])
    pcm = recordings(rate=settings["rate"])
    expected = librosa_log_mel(pcm, floor=1e-6, **settings)
    pipeline = LogMel(samples=8000, sample_rate_hz=settings.pop("rate"), **settings)
    found = pipeline.log_mel(torch.from_numpy(pcm)).numpy().transpose(0, 2, 1)
    assert found.shape == expected.shape
    # float32 against float64: amplitudes are right to 1e-7 of the loudest bin, which grows with the frame; the floor is
    # 1e-3 in amplitude.
    assert np.abs(found - expected).max() < 2e-4 * max(1.0, settings["frame"] / 400)


def test_mel_filters_equal_librosa():
    ours = mel_filters(sample_rate_hz=16000, n_fft=512, mels=40, low_hz=20.0, high_hz=7600.0)
    theirs = librosa.filters.mel(sr=16000, n_fft=512, n_mels=40, fmin=20.0, fmax=7600.0)
    assert np.abs(ours.T - theirs).max() < 1e-8  # librosa gives float32


def test_mel_scale_and_its_inverse():
    hz = np.array([0.0, 100.0, 999.0, 1000.0, 1001.0, 8000.0])
    assert np.allclose(hz_to_mel(hz), librosa.hz_to_mel(hz), atol=1e-12)
    assert np.allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_fit_makes_every_band_zero_mean_and_unit_deviation():
    pcm = np.concatenate([recordings() for _ in range(30)])
    pipeline = LogMel(samples=8000, sample_rate_hz=8000)
    pipeline.fit({"waveform": pcm})
    values = pipeline(torch.from_numpy(pcm)).numpy()
    assert values.shape == (90, 1, 61, 40)
    assert np.abs(values.mean(axis=(0, 1, 2))).max() < 1e-4
    assert np.abs(values.std(axis=(0, 1, 2)) - 1.0).max() < 1e-4


def test_silence_and_full_scale_are_finite():
    pipeline = LogMel(samples=8000, sample_rate_hz=8000)
    square = np.where(np.arange(8000) // 40 % 2, 32767, -32768)
    pcm = np.stack([np.zeros(8000), np.full(8000, -32768), square]).astype(np.int16)
    pipeline.fit(pcm[:1])
    values = pipeline(torch.from_numpy(pcm))
    assert torch.isfinite(values).all()
    assert values[0].abs().max() < 1e-4


def test_samples_behind_the_last_frame_are_not_used():
    pcm = recordings()
    changed = pcm.copy()
    changed[:, 7936:] = 0
    pipeline = LogMel(samples=8000, sample_rate_hz=8000)
    assert torch.equal(pipeline(torch.from_numpy(pcm)), pipeline(torch.from_numpy(changed)))
    changed[:, 7935] = 9999
    assert not torch.equal(pipeline(torch.from_numpy(pcm)), pipeline(torch.from_numpy(changed)))


def test_constants_are_far_smaller_than_a_dft_matrix():
    pipeline = LogMel(samples=8000, sample_rate_hz=8000)
    assert sum(buffer.numel() for buffer in pipeline.buffers()) * 4 < 48_000
    assert list(pipeline.parameters()) == []


def test_parts_of_the_spectrum_that_no_band_uses_are_not_computed():
    settings = {"samples": 16000, "sample_rate_hz": 16000, "frame": 480, "hop": 320}
    whole, lower = (LogMel(**settings, high_hz=high_hz) for high_hz in (8000.0, 4000.0))
    assert lower.spectrum.second.numel() < 0.6 * whole.spectrum.second.numel()
    assert lower.filters.shape[1] == lower.spectrum.bins.size < 0.6 * whole.spectrum.bins.size


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frame": 255}, "even frame"),
        ({"hop": 257}, "hop = 257"),
        ({"samples": 255}, "samples = 255"),
        ({"mels": 0}, "mels = 0"),
        ({"floor": 0.0}, "floor = 0"),
        ({"high_hz": 4001.0}, "half the sampling rate"),
        ({"low_hz": 3000.0, "high_hz": 2000.0}, "low_hz = 3000"),
        ({"mels": 200}, "always be zero"),
    ],
)
def test_contradicting_settings_are_refused(settings, words):
    with pytest.raises(ProjectError, match=words):
        LogMel(**{"samples": 8000, "sample_rate_hz": 8000, **settings})


@pytest.mark.parametrize(
    "pcm", [np.zeros((3, 8000), np.float32), np.zeros((3, 7999), np.int16), np.zeros((0, 8000), np.int16)]
)
def test_fit_refuses_other_arrays(pcm):
    with pytest.raises(ProjectError, match=r"LogMel\.fit: expected"):
        LogMel(samples=8000, sample_rate_hz=8000).fit(pcm)
