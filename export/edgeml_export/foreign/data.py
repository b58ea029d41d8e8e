"""Items of a foreign model, out of one ``.npz`` file.

Arrays named like the contract's inputs hold the labelled test items, [n, *shape]; ``targets`` their answers, [n]; and
one array of texts per attribute that the contract slices or groups by, [n]. The same with ``calibration.`` or
``validation.`` in front of the name holds training items that set ranges, and validation items that a precision search
judges by: only a ``.pt2`` program, of which quantized variants are made, needs them.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate import LabelledData
from edgeml_evaluate.alarms import EVENT, SERIES, TIME
from edgeml_export.foreign.file import ForeignLimits
from edgeml_runtime.contract import TargetKind
from edgeml_runtime.errors import InputError, ProjectError
from edgeml_runtime.tensors import OutputRole
from edgeml_runtime.validate import accept_batch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeml_runtime.contract import Contract

    Arrays = dict[str, NDArray[Any]]

__all__ = ["ForeignData", "load_foreign_data"]

_TARGETS = "targets"
_PARTS = ("calibration", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignData:
    """Labelled items of a model that edgeml did not train.

    Attributes:
        test: Items that variants are scored on.
        calibration: Items of the training data, which set the ranges of quantized variants of a ``.pt2`` program.
        validation: Items that the precision search of such a program judges by.
    """

    test: LabelledData
    calibration: LabelledData | None = None
    validation: LabelledData | None = None


def load_foreign_data(path: Path, contract: Contract, limits: ForeignLimits | None = None) -> ForeignData:
    """Read items; nothing in the file is unpickled.

    Args:
        path: A file of ``numpy.savez`` or ``numpy.savez_compressed``.
        contract: Names inputs, labels and attributes.
        limits: How large it may be unpacked.

    Returns:
        The items, every array of the contract's dtype, shape and range.

    Raises:
        ProjectError: It cannot be read, or an array is missing, unknown, or does not fit the contract.
    """
    arrays = _read(path, limits or ForeignLimits())
    known = {prefix + name for prefix in ("", *(f"{part}." for part in _PARTS)) for name in _names(contract)}
    if unknown := sorted(set(arrays) - known):
        expected = ", ".join(sorted(_names(contract)))
        raise ProjectError(
            f"{path}: expected arrays named {expected}, alone or behind 'calibration.' or 'validation.', found "
            f"{', '.join(unknown)}; rename or leave out"
        )
    test = _part(path, contract, arrays, "")
    if test is None:
        inputs = ", ".join(spec.name for spec in contract.inputs)
        raise ProjectError(f"{path}: expected arrays {inputs} and {_TARGETS}, found {', '.join(arrays) or 'none'}")
    parts = {part: _part(path, contract, arrays, f"{part}.") for part in _PARTS}
    return ForeignData(test=test, **parts)


def _attributes(contract: Contract) -> list[str]:
    named = [*contract.slices.by, *([] if contract.group is None else [contract.group])]
    built_in = {"label"} if contract.target.kind is TargetKind.CLASSIFICATION else set()
    return [name for name in dict.fromkeys(named) if name not in built_in]


def _optional(contract: Contract) -> tuple[str, ...]:
    """What alarms are counted by, where it is known."""
    return () if contract.anomaly is None else (SERIES, TIME, EVENT)


def _names(contract: Contract) -> set[str]:
    return {*(spec.name for spec in contract.inputs), *_attributes(contract), *_optional(contract), _TARGETS}


def _read(path: Path, limits: ForeignLimits) -> Arrays:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > limits.max_unpacked_bytes:
            raise ProjectError(f"{path}: expected at most {limits.max_unpacked_bytes} bytes unpacked, found {size}")
        with np.load(path, allow_pickle=False) as archive:
            return {name: _array(path, archive, name) for name in archive.files}
    except OSError as error:
        raise ProjectError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise ProjectError(
            f"{path}: expected a file of numpy.savez, found none ({error}); write one with numpy.savez(PATH, "
            "NAME=array, targets=array)"
        ) from error


def _array(path: Path, archive: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(archive[name])
    except (ValueError, zipfile.BadZipFile, EOFError) as error:  # an array of objects is a pickle
        raise ProjectError(
            f"{path}: {name}: expected an array of numbers or texts, found what numpy does not read without unpickling "
            f"({error}); texts are saved with numpy.asarray(LIST, dtype=str)"
        ) from error


def _part(path: Path, contract: Contract, arrays: Arrays, prefix: str) -> LabelledData | None:
    """One set of items, or None where the file holds nothing of it."""
    named = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    named = {name: array for name, array in named.items() if name in _names(contract)}
    if not named:
        return None
    needed = [spec.name for spec in contract.inputs]
    if prefix != "calibration.":
        needed += [_TARGETS, *_attributes(contract)]
    if missing := [name for name in needed if name not in named]:
        raise ProjectError(
            f"{path}: expected the arrays {', '.join(prefix + name for name in needed)}, of which "
            f"{', '.join(prefix + name for name in missing)} are missing"
        )
    for spec in contract.inputs:
        _check_input(path, prefix, spec, named[spec.name])
    count = len(named[contract.inputs[0].name])
    try:
        return LabelledData(
            inputs={spec.name: named[spec.name] for spec in contract.inputs},
            targets=_targets(path, contract, named[_TARGETS], prefix) if _TARGETS in named else np.zeros(count, int),
            attributes={
                name: named[name].astype(str)
                for name in dict.fromkeys((*_attributes(contract), *_optional(contract)))
                if name in named
            },
        )
    except InputError as error:
        raise ProjectError(f"{path}: {prefix}{error}") from error


def _check_input(path: Path, prefix: str, spec: Any, array: NDArray[Any]) -> None:
    wanted, name = spec.dtype.value, f"{prefix}{spec.name}"
    if array.dtype.name != wanted or array.shape[1:] != spec.shape or array.ndim == 0:
        raise ProjectError(
            f"{path}: {name}: expected {wanted}[n, {', '.join(map(str, spec.shape))}], found "
            f"{array.dtype.name}{list(array.shape)}; save it with .astype(numpy.{wanted}) and in the contract's shape"
        )
    if len(array) == 0:
        raise ProjectError(f"{path}: {name}: expected at least one item, found none")
    try:
        accept_batch(array, spec)
    except InputError as error:
        raise ProjectError(f"{path}: {name}: {error}") from error


def _targets(path: Path, contract: Contract, targets: NDArray[Any], prefix: str) -> NDArray[Any]:
    """Answers as metrics take them: positions of labels, which may be given by name, or values."""
    where = f"{path}: {prefix}{_TARGETS}"
    if targets.ndim != 1:
        raise ProjectError(f"{where}: expected the shape [n], found {list(targets.shape)}")
    if contract.target.kind is TargetKind.REGRESSION:
        if targets.dtype.kind not in "iuf" or not np.isfinite(targets).all():
            raise ProjectError(f"{where}: expected finite numbers, found {targets.dtype.name}")
        return targets.astype(np.float64)
    if contract.target.kind is TargetKind.ANOMALY:
        if targets.dtype.kind not in "iu" or not np.isin(targets, (0, 1)).all():
            raise ProjectError(f"{where}: expected 0 for usual and 1 for unusual items, found {targets.dtype.name}")
        return targets.astype(np.int64)
    labels = next(spec.labels for spec in contract.outputs if spec.role is OutputRole.SCORES)
    if targets.dtype.kind == "U":
        places = {label: place for place, label in enumerate(labels)}
        if unknown := sorted(set(targets.tolist()) - set(labels)):
            raise ProjectError(f"{where}: expected labels of the contract ({', '.join(labels)}), found {unknown[0]!r}")
        return np.array([places[text] for text in targets.tolist()], np.int64)
    if targets.dtype.kind not in "iu":
        raise ProjectError(f"{where}: expected labels, or their positions as integers, found {targets.dtype.name}")
    outside = np.flatnonzero((targets < 0) | (targets >= len(labels)))
    if outside.size:
        item = int(outside[0])
        raise ProjectError(
            f"{where}: expected positions of the {len(labels)} labels, 0 to {len(labels) - 1}, found "
            f"{int(targets[item])} for item {item}"
        )
    return targets
