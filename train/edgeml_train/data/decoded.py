"""Decoded files, kept for the next time: training and export read the same thousands of pictures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate.data import LabelledData
from edgeml_train.data.files import LoadedFiles, check_unreadable, load_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeml_runtime.tensors import InputSpec
    from edgeml_train.data.files import LabelledFile

__all__ = ["load_files_once"]

_logger = logging.getLogger(__name__)

_NAME = "decoded.npz"


def load_files_once(
    files: Sequence[LabelledFile], spec: InputSpec, *, cache: Path, max_unreadable: float = 0.0
) -> LoadedFiles:
    """Decode files as :func:`edgeml_train.data.files.load_files` does, or take what was decoded the last time.

    What was kept counts as long as the files (path, size, time of change), loader, shape and dtype are the same;
    targets and attributes are always those given.

    Args:
        files: Which ones, at least one.
        spec: The input, with its loader.
        cache: Folder to keep the result in, one at a time; made when missing.
        max_unreadable: Largest share of them that may be unreadable, from 0 to 1.

    Returns:
        As :func:`load_files`.

    Raises:
        ProjectError: As :func:`load_files`; nothing is kept then.
        ContractError: When the loader's options do not fit the input.
    """
    place, key = cache / _NAME, _key(files, spec)
    kept = _read(place, key)
    if kept is None:
        loaded = load_files(files, spec, max_unreadable=max_unreadable)
        positions = {id(item): position for position, item in enumerate(files)}
        rows = np.array([positions[id(item)] for item in loaded.files], np.intp)
        _write(
            place,
            key=np.array(key),
            array=loaded.data.inputs[spec.name],
            rows=rows,
            unreadable=np.array(loaded.unreadable, np.str_),
        )
        return loaded
    unreadable = tuple(map(str, kept["unreadable"]))
    check_unreadable(unreadable, len(files), max_unreadable)
    readable = tuple(files[row] for row in kept["rows"])
    data = LabelledData(
        inputs={spec.name: kept["array"]},
        targets=np.array([item.target for item in readable], np.int64),
        attributes={name: np.array([item.attributes[name] for item in readable]) for name in files[0].attributes},
    )
    return LoadedFiles(data=data, files=readable, unreadable=unreadable)


def _key(files: Sequence[LabelledFile], spec: InputSpec) -> str:
    loader = None if spec.loader is None else [spec.loader.name, spec.loader.version, dict(spec.loader.options)]
    states = [(*_state(item.path), item.start_s) for item in files]
    values = [spec.dtype.value, list(spec.shape), loader, states]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), status.st_size, status.st_mtime_ns


def _read(place: Path, key: str) -> dict[str, Any] | None:
    """What was kept under this key; a damaged file counts as none."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files} if str(kept["key"]) == key else None
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _write(place: Path, **arrays: Any) -> None:
    """Keep the arrays, whole or not at all; without room the next time decodes again."""
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(partial, place)
    except OSError as error:
        _logger.warning("%s: cannot keep the decoded files: %s", place, error)
        with contextlib.suppress(OSError):
            partial.unlink()
