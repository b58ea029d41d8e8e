"""From a file or its bytes to the contract's input tensor."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, cast

from edgeml_runtime.errors import ContractError, Fault, InputError
from edgeml_runtime.loaders.base import LoaderLimits

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from edgeml_runtime.loaders.base import Loader
    from edgeml_runtime.tensors import InputSpec

__all__ = ["LOADERS", "load_tensor", "loader_faults"]

LOADERS: dict[str, str] = {
    "image": "edgeml_runtime.loaders.image:ImageLoader",
    "wav": "edgeml_runtime.loaders.wav:WavLoader",
}
"""Loader name → ``module:class``, imported on use. A new loader is one module and one line here."""

_NAME_OF_BYTES = "the encoded bytes"


def load_tensor(
    spec: InputSpec, source: str | os.PathLike[str] | bytes, *, limits: LoaderLimits | None = None
) -> NDArray[Any]:
    """Decode a file into the input tensor, as training did.

    Args:
        spec: The input, with its loader.
        source: Path of an encoded file, or the bytes of one.
        limits: What may be read and allocated; the defaults of :class:`LoaderLimits` where None.

    Returns:
        A new array of exactly ``spec.dtype`` and ``spec.shape``.

    Raises:
        InputError: The file is missing, no regular file, too large, empty, corrupt or of another kind; the message
            names it. Also when the input has no loader, or a package the loader needs is not installed.
        ContractError: The loader is unknown to this runtime, or its options do not fit the input.
    """
    limits = limits or LoaderLimits()
    loader_spec = spec.loader
    if loader_spec is None:
        raise InputError(
            f"input {spec.name!r} has no loader in the contract, so it cannot be read from a file; "
            f"hand in an array {spec.dtype.value} {list(spec.shape)} instead"
        )
    faults = loader_faults(spec, f"input {spec.name!r}")
    if faults:
        raise ContractError(f"loader of input {spec.name!r}", tuple(faults))
    name, data = _read(source, limits)
    return _resolve(loader_spec.name).load(spec, data, name=name, limits=limits)


def loader_faults(spec: InputSpec, path: str) -> list[Fault]:
    """Check an input's loader: name, version, options, and whether it can give the input's dtype and shape.

    Args:
        spec: The input; without a loader there is nothing to report.
        path: Key path of the input in the contract, such as ``"inputs[0]"``.

    Returns:
        Every fault.
    """
    if spec.loader is None:
        return []
    if spec.loader.name not in LOADERS:
        known = ", ".join(f'"{name}"' for name in LOADERS)
        return [Fault(f"{path}.loader.name", f"a loader of this runtime ({known})", repr(spec.loader.name))]
    loader = _resolve(spec.loader.name)
    if spec.loader.version not in loader.versions:
        known = ", ".join(map(str, loader.versions))
        expected = f'a version of loader "{spec.loader.name}" that this runtime has ({known})'
        return [Fault(f"{path}.loader.version", expected, f"{spec.loader.version}; update edgeml-runtime")]
    return loader.faults(spec, path)


def _resolve(name: str) -> Loader:
    from importlib import import_module

    module, _, attribute = LOADERS[name].partition(":")
    return cast("Loader", getattr(import_module(module), attribute)())


def _read(source: str | os.PathLike[str] | bytes, limits: LoaderLimits) -> tuple[str, bytes]:
    """Return the file's name for messages and its bytes, refusing what is too large before reading it."""
    if isinstance(source, bytes):
        _check_size(_NAME_OF_BYTES, len(source), limits)
        return _NAME_OF_BYTES, source
    name = os.fspath(source)
    try:
        # Looked at before it is opened, because opening a pipe waits for whoever writes into it.
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name}: expected a file, found a folder; name one of the files in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: expected a regular file, found a device, pipe or socket")
        _check_size(name, status.st_size, limits)
        with open(name, "rb") as file:
            data = file.read(limits.file_bytes + 1)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{name}: expected a file, found nothing there; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: the file cannot be read: {error}") from error
    _check_size(name, len(data), limits)
    return name, data


def _check_size(name: str, size_bytes: int, limits: LoaderLimits) -> None:
    if size_bytes == 0:
        raise InputError(f"{name}: expected an encoded file, found 0 bytes")
    if size_bytes > limits.file_bytes:
        raise InputError(
            f"{name}: expected at most {limits.file_bytes} bytes, found {size_bytes}; "
            "cut the file, or pass larger LoaderLimits"
        )
