"""Items that are files: what stands for one, who is in which part, and reading many of which some may be broken."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate.data import LabelledData
from edgeml_runtime.errors import InputError, ProjectError
from edgeml_runtime.loaders import LoaderLimits, load_tensor
from edgeml_runtime.loaders.resample import resampled_length
from edgeml_runtime.loaders.riff import read_wav

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeml_runtime.tensors import InputSpec
    from edgeml_train.task import Splits

__all__ = [
    "LabelledFile",
    "LoadedFiles",
    "Part",
    "check_unreadable",
    "cut_windows",
    "load_files",
    "load_splits",
    "matching_files",
    "name_some",
    "part_by_hash",
    "parts_by_list",
    "subfolders",
]

logger = logging.getLogger(__name__)

_NAMED = 5
# Constants of which_set in the README of Speech Commands, which made that data set's own lists.
_HASH_BUCKETS = 2**27


class Part(Enum):
    """Parts of a split data set; the values are the fields of :class:`edgeml_train.Splits`."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFile:
    """One item that has been listed, not read.

    Attributes:
        path: The encoded file.
        part: The part it belongs to.
        target: Class index.
        attributes: Attribute name → value; the same names in every item of a data set.
        start_s: Where in the recording the item begins, in seconds; None where the item is what the contract's loader
            makes of the whole file.
    """

    path: Path
    part: Part
    target: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    start_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFiles:
    """Items that have been read.

    Attributes:
        data: Inputs, targets and attributes of the readable ones, in the order given.
        files: The readable ones, row by row.
        unreadable: What is wrong with each of the others; every message names its file.
    """

    data: LabelledData
    files: tuple[LabelledFile, ...]
    unreadable: tuple[str, ...]


def load_files(files: Sequence[LabelledFile], spec: InputSpec, *, max_unreadable: float = 0.0) -> LoadedFiles:
    """Decode files with the contract's loader; any part of a list can be loaded on its own.

    Args:
        files: Which ones, at least one.
        spec: The input, with its loader.
        max_unreadable: Largest share of them that may be empty, truncated or otherwise unreadable, from 0 to 1. Those
            are left out, counted and named in a warning.

    Returns:
        Inputs [n, *spec.shape] in the contract's dtype, targets int64 [n], attributes, and what was left out.

    Raises:
        ProjectError: When no file is given, or more cannot be read than that; the message counts and names them.
        ContractError: When the loader's options do not fit the input.
    """
    if not files:
        raise ProjectError("expected at least one file to load, found none; check the data folder and its split")
    arrays = np.empty((len(files), *spec.shape), np.dtype(spec.dtype.value))
    decoder = _Decoder(spec)
    kept: list[LabelledFile] = []
    unreadable = []
    for item in files:
        try:
            arrays[len(kept)] = decoder.decode(item)
        except InputError as error:
            unreadable.append(str(error))
        else:
            kept.append(item)
    check_unreadable(unreadable, len(files), max_unreadable)
    data = LabelledData(
        inputs={spec.name: arrays[: len(kept)]},
        targets=np.array([item.target for item in kept], np.int64),
        attributes={name: np.array([item.attributes[name] for item in kept], np.str_) for name in files[0].attributes},
    )
    return LoadedFiles(data=data, files=tuple(kept), unreadable=tuple(unreadable))


