"""Inference backends: what runs a variant (docs/runtime.md)."""

from edgeml_runtime.backends.base import Backend, TensorInfo
from edgeml_runtime.backends.table import (
    BACKEND_FORMATS,
    BACKENDS,
    FORMAT_BACKENDS,
    installed_backend_version,
    load_backend,
)

__all__ = [
    "BACKENDS",
    "BACKEND_FORMATS",
    "FORMAT_BACKENDS",
    "Backend",
    "TensorInfo",
    "installed_backend_version",
    "load_backend",
]
