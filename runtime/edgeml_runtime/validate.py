"""Checking what callers hand in, against the contract.

Loading a model compiles one check per input. The compiled check only accepts, as fast as it can, what is certainly
valid; anything else goes to :func:`accept_item`, which knows every rule and explains what is wrong. Smallest and
largest value come from ``argmin`` and ``argmax``: they stop at a NaN, which no comparison accepts, and take a third of
the time of ``min`` and ``max``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeml_runtime.tensors import InputSpec

    Array = NDArray[Any]
    Feeds = Callable[[object], list[Array]]

__all__ = ["accept_batch", "accept_item", "batch_feeds", "compile_check", "compile_feeds"]


def compile_feeds(inputs: Sequence[InputSpec]) -> Feeds:
    """Build the function that turns what a caller hands in into what the backend takes.

    Args:
        inputs: Of the contract.

    Returns:
        A function from one item (an array for a model with one input, or a mapping from input name to array) to one
        array per input with a batch dimension of 1, not copied. It raises :class:`InputError`.
    """
    checks = [(spec.name, compile_check(spec, partial(_accept_only, spec))) for spec in inputs]

    def by_name(item: object) -> list[Array]:
        if not isinstance(item, Mapping):
            if len(inputs) > 1:
                raise _mapping_error(item, inputs)
            return _accept_only(inputs[0], item)
        if len(item) == len(checks):
            try:
                return [array for name, check in checks for array in check(item[name])]
            except KeyError:
                pass
        raise _names_error(item, inputs)

    return compile_check(inputs[0], by_name) if len(inputs) == 1 else by_name


def batch_feeds(items: object, inputs: Sequence[InputSpec]) -> list[Array]:
    """Check a whole batch before anything of it is run.

    Args:
        items: An array [n, *shape] for a model with one input, or a mapping from input name to such an array.
        inputs: Of the contract.

    Returns:
        One array [n, *shape] per input, not copied.

    Raises:
        InputError: What is wrong, with the number of the item; or the batch is empty, or lengths differ.
    """
    if isinstance(items, Mapping):
        if items.keys() != {spec.name for spec in inputs}:
            raise _names_error(items, inputs)
        batches = [accept_batch(items[spec.name], spec) for spec in inputs]
    elif len(inputs) == 1:
        batches = [accept_batch(items, inputs[0])]
    else:
        raise _mapping_error(items, inputs)
    lengths = {spec.name: len(batch) for spec, batch in zip(inputs, batches, strict=True)}
    if len(set(lengths.values())) != 1:
        raise InputError(f"expected as many items for every input, found {lengths}")
    return batches


def compile_check(spec: InputSpec, otherwise: Feeds) -> Feeds:
    """Build the check of one input.

    Args:
        spec: The input.
        otherwise: What to call with anything that is not an array of the right dtype, shape and values.

    Returns:
        A function from one item to a list that holds the same values with a batch dimension in front.
    """
    ndarray, dtype, shape = np.ndarray, np.dtype(spec.dtype.value), spec.shape
    low, high = _limits(spec)

    def check_type(item: object) -> list[Array]:
        if type(item) is ndarray and item.dtype is dtype and item.shape == shape:
            return [item[None]]
        return otherwise(item)

    def check_values(item: object) -> list[Array]:
        if (
            type(item) is ndarray
            and item.dtype is dtype
            and item.shape == shape
            and item.item(item.argmin()) >= low
            and item.item(item.argmax()) <= high
        ):
            return [item[None]]
        return otherwise(item)

    return check_type if _covers_dtype(spec) else check_values


def accept_item(item: object, spec: InputSpec) -> Array:
    """Check one item by every rule.

    Args:
        item: What the caller handed in.
        spec: The input it is for.

    Returns:
        The same values with a batch dimension in front, not copied.

    Raises:
        InputError: What is wrong with it.
    """
    array = _accept_type(item, spec)
    if array.shape != spec.shape:
        raise _shape_error(array, spec)
    _accept_values(array, spec)
    return array[None]


def accept_batch(items: object, spec: InputSpec) -> Array:
    """Check a batch of one input by every rule.

    Args:
        items: What the caller handed in.
        spec: The input it is for.

    Returns:
        The same values, [n, *shape], not copied.

    Raises:
        InputError: What is wrong with it; the first index is the number of the item.
    """
    array = _accept_type(items, spec)
    if array.shape[1:] != spec.shape or array.ndim == 0:
        raise InputError(
            f"input {spec.name!r}: expected a batch of shape {_sizes('n', *spec.shape)}, found {_sizes(*array.shape)}; "
            "predict_batch takes the items along the first axis, predict takes one item without it"
        )
    if len(array) == 0:
        raise InputError(f"input {spec.name!r}: expected at least one item in the batch, found an empty batch")
    _accept_values(array, spec)
    return array


def _accept_only(spec: InputSpec, item: object) -> list[Array]:
    return [accept_item(item, spec)]


def _limits(spec: InputSpec) -> tuple[float, float]:
    """Smallest and largest valid value as the input's dtype can hold it: 0.1 allows what float32 calls 0.1."""
    low, high = spec.range
    dtype = np.dtype(spec.dtype.value)
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return float(dtype.type(max(low, -largest))), float(dtype.type(min(high, largest)))
    bounds = np.iinfo(dtype)
    return (
        bounds.min if low <= bounds.min else math.ceil(low),
        bounds.max if high >= bounds.max else math.floor(high),
    )


