"""Reading WAV files: RIFF chunks to an array of samples.

Format: "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991) and
"Multiple Channel Audio Data and WAVE Files" (Microsoft, 2007) for WAVE_FORMAT_EXTENSIBLE. The standard library's
``wave`` reads integer PCM only, refuses the extensible header before Python 3.12, and takes a truncated file for a
short one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeml_runtime.loaders.base import LoaderLimits

__all__ = ["Recording", "read_wav"]

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_NAMES = {0x0002: "Microsoft ADPCM", 0x0006: "A-law", 0x0007: "mu-law", 0x0011: "IMA ADPCM", 0x0055: "MP3"}
# Tail of the sub-format GUIDs that stand for an ordinary format code (KSDATAFORMAT_SUBTYPE_WAVEFORMATEX).
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
# Written by programs that stream and cannot go back to fill in the size.
_UNKNOWN_SIZE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A decoded recording.

    Attributes:
        samples: float64 [frames, channels], full scale is 1; integers are divided by 2 ** (bits - 1), which is exact.
        sample_rate_hz: Sampling rate.
    """

    samples: NDArray[np.float64]
    sample_rate_hz: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    code: int
    channels: int
    sample_rate_hz: int
    frame_bytes: int
    bits: int


def read_wav(data: bytes, *, name: str, limits: LoaderLimits) -> Recording:
    """Decode a WAV file: 8, 16, 24 or 32-bit PCM, or 32 or 64-bit float, with a plain or an extensible header.

    Args:
        data: The file.
        name: What to call it in messages.
        limits: Largest number of channels and sampling rate.

    Returns:
        All channels.

    Raises:
        InputError: Not a WAV file, truncated, empty, compressed, or over a limit.
    """
    if data[:4] == b"RF64":
        raise InputError(f"{name}: expected a RIFF WAV file, found RF64 (over 4 GB); cut the recording")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InputError(f"{name}: expected a WAV file (RIFF … WAVE), found bytes starting {data[:12]!r}")
    form: _Format | None = None
    for kind, body in _chunks(data, name):
        if kind == b"fmt ":
            form = _parse_format(bytes(body), name=name, limits=limits)
        elif kind == b"data":
            if form is None:
                raise InputError(f"{name}: expected the fmt chunk before the data chunk; the WAV file is corrupt")
            return Recording(samples=_decode(body, form, name), sample_rate_hz=form.sample_rate_hz)
    raise InputError(f"{name}: expected a data chunk, found the end of the file; the WAV file is corrupt or truncated")


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, memoryview]]:
    position = 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        start, left = position + 8, len(data) - position - 8
        if kind == b"data" and size == _UNKNOWN_SIZE:
            size = left
        if size > left:
            raise InputError(
                f"{name}: expected {size} bytes in chunk {kind.decode('latin-1')!r}, found {left}; "
                "the WAV file is truncated"
            )
        yield kind, memoryview(data)[start : start + size]
        position = start + size + size % 2


def _parse_format(body: bytes, *, name: str, limits: LoaderLimits) -> _Format:
    if len(body) < 16:
        raise InputError(
            f"{name}: expected a fmt chunk of at least 16 bytes, found {len(body)}; the WAV file is corrupt"
        )
    code, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
    if code == _EXTENSIBLE and len(body) >= 40 and body[26:40] == _GUID_TAIL:
        (code,) = struct.unpack_from("<H", body, 24)
    if not (code == _PCM and bits in (8, 16, 24, 32)) and not (code == _FLOAT and bits in (32, 64)):
        raise InputError(
            f"{name}: expected 8, 16, 24 or 32-bit PCM or 32 or 64-bit float, found {bits}-bit "
            f"{_NAMES.get(code, f'format {code:#06x}')}; convert the file to 16-bit PCM"
        )
    if not 1 <= channels <= limits.audio_channels or not 1 <= rate <= limits.sample_rate_hz:
        raise InputError(
            f"{name}: expected 1 to {limits.audio_channels} channels at 1 to {limits.sample_rate_hz} Hz, "
            f"found {channels} at {rate} Hz"
        )
    if frame_bytes != channels * bits // 8:
        raise InputError(
            f"{name}: expected {channels * bits // 8} bytes per frame for {channels} × {bits} bits, "
            f"found {frame_bytes}; the WAV file is corrupt"
        )
    return _Format(code=code, channels=channels, sample_rate_hz=rate, frame_bytes=frame_bytes, bits=bits)


def _decode(body: memoryview, form: _Format, name: str) -> NDArray[np.float64]:
    if len(body) == 0 or len(body) % form.frame_bytes:
        raise InputError(
            f"{name}: expected one or more whole frames of {form.frame_bytes} bytes, found {len(body)} bytes of "
            "samples; the recording is empty or truncated"
        )
    if form.code == _FLOAT:
        samples = np.frombuffer(body, dtype="<f4" if form.bits == 32 else "<f8").astype(np.float64)
        if not np.isfinite(samples).all():
            raise InputError(f"{name}: expected finite samples, found NaN or infinity")
    elif form.bits == 8:
        samples = (np.frombuffer(body, dtype=np.uint8).astype(np.float64) - 128.0) / 128.0
    elif form.bits == 24:
        # The three bytes become the upper ones of an int32, which keeps the sign.
        wide = np.zeros((len(body) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(body, dtype=np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0].astype(np.float64) / 2.0**31
    else:
        samples = np.frombuffer(body, dtype=f"<i{form.bits // 8}").astype(np.float64) / 2.0 ** (form.bits - 1)
    return samples.reshape(-1, form.channels)
