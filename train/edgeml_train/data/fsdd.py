"""Recordings of spoken digits in the layout of the Free Spoken Digit Dataset.

One folder of WAV files ``{digit}_{speaker}_{index}.wav`` (Z. Jackson and others, CC BY-SA 4.0,
https://github.com/Jakobovski/free-spoken-digit-dataset). By the authors' convention the indices 0 to 4 of every digit
and speaker are the test set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeml_evaluate.data import LabelledData
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.loaders import load_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeml_runtime.tensors import InputSpec

__all__ = ["Recording", "find_recordings", "load_recordings"]

_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[A-Za-z][A-Za-z0-9-]*)_(?P<index>[0-9]+)\.wav")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One file.

    Attributes:
        path: Where it lies.
        digit: What is said, 0 to 9.
        speaker: Who says it.
        index: Number among the recordings of this digit by this speaker.
    """

    path: Path
    digit: int
    speaker: str
    index: int


def find_recordings(folder: Path) -> tuple[Recording, ...]:
    """All recordings of a folder.

    Args:
        folder: The data set's folder, or its subfolder ``recordings``.

    Returns:
        Ordered by digit, speaker and index.

    Raises:
        ProjectError: When there are none, or a WAV file is named otherwise.
    """
    if (folder / "recordings").is_dir():
        folder = folder / "recordings"
    if not folder.is_dir():
        raise ProjectError(f"{folder}: expected a folder of WAV files, found none. Correct data.path in edgeml.toml.")
    found = []
    for path in sorted(folder.glob("*.wav")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ProjectError(
                f"{path}: expected a name like 7_theo_12.wav (digit, speaker, index), found {path.name!r}. "
                "Rename the file or take it out of the folder."
            )
        found.append(
            Recording(path=path, digit=int(match["digit"]), speaker=match["speaker"], index=int(match["index"]))
        )
    if not found:
        raise ProjectError(
            f"{folder}: expected WAV files named like 7_theo_12.wav, found none. Point data.path in edgeml.toml at the "
            "folder `recordings` of https://github.com/Jakobovski/free-spoken-digit-dataset."
        )
    return tuple(sorted(found, key=lambda item: (item.digit, item.speaker, item.index)))


def load_recordings(recordings: Sequence[Recording], spec: InputSpec) -> LabelledData:
    """Decode recordings with the contract's loader.

    Args:
        recordings: Which ones.
        spec: The input, with its loader.

    Returns:
        [n, *shape] in the order given, the digit as target, and the attribute ``speaker``.

    Raises:
        InputError: When a file cannot be decoded; the message names it.
    """
    shape = (len(recordings), *spec.shape)
    waveforms = np.empty(shape, np.dtype(spec.dtype.value))
    for row, recording in enumerate(recordings):
        waveforms[row] = load_tensor(spec, recording.path)
    return LabelledData(
        inputs={spec.name: waveforms},
        targets=np.array([recording.digit for recording in recordings], np.int64),
        attributes={"speaker": np.array([recording.speaker for recording in recordings])},
    )
