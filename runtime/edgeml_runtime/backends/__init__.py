"""Inference backends: what runs a variant (docs/runtime.md)."""

from edgeml_runtime.backends.base import Backend, TensorInfo
from edgeml_runtime.backends.table import BACKENDS, FORMAT_BACKENDS, installed_backend_version, load_backend

__all__ = ["BACKENDS", "FORMAT_BACKENDS", "Backend", "TensorInfo", "installed_backend_version", "load_backend"]
