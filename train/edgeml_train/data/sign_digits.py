"""Photographs of hand signs for digits in the layout of the Sign Language Digits Dataset.

Ten folders ``0`` to ``9`` of JPEG files ``IMG_NNNN.JPG`` (A. Mavi, "A New Dataset and Proposed Convolutional Neural
Network Architecture for Classification of American Sign Language Digits", 2020, arXiv:2011.08927; Apache-2.0,
https://github.com/ardamavi/Sign-Language-Digits-Dataset). The author counts 218 students with ten photographs each, one
for each digit; 2,062 photographs are published. Most are 100×100 pixels; three in ``7`` are as the camera wrote them:
3024×3024, turned by EXIF.

**Who is on a photograph** is not written anywhere, but the camera numbered it: students came one after the other, and
each signed 0 to 9 in order. So the *origin* of a file, its number minus its digit, stays where it is within a student's
series and jumps by ten at the next one:

    file    1118 1119 … 1127 | 1128 1129 …
    digit      0    1 …    9 |    0    1 …
    origin  1118 1118 … 1118 | 1128 1128 …

Rule: with the files in order of number, a new student begins where the origin rises by 8 or more. Numbers missing
between two series do no harm, nor up to seven in a row within one. Evidence, from all 2,062 files: the 2,061 steps of
the origin are -4 to 6 (numbers left out, digits in another order, a digit signed twice), or 9 and more; none is 7 or 8.
The rule gives 207 students. 197 of them have exactly the ten digits once each, two have ten files with one digit twice
and another missing, three have eleven files with one digit twice, three lack one digit, and two have the last six only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate.data import LabelledData
from edgeml_runtime.errors import ProjectError
from edgeml_train.data.decoded import load_files_once
from edgeml_train.data.files import LabelledFile, Part, matching_files, name_some, subfolders
from edgeml_train.data.grouped import grouped_parts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeml_runtime.tensors import InputSpec
    from edgeml_train.task import Splits

__all__ = ["Photograph", "brightness_of", "find_photographs", "load_photographs", "split_students", "students_of"]

_NAME = re.compile(r"IMG_(?P<number>[0-9]{1,9})\.jpe?g", re.IGNORECASE)
_EXAMPLE = "IMG_1118.JPG"
_DIGITS = tuple("0123456789")
_NEW_STUDENT = 8
_DARK_BELOW = 160.0
_BRIGHT_FROM = 172.0
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One file.

    Attributes:
        path: Where it lies.
        digit: What is signed, 0 to 9.
        number: The camera's number.
        student: Who signs: the number of the first file of the student's series.
    """

    path: Path
    digit: int
    number: int
    student: str


def find_photographs(folder: Path) -> tuple[Photograph, ...]:
    """All photographs of a folder.

    Args:
        folder: The data set's folder, or its subfolder ``Dataset``.

    Returns:
        Ordered by number.

    Raises:
        ProjectError: When a digit has none, a folder is no digit, a file is named otherwise, or a number comes twice.
    """
    paths: dict[int, Path] = {}
    for place in _digit_folders(folder):
        for path, match in matching_files(place, _NAME, _EXAMPLE):
            number = int(match["number"])
            if number in paths:
                raise ProjectError(
                    f"{path}: expected every number once, because neighbouring numbers are one student; found the same "
                    f"in {paths[number]}. Take out the one that is wrong."
                )
            paths[number] = path
    numbers = sorted(paths)
    digits = [int(paths[number].parent.name) for number in numbers]
    return tuple(
        Photograph(path=paths[number], digit=digit, number=number, student=student)
        for number, digit, student in zip(numbers, digits, students_of(numbers, digits), strict=True)
    )


def students_of(numbers: Sequence[int], digits: Sequence[int]) -> tuple[str, ...]:
    """Who is on which photograph, by the rule in this module's documentation.

    Args:
        numbers: Number of every file, rising.
        digits: Digit of every file.

    Returns:
        One name for each file: the number of the first file of the student's series.
    """
    students: list[str] = []
    origin = None
    for number, digit in zip(numbers, digits, strict=True):
        begins = origin is None or number - digit - origin >= _NEW_STUDENT
        students.append(str(number) if begins else students[-1])
        origin = number - digit
    return tuple(students)


