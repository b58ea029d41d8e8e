"""Sounds of machines in the layout of the DCASE 2020 challenge, task 2 (from ToyADMOS and MIMII).

Y. Koizumi and others, "Description and Discussion on DCASE2020 Challenge Task2", 2020, arXiv:2006.05822; the
development data set https://zenodo.org/record/3678171, CC BY-NC-SA 4.0. A folder for each type of machine (``ToyCar``,
``fan``, …) with ``train``, which holds ``normal_id_{machine}_{number}.wav`` only, and ``test``, which holds
``anomaly_id_{machine}_{number}.wav`` as well (the layout is drawn in the README of
https://github.com/y-kawagu/dcase2020_task2_baseline). MLPerf Tiny uses ``ToyCar``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.files import LabelledFile, Part, matching_files, name_some, subfolders

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["find_machine_sounds"]

_ANOMALY = "anomaly"
_NAME = re.compile(r"(?:(?P<state>normal|anomaly)_)?id_(?P<machine>[0-9]{2})_(?P<number>[0-9]{8})\.wav")
_EXAMPLE = "normal_id_01_00000000.wav"


def find_machine_sounds(folder: Path, *, validation_every: int = 10) -> tuple[LabelledFile, ...]:
    """List recordings with the challenge's test; none is decoded.

    For validation, every n-th training recording of every machine is held out, in the order of their numbers. Like the
    training ones these are all normal: enough for a threshold with a given rate of false alarms.

    Args:
        folder: Folder of one type of machine, with ``train`` and ``test`` in it, or of several such.
        validation_every: The n, at least 2.

    Returns:
        Target 0 for normal and 1 for anomalous sound; attributes ``machine``, such as ``"ToyCar"``, and
        ``machine_id``, such as ``"ToyCar id_01"``. The challenge's split has every machine in every part.

    Raises:
        ProjectError: When a folder or all recordings are missing, a file is named otherwise, a test file has no
            answer, an anomaly is among the training files, or the test lacks normal or anomalous ones; the message
            counts and names them.
    """
    if validation_every < 2:
        raise ProjectError(f"expected validation_every of at least 2, found {validation_every}")
    folders = subfolders(folder)
    types = {folder.name: folder} if {"train", "test"} & set(folders) else folders
    if not types:
        raise ProjectError(
            f"{folder}: expected train and test, or folders of machine types that hold them, found neither. Unpack "
            "dev_data_ToyCar.zip or another type of https://zenodo.org/record/3678171 there."
        )
    return tuple(item for name, path in types.items() for item in _machines(path, name, validation_every))


def _machines(folder: Path, name: str, every: int) -> list[LabelledFile]:
    """List one type of machine."""
    places = subfolders(folder)
    missing = [part for part in ("train", "test") if part not in places]
    if missing:
        raise ProjectError(
            f"{folder}: expected the folders train and test, found {' and '.join(missing)} missing. Unpack the whole "
            f"archive dev_data_{name}.zip there."
        )
    train, test = _recordings(places["train"], name), _recordings(places["test"], name)
    anomalies = [item.path.name for item in train if item.target]
    if anomalies:
        raise ProjectError(
            f"{places['train']}: expected only normal recordings, found {len(anomalies)} anomalies among "
            f"{len(train)} files: {name_some(anomalies)}. Move them to test."
        )
    counts = [sum(item.target == state for item in test) for state in (0, 1)]
    if min(counts) == 0:
        raise ProjectError(
            f"{places['test']}: expected normal and anomalous recordings, found {counts[0]} and {counts[1]}. Unpack "
            f"the whole archive dev_data_{name}.zip there."
        )
    held_out = _every(train, every)
    return [replace(item, part=Part.VALIDATION) if item.path in held_out else item for item in [*train, *test]]


def _recordings(folder: Path, machine: str) -> list[LabelledFile]:
    found = matching_files(folder, _NAME, _EXAMPLE)
    if not found:
        raise ProjectError(f"{folder}: expected files named like {_EXAMPLE}, found none. Unpack the archive there.")
    unknown = [path.name for path, match in found if match["state"] is None]
    if unknown:
        raise ProjectError(
            f"{folder}: expected names that begin with normal or anomaly, found {len(unknown)} of {len(found)} "
            f"without: {name_some(unknown)}. The challenge's evaluation set was published without answers; use the "
            "development set, https://zenodo.org/record/3678171."
        )
    return [
        LabelledFile(
            path=path,
            part=Part(folder.name),
            target=int(match["state"] == _ANOMALY),
            attributes={"machine": machine, "machine_id": f"{machine} id_{match['machine']}"},
        )
        for path, match in found
    ]


def _every(train: list[LabelledFile], every: int) -> set[Path]:
    """The recordings held out, the last of every group of so many of one machine."""
    by_machine: dict[str, list[Path]] = defaultdict(list)
    for item in train:
        by_machine[item.attributes["machine_id"]].append(item.path)
    return {path for paths in by_machine.values() for path in paths[every - 1 :: every]}
