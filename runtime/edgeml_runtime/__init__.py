"""Load, check and run edgeml bundles.

Names are imported on first use, so that importing one part costs that part only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeml_runtime.bundle import Bundle, Limits
    from edgeml_runtime.errors import (
        BackendError,
        BackendFailedError,
        BackendMissingError,
        BackendUnsuitableError,
        BundleError,
        BundleFormatError,
        BundleIntegrityError,
        BundleLimitError,
        BundleVersionError,
        EdgemlError,
        InputError,
    )
    from edgeml_runtime.model import Model
    from edgeml_runtime.result import Result
    from edgeml_runtime.selftest import SelfTestReport

__all__ = [
    "BackendError",
    "BackendFailedError",
    "BackendMissingError",
    "BackendUnsuitableError",
    "Bundle",
    "BundleError",
    "BundleFormatError",
    "BundleIntegrityError",
    "BundleLimitError",
    "BundleVersionError",
    "EdgemlError",
    "InputError",
    "Limits",
    "Model",
    "Result",
    "SelfTestReport",
]

_MODULES = {
    "Bundle": "bundle",
    "Limits": "bundle",
    "Model": "model",
    "Result": "result",
    "SelfTestReport": "selftest",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
