"""Bare ``.onnx``, ``.ort`` and ``.tflite`` files: which tensors they take and give, and inputs to measure them with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.backends.table import runner_of
from edgeml_runtime.errors import BackendMissingError, InputError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.backends import TensorInfo

__all__ = ["BareSignature", "BareTensor", "bare_format", "describe_bare", "random_array"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BareTensor:
    """An input of a bare model.

    Attributes:
        name: Name of the tensor in the file.
        dtype: Element type, by its numpy name.
        shape: Full shape with the batch dimension; dimensions the file leaves open are 1.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BareSignature:
    """What a bare model takes and gives.

    Attributes:
        inputs: In the order of the file.
        outputs: Names, in the order of the file.
    """

    inputs: tuple[BareTensor, ...]
    outputs: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        inputs = [{"name": item.name, "dtype": item.dtype, "shape": list(item.shape)} for item in self.inputs]
        return {"inputs": inputs, "outputs": list(self.outputs)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BareSignature:
        """The inverse of :meth:`to_dict`."""
        inputs = (BareTensor(name=i["name"], dtype=i["dtype"], shape=tuple(i["shape"])) for i in values["inputs"])
        return cls(inputs=tuple(inputs), outputs=tuple(values["outputs"]))


def bare_format(path: str) -> ModelFormat | None:
    """The format of a bare model by its file name, or None for anything else, such as a bundle.

    Args:
        path: File name or path.

    Returns:
        The format.
    """
    return next((item for item in ModelFormat if path.lower().endswith(f".{item.value}")), None)


def _known_dtype(path: str, tensor: TensorInfo) -> str:
    try:
        return np.dtype(tensor.dtype).name
    except TypeError:
        raise InputError(
            f"{path}: input {tensor.name!r} is of type {tensor.dtype}; only inputs of numbers can be made up"
        ) from None


def describe_bare(path: str, model: bytes, backend: str | None = None) -> BareSignature:
    """Ask a backend which tensors a bare model takes and gives.

    Args:
        path: Name of the file, which states its format.
        model: Its content.
        backend: What is to run it, or None for the backend of its format.

    Returns:
        The signature; dimensions the file leaves open are 1.

    Raises:
        InputError: The name states no format, or an input has an element type that cannot be made up.
        BackendMissingError: The backend is unknown or not installed.
        BackendUnsuitableError: The backend runs other formats.
        BackendFailedError: The backend cannot read the file.
    """
    model_format = bare_format(path)
    if model_format is None:
        raise InputError(f"{path}: expected a file that ends in .onnx, .ort or .tflite")
    runner = runner_of(path, model_format, backend)
    try:
        inputs, outputs = runner.declared(model)
    except ImportError as error:
        raise BackendMissingError(
            f"{path}: the backend {runner.name} for {model_format.value} files is not installed: "
            f"pip install {runner.package}"
        ) from error
    return BareSignature(
        inputs=tuple(
            BareTensor(
                name=tensor.name,
                dtype=_known_dtype(path, tensor),
                shape=tuple(size if size and size > 0 else 1 for size in tensor.shape),
            )
            for tensor in inputs
        ),
        outputs=tuple(tensor.name for tensor in outputs),
    )


def random_array(
    dtype: str, shape: tuple[int, ...], rng: np.random.Generator, limits: tuple[float, float] | None = None
) -> NDArray[Any]:
    """An array of uniformly distributed values.

    Args:
        dtype: Element type, by its numpy name.
        shape: Any shape.
        rng: Where the values come from.
        limits: Smallest and largest value. Without them: floats in [-1, 1]; 8- and 16-bit integers over their whole
            range; wider integers and booleans 0 or 1, because they are often indices into a table.

    Returns:
        ``dtype[shape]``.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        low, high = limits or (-1.0, 1.0)
        return rng.uniform(low, high, size=shape).astype(kind)
    if limits is None and kind.kind in "iu" and kind.itemsize <= 2:
        info = np.iinfo(kind)
        limits = (info.min, info.max)
    low, high = limits or (0, 1)
    return rng.integers(math.ceil(low), math.floor(high), size=shape, endpoint=True).astype(kind)
