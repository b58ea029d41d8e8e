"""Changing the sampling rate: polyphase filtering with a windowed sinc.

The filter: a sinc with its cutoff at 0.92 of the lower Nyquist frequency, 32 zero crossings to each side, under a
Kaiser window with β = 8 (about 80 dB of stop-band attenuation by Kaiser's formula A = β / 0.1102 + 8.7; the
transition then ends at the lower Nyquist frequency). Coefficients are rounded to multiples of 2 ** -28, a change of
-168 dB. Products with mono 16-bit and 24-bit samples and their sums are then exact in float64, so the result depends
neither on the order of summation nor on the machine's mathematical library.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float64 = NDArray[np.float64]

__all__ = ["resample", "resampling_filter"]

_ZERO_CROSSINGS = 32
_CUTOFF = 0.92
_KAISER_BETA = 8.0
_COEFFICIENT_STEP = 2.0**-28
_MAX_COEFFICIENTS = 2**22
_BLOCK_VALUES = 2**20


@lru_cache(maxsize=4)
def resampling_filter(up: int, down: int) -> Float64:
    """Return the low-pass filter at ``up`` times the source's rate.

    Args:
        up: Interpolation factor.
        down: Decimation factor, without a common divisor with ``up``.

    Returns:
        float64 [2 · half + 1], symmetric, with sum ``up``; half = 32 · max(up, down).
    """
    widest = max(up, down)
    half = _ZERO_CROSSINGS * widest
    offset = np.arange(-half, half + 1) / widest
    taps = np.sinc(_CUTOFF * offset) * np.kaiser(2 * half + 1, _KAISER_BETA)
    taps *= up / taps.sum()
    return np.asarray(np.round(taps / _COEFFICIENT_STEP) * _COEFFICIENT_STEP)


def resample(signal: Float64, *, source_hz: int, target_hz: int, first: int, count: int, name: str) -> Float64:
    """Return a stretch of the signal at another rate.

    Output sample k lies at the time of input position k · source_hz / target_hz; the signal is zero outside its ends.
    In whole it has ceil(n · target_hz / source_hz) samples; only the stretch asked for is computed.

    Args:
        signal: float64 [n].
        source_hz: Its sampling rate.
        target_hz: The wanted rate.
        first: First output sample wanted.
        count: Number of output samples wanted.
        name: What to call the recording in messages.

    Returns:
        float64 [count].

    Raises:
        InputError: The two rates have so little in common that the filter would be too long.
    """
    common = gcd(source_hz, target_hz)
    up, down = target_hz // common, source_hz // common
    if up == down:
        return signal[first : first + count]
    if 2 * _ZERO_CROSSINGS * max(up, down) > _MAX_COEFFICIENTS:
        raise InputError(
            f"{name}: cannot resample {source_hz} Hz to {target_hz} Hz, whose ratio {up}/{down} needs too long a "
            "filter; convert the file to a standard rate first"
        )
    taps = resampling_filter(up, down)
    half = len(taps) // 2
    # Phase p holds the coefficients that an output between two inputs meets: taps[p], taps[p + up], …, newest input
    # first.
    length = ceil(len(taps) / up)
    phases = np.pad(taps, (0, length * up - len(taps))).reshape(length, up).T[:, ::-1]
    padded = np.pad(signal, (length, length))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)
    position = np.arange(first, first + count, dtype=np.int64) * down + half
    out = np.empty(count)
    block = max(1, _BLOCK_VALUES // length)
    for start in range(0, count, block):
        at = position[start : start + block]
        out[start : start + block] = np.einsum("ij,ij->i", windows[at // up + 1], phases[at % up])
    return out


def resampled_length(samples: int, *, source_hz: int, target_hz: int) -> int:
    """Return how many samples a signal has at another rate.

    Args:
        samples: Its length now.
        source_hz: Its sampling rate.
        target_hz: The other rate.
    """
    return -(-samples * target_hz // source_hz)
