"""Numbers from a file: ``.npy`` arrays and JSON, for ``edgeml predict``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeml_runtime.tensors import InputSpec

__all__ = ["read_arrays"]

NPY_MAGIC = b"\x93NUMPY"


def read_arrays(inputs: Sequence[InputSpec], source: str, data: bytes | None) -> Mapping[str, NDArray[Any]] | None:
    """Arrays by input name, where the source holds numbers.

    Args:
        inputs: The contract's inputs.
        source: Path of the file, or ``-``.
        data: The content, where it came from standard input.

    Returns:
        One array per input that the file names; None where the source is for the contract's loader (WAV, image).

    Raises:
        InputError: When the file says it holds numbers and does not, or they do not fit the input's dtype.
    """
    suffix = Path(source).suffix.lower()
    if data is None:
        if suffix not in (".npy", ".json"):
            return None
        data = Path(source).read_bytes()
    if suffix == ".npy" or data.startswith(NPY_MAGIC):
        return {_only(inputs, source).name: _read_npy(data, source)}
    if suffix == ".json" or data.lstrip()[:1] in (b"{", b"["):
        return _read_json(inputs, data, source)
    return None


def _read_npy(data: bytes, source: str) -> NDArray[Any]:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{source}: expected an array as numpy.save writes it, found something else ({error})"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"{source}: expected one array (.npy), found an archive of several; save the one that is meant"
        )
    return array


def _read_json(inputs: Sequence[InputSpec], data: bytes, source: str) -> dict[str, NDArray[Any]]:
    try:
        value = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{source}: expected JSON, found something else: {error}") from error
    if not isinstance(value, dict):
        value = {_only(inputs, source).name: value}
    specs = {spec.name: spec for spec in inputs}
    unknown = sorted(set(value) - set(specs))
    if unknown:
        raise InputError(f"{source}: expected the inputs {', '.join(specs)}, found {', '.join(unknown)}")
    return {name: _array(specs[name], item, source) for name, item in value.items()}


def _array(spec: InputSpec, value: Any, source: str) -> NDArray[Any]:
    """A JSON list as an array of the input's dtype, where no value changes by it."""
    where = f"{source}: input {spec.name!r}: expected numbers of shape {list(spec.shape)} that fit {spec.dtype.value}"
    dtype = np.dtype(spec.dtype.value)
    try:
        numbers = np.asarray(value)
        if numbers.dtype == object and dtype.kind == "f":
            numbers = np.asarray(value, np.float64)  # null stands for a missing value
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}, found lists of unequal length, or values that are no numbers") from error
    if numbers.dtype.kind not in "iuf":
        raise InputError(f"{where}, found values that are no numbers")
    if dtype.kind == "f":
        return numbers.astype(dtype)
    limits = np.iinfo(dtype)
    bad = numbers[(numbers < limits.min) | (numbers > limits.max) | (numbers != np.floor(numbers))]
    if bad.size:
        raise InputError(f"{where}, found {bad.flat[0]}")
    return numbers.astype(dtype)


def _only(inputs: Sequence[InputSpec], source: str) -> InputSpec:
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs)
        raise InputError(f"{source}: the model has the inputs {names}: hand in a JSON object from their names to lists")
    return inputs[0]
