"""The zoo's preprocessing as an application would write it by hand around a peer: numpy, one item, no copy to spare.

A front turns a raw item into what the bare network takes. Its numbers are read off the fitted feature pipeline once and
saved, so that the measuring process needs no PyTorch for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Front = Callable[[Array], Array]

__all__ = ["FRONT_FILE", "front_of", "is_sound", "load_front", "save_front"]

FRONT_FILE = "front.npz"
PIXELS, SOUND = "pixels", "sound"
FULL_SCALE = 32768.0


def front_of(features: Any) -> dict[str, Array]:
    """The numbers of a fitted pipeline of the zoo: ``ImageFeatures``, ``LogMel``, or ``LogMel`` and ``Cepstra``."""
    steps = list(getattr(features, "steps", [features]))
    first = steps[0]
    if hasattr(first, "channels"):
        return {
            "kind": np.array(PIXELS),
            "mean": np.float32(first.mean.item()),
            "scale": np.float32(first.scale.item()),
        }
    spectrum = first.spectrum
    numbers = {
        "kind": np.array(SOUND),
        "frame": np.array(spectrum.frame),
        "hop": np.array(spectrum.stride * spectrum.q),
        "filters": bins_in_order(first),
        "mean": first.mean.numpy(),
        "scale": first.scale.numpy(),
        "floor": np.float32(first.floor),
    }
    if len(steps) > 1:
        numbers["basis"] = steps[1].basis.numpy()
    return numbers


def bins_in_order(log_mel: Any) -> Array:
    """Mel filters as float32 [bins, mels], bins as an ordinary DFT numbers them."""
    bins = log_mel.spectrum.frame // 2 + 1
    # The rows that belong to bin k are where `arrange` puts a one that stands at k.
    rows = log_mel.spectrum.arrange(np.eye(bins))
    return np.ascontiguousarray(rows.T @ log_mel.filters.numpy().T, dtype=np.float32)


def save_front(numbers: Mapping[str, Array], path: Path) -> None:
    """Write the numbers of a front."""
    np.savez(path, **numbers)


def is_sound(path: Path) -> bool:
    """Whether a saved front is that of a network for sound."""
    return bool(np.load(path)["kind"] == SOUND)


def load_front(path: Path, *, channels_last: bool) -> Front:
    """Read a front.

    Args:
        path: A file of :func:`save_front`.
        channels_last: Whether images stay [height, width, channels] instead of having their channels moved in front.

    Returns:
        Raw item without a batch dimension → float32 [1, …].
    """
    numbers = dict(np.load(path))
    if numbers["kind"] == PIXELS:
        return pixels(numbers["mean"], numbers["scale"], channels_last=channels_last)
    return sound(numbers, channels_last=channels_last)


def pixels(mean: Array, scale: Array, *, channels_last: bool) -> Front:
    """uint8 [height, width, 3] → float32, normalised in place."""

    def front(image: Array) -> Array:
        source = image if channels_last else image.transpose(2, 0, 1)
        values = source.astype(np.float32, order="C")
        values -= mean
        values *= scale
        return values[np.newaxis]

    return front


def sound(numbers: Mapping[str, Array], *, channels_last: bool) -> Front:
    """int16 [samples] → float32 log-mel spectrogram or cepstra [1, 1, frames, columns], or its values [1, n]."""
    frame, hop = int(numbers["frame"]), int(numbers["hop"])
    window = (np.hanning(frame + 1)[:-1] / FULL_SCALE).astype(np.float32)
    filters, mean, scale, floor = (numbers[name] for name in ("filters", "mean", "scale", "floor"))
    basis = numbers.get("basis")
    flat = basis is None

    def front(waveform: Array) -> Array:
        frames = np.lib.stride_tricks.sliding_window_view(waveform, frame)[::hop] * window
        spectrum = np.fft.rfft(frames)
        power = spectrum.real**2 + spectrum.imag**2
        values = np.log(power @ filters + floor)
        values -= mean
        values *= scale
        if flat:
            return values.reshape(1, -1)
        values = values @ basis
        return values[np.newaxis, :, :, np.newaxis] if channels_last else values[np.newaxis, np.newaxis]

    return front
