"""Mel filter banks in numpy, computed once when a pipeline is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

__all__ = ["hz_to_mel", "mel_filters", "mel_to_hz"]

# Slaney's scale (Auditory Toolbox, 1998): linear up to 1 kHz, logarithmic above, 27 steps per factor 6.4.
_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: Float64) -> Float64:
    """Convert frequencies to Slaney's mel scale (the default of ``librosa``).

    Args:
        hz: Frequencies in Hz, any shape, not negative.

    Returns:
        Mel values of the same shape.
    """
    above = np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, _BREAK_MEL + above)


def mel_to_hz(mel: Float64) -> Float64:
    """Convert values on Slaney's mel scale to Hz; the inverse of :func:`hz_to_mel`.

    Args:
        mel: Mel values, any shape, not negative.

    Returns:
        Frequencies in Hz of the same shape.
    """
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


def mel_filters(*, sample_rate_hz: int, n_fft: int, mels: int, low_hz: float, high_hz: float) -> Float64:
    """Triangular filters of equal area, spaced evenly on Slaney's mel scale.

    The same as ``librosa.filters.mel(htk=False, norm="slaney")``.

    Args:
        sample_rate_hz: Sampling rate.
        n_fft: Length of the DFT in samples.
        mels: Number of filters.
        low_hz: Lower edge of the first filter.
        high_hz: Upper edge of the last filter, at most half the sampling rate.

    Returns:
        float64[n_fft // 2 + 1, mels]: the weight of each frequency bin in each filter, in 1/Hz.

    Raises:
        ProjectError: The edges are out of order, or a filter is so narrow that it holds no bin.
    """
    if not 0 <= low_hz < high_hz <= sample_rate_hz / 2:
        raise ProjectError(
            f"mel filters: expected 0 <= low_hz < high_hz <= {sample_rate_hz / 2:g} Hz (half the sampling rate), "
            f"found low_hz = {low_hz:g}, high_hz = {high_hz:g}"
        )
    limits = hz_to_mel(np.array([low_hz, high_hz], dtype=np.float64))
    edges_hz = mel_to_hz(np.linspace(limits[0], limits[1], mels + 2))
    bins_hz = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    rising = (bins_hz[:, None] - edges_hz[None, :-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[None, 2:] - bins_hz[:, None]) / (edges_hz[2:] - edges_hz[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges_hz[2:] - edges_hz[:-2]))
    empty = np.flatnonzero(filters.max(axis=0) == 0.0)
    if empty.size:
        raise ProjectError(
            f"mel filters: filter {empty[0]} of {mels} lies between two bins of {sample_rate_hz / n_fft:g} Hz and "
            "would always be zero; take fewer mels, a longer frame or a higher low_hz"
        )
    return np.asarray(filters)
