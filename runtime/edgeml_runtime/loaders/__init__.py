"""Loaders: file bytes → the contract's input tensor, by name and version (docs/loaders.md)."""

from edgeml_runtime.loaders.base import Loader, LoaderLimits
from edgeml_runtime.loaders.load import LOADERS, load_tensor, loader_faults

__all__ = ["LOADERS", "Loader", "LoaderLimits", "load_tensor", "loader_faults"]