def split_students(
    photographs: Sequence[Photograph], shares: tuple[float, float], *, seed: int
) -> tuple[LabelledFile, ...]:
    """Split photographs at random, all of a student's into the same part.

    Args:
        photographs: All of them.
        shares: Share of the students in the training and in the validation split; the rest are the test.
        seed: Seed of the choice.

    Returns:
        A file for each photograph in the order given, with the attribute ``student``; files that cannot be read later
        move nobody.

    Raises:
        ProjectError: When a digit is signed by fewer students than there are parts, or a part has none of a digit.
    """
    students = np.array([photograph.student for photograph in photographs])
    digits = np.array([photograph.digit for photograph in photographs])
    for digit in range(len(_DIGITS)):
        count = len(np.unique(students[digits == digit]))
        if count < len(Part):
            raise ProjectError(
                f"expected photographs of the digit {digit} by at least {len(Part)} students, one for each part of the "
                f"split, found {count}. Add photographs of it."
            )
    part_of: dict[int, Part] = {}
    for part, rows in zip(Part, grouped_parts(students, shares, seed=seed), strict=True):
        missing = sorted(set(range(len(_DIGITS))) - set(digits[rows].tolist()))
        if missing:
            raise ProjectError(
                f"expected photographs of every digit in {part.value}, found none of {', '.join(map(str, missing))} by "
                f"{len(np.unique(students[rows]))} students. Add photographs, or pass --set data.seed=N."
            )
        part_of |= dict.fromkeys(rows.tolist(), part)
    return tuple(
        LabelledFile(
            path=photograph.path,
            part=part_of[row],
            target=photograph.digit,
            attributes={"student": photograph.student},
        )
        for row, photograph in enumerate(photographs)
    )


def load_photographs(
    files: Sequence[LabelledFile], spec: InputSpec, *, name: str, cache: Path, max_unreadable: float = 0.01
) -> Splits:
    """Decode photographs with the contract's loader.

    Args:
        files: All files of all parts.
        spec: The input, with its loader.
        name: The split in words.
        cache: A folder where the pixels are kept for the next time.
        max_unreadable: Largest share of the files that may be unreadable, from 0 to 1. Those are left out, and named
            in ``Splits.unreadable``.

    Returns:
        The three parts, with the attributes ``student`` and ``brightness``, and the files of the test items.

    Raises:
        ProjectError: When more files than that cannot be read; the message counts and names them.
    """
    from edgeml_train.task import Splits

    loaded = load_files_once(files, spec, cache=cache, max_unreadable=max_unreadable)
    pixels = loaded.data.inputs[spec.name]
    data = LabelledData(
        inputs=loaded.data.inputs,
        targets=loaded.data.targets,
        attributes={**loaded.data.attributes, "brightness": brightness_of(pixels)},
    )
    rows = {part: np.flatnonzero([item.part is part for item in loaded.files]) for part in Part}
    return Splits(
        train=data.take(rows[Part.TRAIN]),
        validation=data.take(rows[Part.VALIDATION]),
        test=data.take(rows[Part.TEST]),
        name=name,
        files={position: loaded.files[row].path for position, row in enumerate(rows[Part.TEST])},
        unreadable=loaded.unreadable,
    )


def brightness_of(pixels: NDArray[Any]) -> NDArray[np.str_]:
    """Name how bright each picture is, by its mean luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B).

    The thresholds are fixed, so that a picture never changes its slice with the data around it: they cut the published
    photographs into 24 % dark, 47 % medium and 29 % bright ones.

    Args:
        pixels: uint8 [n, height, width, 3], or [n, height, width, 1] or [n, height, width] of grey levels.

    Returns:
        [n]: ``dark`` below 160, ``bright`` from 172 on, ``medium`` between.
    """
    if pixels.shape[3:] == (3,):
        luma = pixels.mean(axis=(1, 2)) @ np.array(_LUMA)
    else:
        luma = pixels.reshape(len(pixels), -1).mean(axis=1)
    return np.select([luma < _DARK_BELOW, luma < _BRIGHT_FROM], ["dark", "medium"], "bright")


def _digit_folders(folder: Path) -> tuple[Path, ...]:
    """The ten folders, each with something in it."""
    if (folder / "Dataset").is_dir():
        folder = folder / "Dataset"
    found = subfolders(folder)
    missing = [digit for digit in _DIGITS if digit not in found or not any(found[digit].iterdir())]
    if missing:
        raise ProjectError(
            f"{folder}: expected subfolders 0 to 9 with files like {_EXAMPLE}, found none for {', '.join(missing)}. "
            "Point data.path in edgeml.toml at the folder `Dataset` of "
            "https://github.com/ardamavi/Sign-Language-Digits-Dataset."
        )
    others = [name for name in found if name not in _DIGITS]
    if others:
        raise ProjectError(
            f"{folder}: expected subfolders 0 to 9, the labels of edgeml.toml, found also {name_some(others)}. "
            "Move them elsewhere."
        )
    return tuple(found[digit] for digit in _DIGITS)
