"""The backends there are, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from edgeml_runtime.errors import BackendMissingError, BackendUnsuitableError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from edgeml_runtime.backends.base import Backend

__all__ = [
    "BACKENDS",
    "BACKEND_FORMATS",
    "FORMAT_BACKENDS",
    "formats_fault",
    "installed_backend_version",
    "load_backend",
    "runner_of",
]

BACKENDS: dict[str, str] = {
    "litert": "edgeml_runtime.backends.litert:LiteRTBackend",
    "onnxruntime": "edgeml_runtime.backends.onnxruntime:OnnxRuntimeBackend",
    "openvino": "edgeml_runtime.backends.openvino:OpenVinoBackend",
}
"""Backend name → ``module:class``, imported on use. A new backend is one module, one line here and one below."""

BACKEND_FORMATS: dict[str, tuple[ModelFormat, ...]] = {
    "litert": (ModelFormat.TFLITE,),
    "onnxruntime": (ModelFormat.ONNX, ModelFormat.ORT),
    "openvino": (ModelFormat.ONNX,),
}
"""Backend name → the formats it runs."""

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


def runner_of(path: str, model_format: ModelFormat, backend: str | None = None) -> type[Backend]:
    """The backend for a file outside a bundle.

    Args:
        path: Name of the file, for messages.
        model_format: Its format.
        backend: A key of :data:`BACKENDS`, or None for the one of :data:`FORMAT_BACKENDS`.

    Returns:
        The class.

    Raises:
        BackendMissingError: This runtime has no such backend.
        BackendUnsuitableError: The backend is made for other formats.
    """
    name = backend or FORMAT_BACKENDS[model_format]
    found = load_backend(name)
    if model_format not in BACKEND_FORMATS[name]:
        raise BackendUnsuitableError(f"{path}: {formats_fault(name, model_format)}")
    return found


def formats_fault(name: str, model_format: ModelFormat) -> str:
    """Say which formats a backend runs, instead of one that it does not.

    Args:
        name: A key of :data:`BACKENDS`.
        model_format: The format that is not among them.

    Returns:
        The sentence.
    """
    runs = " and ".join(f".{each.value}" for each in BACKEND_FORMATS[name])
    able = " or ".join(other for other, formats in BACKEND_FORMATS.items() if model_format in formats)
    return f"the backend {name} runs {runs} files, found .{model_format.value}, which {able} runs"


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
