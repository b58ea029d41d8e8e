"""The backends there are, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from edgeml_runtime.errors import BackendMissingError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from edgeml_runtime.backends.base import Backend

__all__ = ["BACKENDS", "FORMAT_BACKENDS", "installed_backend_version", "load_backend"]

BACKENDS: dict[str, str] = {
    "litert": "edgeml_runtime.backends.litert:LiteRTBackend",
    "onnxruntime": "edgeml_runtime.backends.onnxruntime:OnnxRuntimeBackend",
}
"""Backend name → ``module:class``, imported on use. A new backend is one module and one line here."""

FORMAT_BACKENDS: dict[ModelFormat, str] = {
    ModelFormat.ONNX: "onnxruntime",
    ModelFormat.ORT: "onnxruntime",
    ModelFormat.TFLITE: "litert",
}
"""The backend for a file that does not name one."""


def load_backend(name: str) -> type[Backend]:
    """Import a backend's module; its inference library is imported by the class itself.

    Args:
        name: A key of :data:`BACKENDS`.

    Returns:
        The class.

    Raises:
        BackendMissingError: This runtime has no such backend.
    """
    if name not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise BackendMissingError(f"this runtime has no backend {name!r}; it has {known}; update edgeml-runtime")
    from importlib import import_module

    module, _, attribute = BACKENDS[name].partition(":")
    return cast("type[Backend]", getattr(import_module(module), attribute))


def installed_backend_version(name: str) -> str | None:
    """Import a backend's library, if it is there.

    Args:
        name: A key of :data:`BACKENDS`.

    Returns:
        Its release, or None where it is not installed or does not load.

    Raises:
        BackendMissingError: This runtime has no such backend.
    """
    try:
        return load_backend(name).installed_version()
    except ImportError:
        return None