def check_unreadable(unreadable: Sequence[str], total: int, max_unreadable: float) -> None:
    """Refuse unreadable files, or warn of them where they are few.

    Args:
        unreadable: What is wrong with each; the message names the file.
        total: Number of files, readable or not.
        max_unreadable: Largest share of them that is left out with a warning, from 0 to 1.

    Raises:
        ProjectError: When there are more, or the share is none.
    """
    if isinstance(max_unreadable, bool) or not isinstance(max_unreadable, int | float) or not 0 <= max_unreadable <= 1:
        raise ProjectError(f"expected max_unreadable to be a share of the files from 0 to 1, found {max_unreadable!r}")
    if not unreadable:
        return
    more = len(unreadable) - _NAMED
    listed = "\n  ".join([*unreadable[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
    if len(unreadable) > max_unreadable * total:
        raise ProjectError(
            f"{len(unreadable)} of {total} files cannot be read, expected at most {max_unreadable:.2%} "
            f"(max_unreadable):\n  {listed}\nFetch these files again, take them out, or allow a larger share."
        )
    logger.warning("%d of %d files cannot be read and are left out:\n  %s", len(unreadable), total, listed)


def load_splits(
    files: Sequence[LabelledFile],
    spec: InputSpec,
    *,
    name: str,
    max_unreadable: float = 0.0,
    shared_groups: bool = False,
) -> Splits:
    """Decode a whole listed data set.

    Args:
        files: All items of all parts.
        spec: The input, with its loader.
        name: The split in words, for :class:`edgeml_train.Splits`.
        max_unreadable: Largest share of each part that may be unreadable; see :func:`load_files`. Those are left out,
            and named in ``Splits.unreadable``.
        shared_groups: Whether the contract's group is known to cross the split.

    Returns:
        The three parts, and the encoded file of every test item that is a whole file.

    Raises:
        ProjectError: When a part has no items, or more files cannot be read than that.
    """
    from edgeml_train.task import Splits

    counts = Counter(item.part for item in files)
    if len(counts) < len(Part):
        found = ", ".join(f"{counts[part]} in {part.value}" for part in Part)
        raise ProjectError(f"{name}: expected items in all of train, validation and test, found {found}")
    parts = {
        part: load_files([item for item in files if item.part is part], spec, max_unreadable=max_unreadable)
        for part in Part
    }
    return Splits(
        train=parts[Part.TRAIN].data,
        validation=parts[Part.VALIDATION].data,
        test=parts[Part.TEST].data,
        name=name,
        files={row: item.path for row, item in enumerate(parts[Part.TEST].files) if item.start_s is None},
        shared_groups=shared_groups,
        unreadable=tuple(message for part in parts.values() for message in part.unreadable),
    )


def cut_windows(item: LabelledFile, *, length_s: float, step_s: float) -> list[LabelledFile]:
    """Cut a long WAV file into items of equal length.

    Args:
        item: The whole recording.
        length_s: Length of a window in seconds; a window that would reach the end is left out, as in the silence of
            TensorFlow Datasets' ``speech_commands``.
        step_s: From the start of one window to that of the next, in seconds.

    Returns:
        The windows in order of time; none where the recording is not longer than one.

    Raises:
        InputError: When the file is no WAV file or damaged.
    """
    frames, rate_hz = _frames(item.path)
    count = max(0, ceil((frames / rate_hz - length_s) / step_s))
    return [replace(item, start_s=window * step_s) for window in range(count)]


def part_by_hash(key: str, *, validation: float = 0.1, test: float = 0.1) -> Part:
    """The part of an item by a hash of its name, so that no item moves when others are added.

    This is ``which_set`` of the README of Speech Commands (P. Warden, 2018, arXiv:1804.03209, section 7.2).

    Args:
        key: Name of the item, or of its speaker or another group that must not be split.
        validation: Share of validation.
        test: Share of test.

    Returns:
        The part.
    """
    position = int(hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest(), 16) % _HASH_BUCKETS
    share = position / (_HASH_BUCKETS - 1)
    if share < validation:
        return Part.VALIDATION
    return Part.TEST if share < validation + test else Part.TRAIN


def parts_by_list(
    names: Collection[str],
    lists: Mapping[Part, Path],
    *,
    rest: Part | None,
    folders: Collection[str] | None = None,
) -> dict[str, Part]:
    """The part of every item by lists in text files: one path a line, relative to the data set's folder.

    Args:
        names: The items there are, as relative paths with forward slashes.
        lists: The list of each part that has one.
        rest: The part of items in no list; None leaves them out.
        folders: Where only some of the data set's folders are used, their names: what lies in others is skipped.

    Returns:
        Item → part, in the order of ``names``.

    Raises:
        ProjectError: When a list is missing, empty, names an item twice or one that does not exist, or shares items
            with another list; the message counts and names them.
    """
    known = set(names)
    chosen: dict[str, Part] = {}
    for part, path in lists.items():
        listed = [name for name in _read_list(path) if folders is None or name.partition("/")[0] in folders]
        missing = sorted(name for name in listed if name not in known)
        if missing:
            raise ProjectError(
                f"{path}: expected {len(listed)} files that exist, found {len(missing)} that do not: "
                f"{name_some(missing)}. Unpack the data set whole, or take them out of the list."
            )
        shared = sorted(name for name in listed if name in chosen)
        if shared:
            raise ProjectError(
                f"{path}: expected files that are in no other list, found {len(shared)} that are: {name_some(shared)}."
            )
        chosen |= dict.fromkeys(listed, part)
    found = {name: chosen.get(name, rest) for name in names}
    return {name: part for name, part in found.items() if part is not None}


def matching_files(folder: Path, pattern: re.Pattern[str], example: str) -> list[tuple[Path, re.Match[str]]]:
    """Files of one folder, all of which must be named by the layout; hidden ones (``.DS_Store``) are passed over.

    Args:
        folder: The folder, which exists.
        pattern: What a whole name looks like.
        example: A name that fits, for the message.

    Returns:
        Path and match, ordered by name.

    Raises:
        ProjectError: When anything else lies in the folder; the message counts and names it.
    """
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    matches = [(path, pattern.fullmatch(path.name)) for path in paths]
    others = [path.name for path, match in matches if match is None]
    if others:
        raise ProjectError(
            f"{folder}: expected only files named like {example}, found {len(others)} outside this layout: "
            f"{name_some(others)}. Move them out of the folder."
        )
    return [(path, match) for path, match in matches if match is not None]


def subfolders(folder: Path) -> dict[str, Path]:
    """Folders in a folder, by name and ordered by it; hidden ones are passed over.

    Args:
        folder: The data set's folder.

    Returns:
        Name → path.

    Raises:
        ProjectError: When there is no such folder.
    """
    if not folder.is_dir():
        raise ProjectError(f"{folder}: expected the folder of a data set, found none. Correct the path in edgeml.toml.")
    paths = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {path.name: path for path in paths}


def name_some(names: Sequence[str]) -> str:
    """The first few names, and how many there are besides.

    Args:
        names: All of them.

    Returns:
        Such as ``"a.wav, b.wav and 7 more"``.
    """
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class _Decoder:
    """Reads items, and keeps the last recording that windows were cut from: windows of one file come in a row."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._path: Path | None = None
        self._samples: NDArray[Any] = np.empty(0)

    def decode(self, item: LabelledFile) -> NDArray[Any]:
        if item.start_s is None:
            return load_tensor(self._spec, item.path)
        rate = self._sample_rate()
        if self._path != item.path:
            frames, source_hz = _frames(item.path)
            length = resampled_length(frames, source_hz=source_hz, target_hz=rate)
            self._samples = load_tensor(replace(self._spec, shape=(length,)), item.path)
            self._path = item.path
        first = round(item.start_s * rate)
        window = self._samples[first : first + self._spec.shape[0]]
        if len(window) == 0:
            raise InputError(f"{item.path}: expected a recording longer than {item.start_s:g} s, found its end before")
        # Padded at the end as the loader itself does, where the contract's input is longer than the window.
        return np.pad(window, (0, self._spec.shape[0] - len(window)))

    def _sample_rate(self) -> int:
        loader = self._spec.loader
        if loader is None or loader.name != "wav":
            raise ProjectError(
                f'input {self._spec.name!r}: expected the loader "wav" for windows of recordings, found '
                f"{'none' if loader is None else repr(loader.name)}. Correct it in edgeml.toml."
            )
        return int(loader.options["sample_rate_hz"])


def _frames(path: Path) -> tuple[int, int]:
    """Length of a WAV file in frames, and its sampling rate."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read: {error}") from error
    recording = read_wav(data, name=str(path), limits=LoaderLimits())
    return len(recording.samples), recording.sample_rate_hz


def _read_list(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path}: expected a list of files, one a line, found none that can be read: {error}") from (
            error
        )
    if not names:
        raise ProjectError(f"{path}: expected a list of files, one a line, found an empty one")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ProjectError(f"{path}: expected every file once, found {len(twice)} more than once: {name_some(twice)}")
    return names
