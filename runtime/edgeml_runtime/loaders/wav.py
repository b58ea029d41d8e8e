"""The loader ``wav``: a recording to mono samples of a fixed length and rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from edgeml_runtime.errors import Fault
from edgeml_runtime.loaders.base import choice_fault, integer_fault, unknown_option_faults
from edgeml_runtime.loaders.resample import resample, resampled_length
from edgeml_runtime.loaders.riff import read_wav
from edgeml_runtime.tensors import DType

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.loaders.base import LoaderLimits
    from edgeml_runtime.tensors import InputSpec, LoaderSpec

__all__ = ["WavLoader"]

_ALIGNMENTS = ("start", "center")


class WavLoader:
    """Decode, mix down, resample, pad or crop, round: in this order, in float64 up to the last step (docs/loaders.md).

    Options: ``sample_rate_hz`` (required), the rate of the tensor; ``align``, ``"start"`` (default: keep the beginning,
    pad at the end) or ``"center"`` (keep the middle, pad both ends, the odd sample at the end).
    """

    versions = (1,)

    def faults(self, spec: InputSpec, path: str) -> list[Fault]:
        """Check dtype (int16 or float32), shape ([samples]) and options.

        Args:
            spec: The input.
            path: Key path of the input in the contract.

        Returns:
            Every fault.
        """
        options = cast("LoaderSpec", spec.loader).options
        faults = unknown_option_faults(options, ("sample_rate_hz", "align"), f"{path}.loader")
        faults += integer_fault(options, "sample_rate_hz", 1, 768_000, f"{path}.loader")
        faults += choice_fault(options, "align", _ALIGNMENTS, f"{path}.loader")
        if spec.dtype not in (DType.INT16, DType.FLOAT32):
            faults.append(Fault(f"{path}.dtype", '"int16" or "float32" for the loader "wav"', repr(spec.dtype.value)))
        if len(spec.shape) != 1:
            faults.append(Fault(f"{path}.shape", '[samples] for the loader "wav"', str(list(spec.shape))))
        return faults

    def load(self, spec: InputSpec, data: bytes, *, name: str, limits: LoaderLimits) -> NDArray[Any]:
        """Decode a WAV file.

        Args:
            spec: The input, without faults.
            data: The file.
            name: What to call it in messages.
            limits: What may be allocated.

        Returns:
            int16 [samples], full scale 32768, rounded half to even; or float32 [samples], full scale 1. Both are
            clipped to full scale.

        Raises:
            InputError: Not a WAV file, or one that cannot be decoded.
        """
        options = cast("LoaderSpec", spec.loader).options
        target_hz = cast("int", options["sample_rate_hz"])
        recording = read_wav(data, name=name, limits=limits)
        mono = recording.samples.sum(axis=1) / recording.samples.shape[1]
        (samples,) = spec.shape
        available = resampled_length(len(mono), source_hz=recording.sample_rate_hz, target_hz=target_hz)
        count = min(samples, available)
        centered = options.get("align") == "center"
        kept = resample(
            mono,
            source_hz=recording.sample_rate_hz,
            target_hz=target_hz,
            first=(available - count) // 2 if centered else 0,
            count=count,
            name=name,
        )
        out = np.zeros(samples)
        start = (samples - count) // 2 if centered else 0
        out[start : start + count] = kept
        if spec.dtype is DType.INT16:
            return np.clip(np.rint(out * 32768.0), -32768, 32767).astype(np.int16)
        return np.clip(out, -1.0, 1.0).astype(np.float32)
