"""Whether items are what a device would be given, and calibration items say anything about activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import InputError, ProjectError
from edgeml_runtime.validate import accept_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeml_evaluate import LabelledData
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec

__all__ = ["check_calibration", "check_inputs"]


def check_calibration(contract: Contract, calibration: LabelledData) -> None:
    """Refuse calibration items that no model of the contract would be given, or that are all the same.

    Args:
        contract: Names the inputs with shape, dtype and range.
        calibration: Items of the training split.

    Raises:
        ProjectError: When there are no items, an input is missing, has another dtype or shape, holds a value outside
            its range, NaN where nothing may be missing, or never varies.
    """
    if len(calibration) == 0:
        raise ProjectError("export: expected at least one calibration item of the training split, found none")
    check_inputs(contract, calibration, "calibration")
    for spec in contract.inputs:
        _check_variety(spec, calibration.inputs[spec.name])


def check_inputs(contract: Contract, items: LabelledData, split: str) -> None:
    """Refuse items that a device would refuse.

    Args:
        contract: Names the inputs with shape, dtype and range.
        items: At least one item.
        split: What to call them in a message.

    Raises:
        ProjectError: When an input is missing, has another dtype or shape, holds a value outside its range, or NaN
            where nothing may be missing.
    """
    for spec in contract.inputs:
        if spec.name not in items.inputs:
            raise ProjectError(f"export: {split} items have no input {spec.name!r}, only {sorted(items.inputs)}")
        array = items.inputs[spec.name]
        _check_type(spec, array, split)
        _check_values(spec, array, split)


def _check_type(spec: InputSpec, array: NDArray[Any], split: str) -> None:
    if array.dtype.name != spec.dtype.value or array.shape[1:] != spec.shape:
        raise ProjectError(
            f"export: {split} input {spec.name!r}: expected {spec.dtype.value}{list(spec.shape)} per item, "
            f"found {array.dtype.name}{list(array.shape[1:])}"
        )


def _check_values(spec: InputSpec, array: NDArray[Any], split: str) -> None:
    try:
        accept_batch(array, spec)
    except InputError as error:
        raise ProjectError(
            f"export: {split} items: {error}; the first index is the item: correct what splits() in task.py gives, "
            f"or the input {spec.name!r} in edgeml.toml"
        ) from error


def _check_variety(spec: InputSpec, array: NDArray[Any]) -> None:
    """One item may be all there is, and one number of one item cannot vary."""
    if array.size == 1:
        return
    first = array[:1] if len(array) > 1 else array.reshape(-1)[0]
    if np.array_equal(array, np.broadcast_to(first, array.shape), equal_nan=array.dtype.kind == "f"):
        expected, found = ("items", f"{len(array)} equal ones") if len(array) > 1 else ("values", f"{first} only")
        raise ProjectError(
            f"export: calibration input {spec.name!r}: expected {expected} that differ, found {found}: ranges of "
            "activations that follow from them say nothing about other items; let splits() in task.py give recorded "
            "items for training"
        )
