"""Ranges of activations, found by running calibration items through the float model.

One implementation for every format: :mod:`edgeml_export.onnx_activations` and
:mod:`edgeml_export.tflite_activations` run the items, this module watches what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeml_export.calibration_ranges import Histogram, Range, entropy_range, mse_range, percentile_range
from edgeml_runtime.contract import CalibrationMethod
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, ProgressEvent, silent

__all__ = ["Activations", "RangeObserver", "Ranges", "calibrate", "refuse_unbounded"]

Activations = Callable[[], Iterable[Mapping[str, NDArray[Any]]]]
"""Runs every calibration item anew at each call, and gives for each a mapping from activation to its float32 values."""

Ranges = Mapping[str, Range]
"""Name of an activation → lower and upper end; zero lies between, and both are NaN where one of its values was."""

_BINS = 2048
# Below, the inverse of a bin's width overflows float32; such values are rounding errors, and nothing needs clipping.
_NARROWEST = 1e-30


class RangeObserver:
    """Watches one activation in two passes: how far its values reach, and how they are spread in between.

    Args:
        bins: Bins of the histogram.
    """

    def __init__(self, bins: int = _BINS) -> None:
        self._low = self._high = 0.0
        self._counts = np.zeros(bins, np.int64)
        self._zeros = 0

    @property
    def range(self) -> Range:
        """The smallest and the largest value of the first pass, or zero where that lies outside; NaN if one was NaN."""
        return self._low, self._high

    @property
    def can_clip(self) -> bool:
        """Whether the range can be shared out into bins."""
        return math.isfinite(self._low) and math.isfinite(self._high) and self._high - self._low > _NARROWEST

    @property
    def histogram(self) -> Histogram:
        """What the second pass counted."""
        return Histogram(low=self._low, high=self._high, counts=self._counts, zeros=self._zeros)

    def widen(self, values: NDArray[np.float32]) -> None:
        """First pass.

        Args:
            values: Of one item, of any shape.
        """
        if values.size:
            self._low = float(np.minimum(self._low, values.min()))
            self._high = float(np.maximum(self._high, values.max()))

    def count(self, values: NDArray[np.float32]) -> None:
        """Second pass.

        Args:
            values: As in the first pass.
        """
        bins = len(self._counts)
        scale, offset = np.float32(bins / (self._high - self._low)), np.float32(self._low)
        offset = offset * scale
        places = (values.ravel() * scale - offset).astype(np.intp)
        counts = np.bincount(np.minimum(places, bins - 1, out=places), minlength=bins)
        zeros = values.size - int(np.count_nonzero(values))
        counts[min(int(-offset), bins - 1)] -= zeros
        self._counts += counts
        self._zeros += zeros


def calibrate(
    activations: Activations,
    method: CalibrationMethod,
    *,
    items: int,
    levels: int = 256,
    whole: Container[str] = (),
    progress: Progress = silent,
    step: str = "calibrate",
) -> dict[str, Range]:
    """Find the range of every activation.

    Args:
        activations: Runs the items; once for ``min_max``, twice for the other methods.
        method: How the range is taken from the values.
        items: How many items a run has, for the progress.
        levels: How many integers an activation is quantized to: 2 to the power of its bits.
        whole: Activations that keep their whole range under every method, such as logits: clipped ones would tie.
        progress: Told about every item.
        step: What to call this in the progress.

    Returns:
        Name of an activation → lower and upper end.
    """
    passes = 1 if method is CalibrationMethod.MIN_MAX else 2
    observers: dict[str, RangeObserver] = {}
    for done, found in enumerate(activations(), start=1):
        for name, values in found.items():
            observers.setdefault(name, RangeObserver()).widen(values)
        progress(ProgressEvent(step=step, done=done, total=passes * items))
    if passes == 1:
        return {name: observer.range for name, observer in observers.items()}
    clipped = {name for name, observer in observers.items() if observer.can_clip and name not in whole}
    for done, found in enumerate(activations(), start=items + 1):
        for name in clipped & found.keys():
            observers[name].count(found[name])
        progress(ProgressEvent(step=step, done=done, total=passes * items))
    return {
        name: _clipped(observer.histogram, method, levels) if name in clipped else observer.range
        for name, observer in observers.items()
    }


def _clipped(histogram: Histogram, method: CalibrationMethod, levels: int) -> Range:
    if method is CalibrationMethod.PERCENTILE:
        return percentile_range(histogram)
    return (entropy_range if method is CalibrationMethod.ENTROPY else mse_range)(histogram, levels)


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
