"""Recordings of spoken digits in the layout of the Free Spoken Digit Dataset.

One folder of WAV files ``{digit}_{speaker}_{index}.wav`` (Z. Jackson and others, CC BY-SA 4.0,
https://github.com/Jakobovski/free-spoken-digit-dataset). By the authors' convention the indices 0 to 4 of every digit
and speaker are the test set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Recording", "find_recordings"]

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
