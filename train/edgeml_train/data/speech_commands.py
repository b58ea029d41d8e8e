"""Google's Speech Commands, version 2: one-second recordings of 35 words.

P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, arXiv:1804.03209, CC BY 4.0;
http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz. A folder for each word with files
``{speaker}_nohash_{index}.wav``, ``_background_noise_`` with a few long recordings, and ``validation_list.txt`` and
``testing_list.txt``; what is in neither is for training. Speakers are not shared between the parts.

The task with twelve labels has its own test set, ``speech_commands_test_set_v0.02.tar.gz``, with the folders
``_silence_`` and ``_unknown_``, where files are named ``{word}_{speaker}_nohash_{index}.wav``. Silence of the other
parts is cut from the noise, as TensorFlow Datasets' ``speech_commands`` does, which MLPerf Tiny trains on.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.classes import check_classes
from edgeml_train.data.files import (
    LabelledFile,
    Part,
    cut_windows,
    matching_files,
    name_some,
    parts_by_list,
    subfolders,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["SPEECH_COMMANDS_12", "find_speech_commands"]

_SILENCE, _UNKNOWN, _NOISE = "_silence_", "_unknown_", "_background_noise_"

SPEECH_COMMANDS_12 = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", _SILENCE, _UNKNOWN)
"""Labels of the twelve-word task, in the order of TensorFlow Datasets and MLPerf Tiny."""

_LISTS = {Part.VALIDATION: "validation_list.txt", Part.TEST: "testing_list.txt"}
_VALIDATION_NOISE = "running_tap.wav"
_NAME = re.compile(r"(?P<speaker>[A-Za-z0-9]+)_nohash_[0-9]+\.wav")
_NAME_IN_TEST_SET = re.compile(r"(?:(?P<word>[a-z]+)_)?" + _NAME.pattern)
_EXAMPLE = "0a7c2a8d_nohash_0.wav"
_ANY_WAV = re.compile(r".+\.wav")
_CLIP_S, _STEP_S = 1.0, 0.5


def find_speech_commands(
    folder: Path,
    labels: Sequence[str],
    *,
    test_set: Path | None = None,
    unknown_share: float | None = None,
    noise_parts: Mapping[str, Part] | None = None,
) -> tuple[LabelledFile, ...]:
    """List recordings with the authors' split; nothing is decoded but the headers of the noise.

    The labels decide the task. A word is its folder. ``_unknown_`` is every word that is no label; without it those
    words are left out. ``_silence_`` is one-second windows of the background noise, one every half second.

    Args:
        folder: The unpacked ``speech_commands_v0.02``.
        labels: The contract's labels; the position of one is its target. :data:`SPEECH_COMMANDS_12` is the usual task.
        test_set: The unpacked ``speech_commands_test_set_v0.02``, which then is the test instead of
            ``testing_list.txt``. Without it the test has no silence, unless ``noise_parts`` gives it some.
        unknown_share: Most unknown words of each part, relative to the part's wanted words, such as 0.1 in
            TensorFlow's example; the ones kept depend on their names only. None keeps all. A ``test_set`` is not cut.
        noise_parts: Noise file → part; files not named are for training. ``running_tap.wav`` for validation where
            None, as TensorFlow Datasets does.

    Returns:
        Ordered by part, folder and name, with the attributes ``speaker`` (for silence, the noise) and ``word``.

    Raises:
        ProjectError: When a list or a folder is missing, a label is no word or has no recording in a part, or a file is
            named otherwise; the message counts and names them.
        InputError: When a noise file is damaged.
    """
    folders = subfolders(folder)
    noise = folders.pop(_NOISE, None)
    wanted = [label for label in labels if label not in (_SILENCE, _UNKNOWN)]
    _check_labels(folder, wanted, folders)
    _check_lists(folder)
    used = folders if _UNKNOWN in labels else {word: folders[word] for word in wanted}
    found = _words(folder, used, labels)
    if test_set is not None:
        found = [item for item in found if item.part is not Part.TEST]
    if unknown_share is not None and _UNKNOWN in labels:
        found = _limit(found, labels.index(_UNKNOWN), unknown_share)
    if _SILENCE in labels:
        found += _silence(folder, noise, labels.index(_SILENCE), noise_parts or {_VALIDATION_NOISE: Part.VALIDATION})
    if test_set is not None:
        found += _test_set(test_set, labels)
    check_classes(
        str(folder),
        Counter((item.target, item.part) for item in found),
        labels,
        items="recordings",
        remedy="Unpack the data set whole, or take the labels out of edgeml.toml.",
        exempt=[(labels.index(_SILENCE), Part.TEST)] if _SILENCE in labels and test_set is None else (),
    )
    order = list(Part)
    return tuple(sorted(found, key=lambda item: (order.index(item.part), str(item.path), item.start_s or 0.0)))


def _check_labels(folder: Path, wanted: Sequence[str], folders: Mapping[str, Path]) -> None:
    missing = [word for word in wanted if word not in folders]
    if missing or not wanted:
        raise ProjectError(
            f"{folder}: expected a folder for each of the {len(wanted)} words among the labels, at least one, found "
            f"none for {name_some(missing) or 'any'}; there are {len(folders)} folders of words: "
            f"{name_some(list(folders)) or 'none'}. Point the path at the unpacked speech_commands_v0.02.tar.gz, or "
            "correct the labels in edgeml.toml."
        )


def _check_lists(folder: Path) -> None:
    missing = [name for name in _LISTS.values() if not (folder / name).is_file()]
    if missing:
        raise ProjectError(
            f"{folder}: expected {' and '.join(_LISTS.values())} beside the folders of words, found "
            f"{len(missing)} of them missing: {', '.join(missing)}. They are in speech_commands_v0.02.tar.gz."
        )


def _words(folder: Path, used: Mapping[str, Path], labels: Sequence[str]) -> list[LabelledFile]:
    """List the recordings of some words, of all parts."""
    files = {
        f"{word}/{path.name}": (path, word, match["speaker"])
        for word, place in used.items()
        for path, match in matching_files(place, _NAME, _EXAMPLE)
    }
    parts = parts_by_list(files, {part: folder / name for part, name in _LISTS.items()}, rest=Part.TRAIN, folders=used)
    return [
        LabelledFile(
            path=path,
            part=parts[name],
            target=labels.index(word if word in labels else _UNKNOWN),
            attributes={"speaker": speaker, "word": word},
        )
        for name, (path, word, speaker) in files.items()
    ]


def _limit(found: Sequence[LabelledFile], unknown: int, share: float) -> list[LabelledFile]:
    """Keep, in each part, at most ``share`` unknown words for each wanted one."""
    wanted = [item for item in found if item.target != unknown]
    chosen: list[LabelledFile] = []
    for part in Part:
        most = ceil(share * sum(item.part is part for item in wanted))
        others = [item for item in found if item.target == unknown and item.part is part]
        chosen += sorted(others, key=_name_hash)[:most]
    return wanted + chosen


def _name_hash(item: LabelledFile) -> str:
    name = f"{item.path.parent.name}/{item.path.name}"
    return hashlib.sha256(name.encode()).hexdigest()


def _silence(folder: Path, noise: Path | None, target: int, parts: Mapping[str, Part]) -> list[LabelledFile]:
    """Cut the noise into windows, each file in one part."""
    files = [] if noise is None else [p for p in sorted(noise.iterdir()) if _ANY_WAV.fullmatch(p.name)]
    if not files:
        raise ProjectError(
            f"{folder}: expected WAV files in {_NOISE} for the label {_SILENCE}, found none. Unpack "
            "speech_commands_v0.02.tar.gz whole, or take the label out of edgeml.toml."
        )
    missing = sorted(set(parts) - {path.name for path in files})
    if missing:
        raise ProjectError(
            f"{noise}: expected the noise {name_some(missing)}, found {name_some([path.name for path in files])}. "
            "Unpack the data set whole, or say by noise_parts which noise is in which part."
        )
    return [
        window
        for path in files
        for window in cut_windows(
            LabelledFile(
                path=path,
                part=parts.get(path.name, Part.TRAIN),
                target=target,
                attributes={"speaker": path.stem, "word": _SILENCE},
            ),
            length_s=_CLIP_S,
            step_s=_STEP_S,
        )
    ]


def _test_set(folder: Path, labels: Sequence[str]) -> list[LabelledFile]:
    """List the separate test set, which has a folder for each of the twelve labels."""
    folders = subfolders(folder)
    missing = [label for label in labels if label not in folders]
    if missing:
        raise ProjectError(
            f"{folder}: expected a folder for each label of the test set, found none for {len(missing)}: "
            f"{name_some(missing)}. Point the path at the unpacked speech_commands_test_set_v0.02.tar.gz."
        )
    found = []
    for target, label in enumerate(labels):
        silent = label == _SILENCE
        for path, match in matching_files(folders[label], _ANY_WAV if silent else _NAME_IN_TEST_SET, _EXAMPLE):
            speaker, word = ("test silence", label) if silent else (match["speaker"], match["word"] or label)
            attributes = {"speaker": speaker, "word": word}
            found.append(LabelledFile(path=path, part=Part.TEST, target=target, attributes=attributes))
    return found
