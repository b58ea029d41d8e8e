"""Whether labelled items fit the contract: their targets are classes it names, their attributes give its slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeml_evaluate.slices import attribute_of
from edgeml_export.calibration_checks import check_inputs
from edgeml_runtime.contract import TargetKind
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from edgeml_evaluate import LabelledData
    from edgeml_runtime.contract import Contract

__all__ = ["check_items"]


def check_items(contract: Contract, items: LabelledData, split: str) -> None:
    """Refuse items that cannot be judged by the contract.

    Args:
        contract: Its inputs, its output of role ``scores`` that names the classes, its slices and its group.
        items: Labelled items.
        split: What to call them in a message, such as ``"test"``.

    Raises:
        ProjectError: When there are none, an input does not fit, a target is no class of the contract or no finite
            number, or an attribute is missing that the contract slices or groups by.
    """
    if len(items) == 0:
        raise ProjectError(f"export: expected at least one {split} item, found none")
    check_inputs(contract, items, split)
    if contract.target.kind is TargetKind.CLASSIFICATION:
        _check_classes(contract, items, split)
    elif contract.target.kind is TargetKind.ANOMALY:
        _check_kinds(items, split)
    else:
        _check_numbers(items, split)
    for name in (*contract.slices.by, contract.group):
        if name is not None:
            attribute_of(contract, items, name)


def _check_classes(contract: Contract, items: LabelledData, split: str) -> None:
    scores = next(spec for spec in contract.outputs if spec.role is OutputRole.SCORES)
    count = len(scores.labels)
    if items.targets.dtype.kind not in "iu":
        raise ProjectError(
            f"export: {split} items: expected targets to be the positions of labels, integers from 0 to {count - 1}, "
            f"found {items.targets.dtype.name}; correct what splits() in task.py gives"
        )
    outside = np.flatnonzero((items.targets < 0) | (items.targets >= count))
    if outside.size:
        item = int(outside[0])
        raise ProjectError(
            f"export: {split} item {item}: expected a target from 0 to {count - 1}, one of the {count} labels of "
            f"{scores.name!r}, found {int(items.targets[item])}; correct the labels in edgeml.toml or what splits() in "
            "task.py gives"
        )


def _check_kinds(items: LabelledData, split: str) -> None:
    found = np.unique(items.targets).tolist()
    if found != [0, 1] and not (split != "test" and found == [0]):
        raise ProjectError(
            f"export: {split} items: expected targets 0 (usual) and 1 (unusual), both of them in the test split, found "
            f"{found[:5]}; correct what splits() in task.py gives"
        )


def _check_numbers(items: LabelledData, split: str) -> None:
    if items.targets.dtype.kind not in "iuf":
        raise ProjectError(
            f"export: {split} items: expected targets to be numbers, found {items.targets.dtype.name}; correct what "
            "splits() in task.py gives"
        )
    bad = np.flatnonzero(~np.isfinite(items.targets))
    if bad.size:
        item = int(bad[0])
        raise ProjectError(
            f"export: {split} item {item}: expected a finite target, found {items.targets[item]}; correct or leave out "
            "such items in splits() in task.py"
        )
