"""Ranges of activations, as calibration finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["refuse_unbounded"]


def refuse_unbounded(ranges: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse activations that are NaN or infinite: no scale expresses them, and some kernels crash on such a scale.

    Args:
        ranges: Name of an activation that is to be quantized → its smallest and largest value.

    Raises:
        ProjectError: When one of them is not finite.
    """
    bad = [name for name, (low, high) in ranges.items() if not np.isfinite(low).all() or not np.isfinite(high).all()]
    if bad:
        raise ProjectError(
            f"the activation {bad[0].rstrip(';')!r} is NaN or infinite for a calibration item and cannot be quantized; "
            "deal with missing values in a module of its own, and name that one in export.float_scopes in edgeml.toml"
        )
