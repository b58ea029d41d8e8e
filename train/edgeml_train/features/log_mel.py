"""Log-mel spectrogram of int16 PCM, as a module that exports to ONNX and TFLite.

The DFT's constants would outweigh a small keyword network: a plain DFT of 256 samples is a matrix of 256 KiB. Here it
is factored as in Cooley and Tukey (1965) into two small transforms, both written as convolutions, for which every
backend has its fastest kernels; the first one cuts the frames, windows them and applies the twiddle factors at once
(:class:`_Spectrum`).
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeml_runtime.errors import ProjectError
from edgeml_train.features.base import FeaturePipeline, single_input
from edgeml_train.features.mel import mel_filters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeml_train.features.base import Inputs

__all__ = ["LogMel"]

_FULL_SCALE = 32768.0
_FIT_BATCH = 64


class LogMel(FeaturePipeline):
    """Frames under a Hann window, power spectrum, mel filters, logarithm, and each mel band standardised.

    The same as ``librosa.feature.melspectrogram(y=pcm / 32768, n_fft=frame, hop_length=hop, window="hann",
    center=False, power=2.0)`` with Slaney's mel scale and area norm, then the natural logarithm of it plus ``floor``.
    Samples behind the last whole frame are not used.

    ``floor`` keeps silence finite and decides how much of a recording's own noise is seen: a full-scale sine has a
    power of (frame / 4) ** 2 in its bin, that is 36 dB re 1 for 256 samples.

    Args:
        samples: Length of the input in samples, at least one frame.
        sample_rate_hz: Sampling rate of the input.
        frame: Samples per frame and length of the DFT; even. 256 at 8 kHz is 32 ms.
        hop: Samples from one frame to the next. The larger its common divisor with ``frame``, up to the root of
            ``frame``, the smaller and faster the module.
        mels: Number of mel bands.
        low_hz: Lower edge of the first band.
        high_hz: Upper edge of the last band, or None for half the sampling rate.
        floor: Mel power added before the logarithm.

    Attributes:
        frames: Number of frames in an input.

    Raises:
        ProjectError: The settings contradict each other.
    """

    def __init__(
        self,
        *,
        samples: int,
        sample_rate_hz: int,
        frame: int = 256,
        hop: int = 128,
        mels: int = 40,
        low_hz: float = 60.0,
        high_hz: float | None = None,
        floor: float = 1e-6,
    ) -> None:
        super().__init__()
        if not 0 < hop <= frame <= samples or frame % 2 or mels < 1 or not floor > 0.0:
            raise ProjectError(
                "LogMel: expected 0 < hop <= frame <= samples with an even frame, mels >= 1 and floor > 0, "
                f"found hop = {hop}, frame = {frame}, samples = {samples}, mels = {mels}, floor = {floor:g}"
            )
        self.samples = samples
        self.mels = mels
        self.floor = floor
        filters = mel_filters(
            sample_rate_hz=sample_rate_hz,
            n_fft=frame,
            mels=mels,
            low_hz=low_hz,
            high_hz=sample_rate_hz / 2 if high_hz is None else high_hz,
        )
        self.spectrum = _Spectrum(samples=samples, frame=frame, hop=hop, bins=np.any(filters > 0, axis=1))
        self.frames = self.spectrum.frames
        self.register_buffer("filters", _float32(self.spectrum.arrange(filters).T))
        self.register_buffer("mean", torch.zeros(mels))
        self.register_buffer("scale", torch.ones(mels))
        self.filters: torch.Tensor
        self.mean: torch.Tensor
        self.scale: torch.Tensor

    def log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
        """Compute the log-mel spectrogram before it is standardised.

        Args:
            waveform: int16 [b, samples].

        Returns:
            float32 [b, frames, mels], natural logarithm.
        """
        return torch.log(nn.functional.linear(self.spectrum(waveform), self.filters) + self.floor)

    def fit(self, inputs: Inputs) -> None:
        """Learn mean and standard deviation of every mel band over all items and frames.

        Args:
            inputs: int16 [items, samples], or a mapping with that one entry.

        Raises:
            ProjectError: The array is not int16 of that many samples.
        """
        waveforms = single_input(inputs, pipeline="LogMel")
        if waveforms.dtype != np.int16 or waveforms.shape[1:] != (self.samples,):
            raise ProjectError(
                f"LogMel.fit: expected int16 [items, {self.samples}], found {waveforms.dtype} {list(waveforms.shape)}; "
                "the input in edgeml.toml and LogMel(samples=…) must agree"
            )
        total, squares = torch.zeros(2, self.mels, dtype=torch.float64)
        with torch.no_grad():
            for start in range(0, len(waveforms), _FIT_BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(waveforms[start : start + _FIT_BATCH]))
                values = self.log_mel(batch).double()
                total += values.sum(dim=(0, 1))
                squares += values.square().sum(dim=(0, 1))
        count = len(waveforms) * self.frames
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0.0).sqrt()
        self.mean.copy_(mean)
        # A band that hardly varies (silence, or a filter above the source's own band) is not blown up.
        self.scale.copy_(1.0 / deviation.clamp_min(0.1))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Compute the standardised log-mel spectrogram.

        Args:
            waveform: int16 [b, samples].

        Returns:
            float32 [b, 1, frames, mels].
        """
        return ((self.log_mel(waveform) - self.mean) * self.scale).unsqueeze(1)