def _covers_dtype(spec: InputSpec) -> bool:
    """Whether every value of the dtype is valid; never for floats, which can be NaN."""
    dtype = np.dtype(spec.dtype.value)
    return dtype.kind != "f" and _limits(spec) == (np.iinfo(dtype).min, np.iinfo(dtype).max)


def _accept_type(item: object, spec: InputSpec) -> Array:
    """Check that it is an array of the right dtype; subclasses that only add methods become plain arrays."""
    if not isinstance(item, np.ndarray):
        raise InputError(
            f"input {spec.name!r}: expected a numpy array {_describe(spec)}, found {_type_name(item)}; "
            f"build one with np.asarray(x, dtype=np.{spec.dtype.value})"
        )
    if isinstance(item, np.ma.MaskedArray):
        raise InputError(
            f"input {spec.name!r}: expected a plain numpy array, found a masked array, whose mask would be lost; "
            f"decide what stands for masked values: x.filled({'np.nan' if spec.allow_missing else 'value'})"
        )
    array: Array = np.asarray(item)
    dtype = np.dtype(spec.dtype.value)
    if array.dtype != dtype:
        raise _dtype_error(array, spec)
    return array if array.dtype is dtype else array.view(dtype)


def _accept_values(array: Array, spec: InputSpec) -> None:
    if _covers_dtype(spec):
        return
    low, high = _limits(spec)
    if low <= array.item(array.argmin()) and array.item(array.argmax()) <= high:
        return
    if array.dtype.kind == "f" and not np.all(finite := np.isfinite(array)):
        wrong = np.isinf(array) if spec.allow_missing else ~finite
        if wrong.any():
            raise _finite_error(array, wrong, spec)
    with np.errstate(invalid="ignore"):
        outside = (array < low) | (array > high)
    if outside.any():
        raise _range_error(array, outside, spec)


def _describe(spec: InputSpec) -> str:
    return f"{spec.dtype.value}{_sizes(*spec.shape)}"


def _sizes(*sizes: object) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _type_name(item: object) -> str:
    kind = type(item)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _first(array: Array, wrong: Array) -> str:
    """Name the first of the wrong elements, and how many more there are."""
    index = np.unravel_index(int(wrong.argmax()), wrong.shape)
    more = int(wrong.sum()) - 1
    return f"{array[index]} at index {[int(i) for i in index]}" + (f" and {more} more" if more else "")


def _dtype_error(array: Array, spec: InputSpec) -> InputError:
    expected = spec.dtype.value
    advice = f"convert it with x.astype(np.{expected})"
    if array.dtype.newbyteorder("=") == np.dtype(expected):
        advice = f"it is in the other byte order: convert it with x.astype(np.{expected})"
    elif array.dtype.kind == "f" and np.dtype(expected).kind in "iu":
        advice = f"scale and round it to the contract's unit ({spec.unit}) first, then use x.astype(np.{expected})"
    elif array.dtype.kind not in "biuf":
        advice = f"build a numeric array with np.asarray(x, dtype=np.{expected})"
    return InputError(f"input {spec.name!r}: expected dtype {expected}, found {array.dtype}; {advice}")


def _shape_error(array: Array, spec: InputSpec) -> InputError:
    expected, found = _sizes(*spec.shape), _sizes(*array.shape)
    start = f"input {spec.name!r}: expected shape {expected}, found {found}"
    if array.shape[1:] == spec.shape and array.ndim == len(spec.shape) + 1:
        return InputError(f"{start}: predict takes one item, without a batch dimension; use predict_batch(x)")
    if array.ndim != len(spec.shape):
        advice = f"the rank must be {len(spec.shape)}, not {array.ndim}"
        if array.size == math.prod(spec.shape):
            advice += f"; if the order of the values is right, use x.reshape({tuple(spec.shape)})"
        return InputError(f"{start}: {advice}")
    axis = next(axis for axis, (size, wanted) in enumerate(zip(array.shape, spec.shape, strict=True)) if size != wanted)
    return InputError(f"{start}: axis {axis} must have {spec.shape[axis]} values, not {array.shape[axis]}; pad or crop")


def _finite_error(array: Array, wrong: Array, spec: InputSpec) -> InputError:
    advice = "check the source for a division by zero or an overflow"
    if np.isnan(array[wrong][0]):
        advice = "the contract allows no missing values: fill them in before predicting"
    return InputError(f"input {spec.name!r}: expected finite values, found {_first(array, wrong)}; {advice}")


def _range_error(array: Array, wrong: Array, spec: InputSpec) -> InputError:
    low, high = spec.range
    return InputError(
        f"input {spec.name!r}: expected values from {low:g} to {high:g} {spec.unit}, found {_first(array, wrong)}; "
        "check the unit and the scaling, or clip it if that is what the sensor does"
    )


def _mapping_error(item: object, inputs: Sequence[InputSpec]) -> InputError:
    listed = ", ".join(f"{spec.name!r}: {_describe(spec)}" for spec in inputs)
    return InputError(
        f"the model has {len(inputs)} inputs: expected a mapping {{{listed}}}, found {_type_name(item)}; "
        "name each array"
    )


def _names_error(item: Mapping[Any, object], inputs: Sequence[InputSpec]) -> InputError:
    names = [spec.name for spec in inputs]
    expected = f"expected exactly the inputs {', '.join(map(repr, names))}"
    for name in item:
        if name not in names:
            return InputError(f"{expected}, found the unknown name {name!r}{_nearest(name, names)}")
    missing = ", ".join(repr(name) for name in names if name not in item)
    return InputError(f"{expected}, found {len(item)} of them: {missing} missing; hand in an array for each")


def _nearest(name: object, names: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else "; remove it"
