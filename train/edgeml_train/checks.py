"""Checks of the splits a task gives, before anything is trained on them."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_evaluate.slices import attribute_of, class_labels
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeml_evaluate.data import LabelledData
    from edgeml_runtime.tensors import InputSpec
    from edgeml_train.task import Splits

__all__ = ["MIN_ITEMS", "check_splits", "data_sha256"]

MIN_ITEMS = 2


def check_splits(contract: Contract, splits: Splits, *, learns: bool = True) -> None:
    """Compare the splits with the contract.

    Args:
        contract: The contract.
        splits: What the task gave.
        learns: Whether classes are learned from these items, so that each label needs some.

    Raises:
        ProjectError: When a split is (nearly) empty, an input has another dtype, shape or range than the contract
            says, a target is no class, a class has no training item, an attribute is missing, or the group crosses the
            split unannounced.
    """
    parts = _parts(splits)
    for name, data in parts.items():
        if len(data) < MIN_ITEMS:
            raise ProjectError(
                f"splits(): expected at least {MIN_ITEMS} items in {name}, found {len(data)} ({splits.name}). "
                "Check the data folder and the split's settings under [data]."
            )
        _check_inputs(contract, name, data)
        _check_targets(contract, name, data)
    if contract.target.kind is TargetKind.CLASSIFICATION and learns:
        _check_every_class(contract, splits)
    for attribute in contract.slices.by:
        attribute_of(contract, splits.test, attribute)
    if contract.group and not splits.shared_groups:
        _check_groups(contract, contract.group, parts)


def data_sha256(splits: Splits) -> str:
    """Digest of the content of all arrays in all splits.

    Args:
        splits: The data.

    Returns:
        Hex digest; any change of an item, its place or its split changes it.
    """
    digest = hashlib.sha256()
    for name, data in _parts(splits).items():
        arrays = {"targets": data.targets}
        arrays |= {f"input {key}": value for key, value in data.inputs.items()}
        arrays |= {f"attribute {key}": value for key, value in data.attributes.items()}
        for key in sorted(arrays):
            array = np.ascontiguousarray(arrays[key])
            digest.update(f"{name}/{key} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _parts(splits: Splits) -> dict[str, LabelledData]:
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def _check_inputs(contract: Contract, part: str, data: LabelledData) -> None:
    expected, found = {spec.name for spec in contract.inputs}, set(data.inputs)
    if expected != found:
        raise ProjectError(f"splits(): expected the inputs {sorted(expected)} in {part}, found {sorted(found)}.")
    for spec in contract.inputs:
        array = data.inputs[spec.name]
        if array.dtype != np.dtype(spec.dtype.value) or array.shape[1:] != spec.shape:
            raise ProjectError(
                f"splits(): expected {spec.dtype.value}[n, {', '.join(map(str, spec.shape))}] for input "
                f"{spec.name!r} in {part}, as edgeml.toml says, found {array.dtype}{list(array.shape)}."
            )
        _check_range(spec, part, array)


def _check_range(spec: InputSpec, part: str, array: NDArray[Any]) -> None:
    known = array if not spec.allow_missing else array[~np.isnan(array)]
    if known.size == 0:
        return
    low, high = known.min(), known.max()
    # Written so that NaN, which is neither above nor below anything, is refused as well.
    if not (spec.range[0] <= low and high <= spec.range[1]):
        raise ProjectError(
            f"splits(): expected values of input {spec.name!r} within [{spec.range[0]}, {spec.range[1]}] "
            f"{spec.unit}, found [{low}, {high}] in {part}. Correct the range in edgeml.toml or the data."
        )


def _check_targets(contract: Contract, part: str, data: LabelledData) -> None:
    if contract.target.kind is TargetKind.ANOMALY:
        _check_anomalies(part, data)
        return
    if contract.target.kind is TargetKind.REGRESSION:
        if not np.all(np.isfinite(np.asarray(data.targets, np.float64))):
            raise ProjectError(f"splits(): expected finite targets in {part}, found NaN or infinity.")
        return
    classes = len(class_labels(contract))
    if not np.issubdtype(data.targets.dtype, np.integer):
        raise ProjectError(
            f"splits(): expected class indices (integers) as targets in {part}, found {data.targets.dtype}."
        )
    if data.targets.min() < 0 or data.targets.max() >= classes:
        raise ProjectError(
            f"splits(): expected targets from 0 to {classes - 1} in {part}, because edgeml.toml has {classes} labels, "
            f"found {data.targets.min()} to {data.targets.max()}."
        )


def _check_every_class(contract: Contract, splits: Splits) -> None:
    labels = class_labels(contract)
    counts = {name: np.bincount(data.targets, minlength=len(labels)) for name, data in _parts(splits).items()}
    missing = np.flatnonzero(counts["train"] == 0).tolist()
    if missing:
        found = [f"{labels[i]} ({counts['validation'][i]} in validation, {counts['test'][i]} in test)" for i in missing]
        raise ProjectError(
            f"splits(): expected training items of every label in edgeml.toml, found none of {len(missing)} of "
            f"{len(labels)}: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}. Add items, split "
            "otherwise, or take the label out of the contract."
        )


def _check_anomalies(part: str, data: LabelledData) -> None:
    """Nothing unusual trains, and the test has both kinds."""
    if not np.isin(data.targets, (0, 1)).all():
        raise ProjectError(
            f"splits(): expected targets 0 (usual) and 1 (unusual) in {part}, found {np.unique(data.targets)[:5]}."
        )
    unusual = int(data.targets.sum())
    if part == "train" and unusual:
        raise ProjectError(
            f"splits(): expected usual items only in train, found {unusual} unusual ones of {len(data)}: a model that "
            "has learned them finds them usual. Leave them out, or move them to validation and test."
        )
    if unusual == len(data) or (part == "test" and not unusual):
        found = "only unusual ones" if unusual else "no unusual one"
        raise ProjectError(
            f"splits(): expected usual and unusual items in {part}, found {found} among {len(data)}. Split otherwise."
        )


def _check_groups(contract: Contract, group: str, parts: dict[str, LabelledData]) -> None:
    members = {name: set(attribute_of(contract, data, group).tolist()) for name, data in parts.items()}
    for first, second in combinations(parts, 2):
        shared = sorted(members[first] & members[second])
        if shared:
            raise ProjectError(
                f"splits(): expected no {group} in two splits (groups.key in edgeml.toml), found "
                f"{', '.join(map(str, shared[:5]))}{' …' if len(shared) > 5 else ''} in {first} and in {second}. "
                f"Split by {group}, or, where sharing is meant, return Splits(shared_groups=True)."
            )