class _Spectrum(nn.Module):
    """int16 [b, samples] → power spectrum [b, frames, rows] of Hann-windowed frames, full scale 1.

    With n = q · i + j and k = m + r · l (frame = r · q, j < q, i < r), the DFT of x is

        X[m + r·l] = Σ_j exp(-2πi·j·l/q) · { exp(-2πi·j·m/frame) · Σ_i x[q·i + j] · exp(-2πi·i·m/r) }

    The braces, window included, are one convolution over time for each j (``first``); the sum over j is one small
    matrix for every m (``second``). x is real, so m runs only to r / 2: each remaining bin is the conjugate of one
    that is there. Rows are ordered by (m, l); :meth:`arrange` brings weights of bins 0 … frame / 2 into that order.

    What the first convolution puts out is, with its channels last, an image of frames · q rows, m columns and two
    channels, the real and the imaginary part. The sum over j is a convolution of that image, q rows at a time: nothing
    has to be transposed in TFLite, and no product has a constant on its left, which backends do not lay out in advance.

    Args:
        samples: Length of the input.
        frame: Samples per frame.
        hop: Samples from one frame to the next.
        bins: bool [frame / 2 + 1], which bins are wanted; an l with none of them is left out.
    """

    def __init__(self, *, samples: int, frame: int, hop: int, bins: NDArray[np.bool_]) -> None:
        super().__init__()
        self.q = _split(frame, hop)
        self.r = frame // self.q
        self.frame = frame
        self.stride = hop // self.q
        self.frames = (samples - frame) // hop + 1
        self.used = (self.frames - 1) * hop + frame
        i, j = np.arange(self.r), np.arange(self.q)
        m = np.arange(self.r // 2 + 1)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
        # Axes j, m, i: the channels of one j lie together, as a grouped convolution has them.
        turns = j[:, None, None] * m[None, :, None] / frame + i[None, None, :] * m[None, :, None] / self.r
        first = np.exp(-2j * np.pi * turns) * window.reshape(self.r, self.q).T[:, None, :] / _FULL_SCALE
        first = np.stack([first.real, first.imag], axis=2)
        self.register_buffer("first", _float32(first.reshape(-1, 1, 1, self.r)))
        numbers = m[:, None] + self.r * np.arange(self.q)[None, :]
        numbers = np.minimum(numbers, frame - numbers)
        wanted = _first_of_each(numbers) & bins[numbers]
        length = np.flatnonzero(wanted.any(axis=0))
        self.bins = numbers[:, length]
        # Output channels: real then imaginary parts of l; input channels: the parts of the first result.
        second = np.exp(-2j * np.pi * np.outer(length, j) / self.q)
        real = np.stack([second.real, -second.imag], axis=1)
        imaginary = np.stack([second.imag, second.real], axis=1)
        self.register_buffer("second", _float32(np.concatenate([real, imaginary])[..., None]))
        self.first: torch.Tensor
        self.second: torch.Tensor

    def arrange(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring weights of bins into the order of this module's rows.

        Args:
            weights: [frame / 2 + 1, n].

        Returns:
            [rows, n]; a bin that appears in two rows has its weight in the first and zero in the second.
        """
        first = _first_of_each(self.bins).reshape(-1, 1)
        return np.where(first, weights[self.bins.reshape(-1)], 0.0)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """int16 [b, samples] → float32 [b, frames, rows]."""
        m, length = self.bins.shape
        # Converted before it is cut: TFLite has no slice of int16.
        used = waveform.to(torch.float32)[:, : self.used]
        phases = used.reshape(-1, 1, self.used // self.q, self.q).permute(0, 3, 1, 2)
        inner = nn.functional.conv2d(phases, self.first, stride=(1, self.stride), groups=self.q)
        image = inner.permute(0, 2, 3, 1).reshape(-1, self.frames * self.q, m, 2).permute(0, 3, 1, 2)
        parts = nn.functional.conv2d(image, self.second, stride=(self.q, 1)).permute(0, 2, 3, 1)
        squares = parts * parts
        return (squares[..., :length] + squares[..., length:]).reshape(-1, self.frames, m * length)


def _first_of_each(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where each number appears for the first time, in the order of memory."""
    first = np.zeros(numbers.size, dtype=bool)
    first[np.unique(numbers, return_index=True)[1]] = True
    return first.reshape(numbers.shape)


def _split(frame: int, hop: int) -> int:
    """Return the common divisor of frame and hop that lies nearest to the root of frame (by ratio)."""
    common = gcd(frame, hop)
    divisors = [d for d in range(1, common + 1) if common % d == 0]
    return min(divisors, key=lambda d: abs(np.log(d * d / frame)))


def _float32(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
