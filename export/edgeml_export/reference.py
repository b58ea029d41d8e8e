"""Reference histograms: how inputs and outputs are distributed where the model was evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.contract import Contract, Statistic, TelemetryFeature
from edgeml_runtime.histograms import Histogram, feature_values, histogram
from edgeml_runtime.tensors import InputSpec, OutputRole, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["default_features", "reference_histograms"]

_BINS = 20


def reference_histograms(contract: Contract, tensors: Mapping[str, NDArray[Any]]) -> list[Histogram]:
    """Count the contract's telemetry features over the test set.

    Args:
        contract: Its ``telemetry`` names the features; where there are none, :func:`default_features` stand in.
        tensors: Name of an input or output → [n, *shape]; outputs are those of the variant that ``auto`` tries first.

    Returns:
        One histogram per feature.
    """
    features = contract.telemetry or default_features(contract, tensors)
    return [histogram(feature, feature_values(feature, tensors[feature.tensor])) for feature in features]


def default_features(contract: Contract, tensors: Mapping[str, NDArray[Any]]) -> tuple[TelemetryFeature, ...]:
    """Features for a contract that names none: level and spread of every input, and what is decided.

    Args:
        contract: Gives the ranges of the inputs.
        tensors: Name of an output → [n, *shape], which give the ranges of values.

    Returns:
        Per input ``NAME_mean`` and ``NAME_std``, over its range; for scores ``NAME_max``, the confidence, from 0 to 1;
        for values ``NAME_value``, over the range found.
    """
    features = [feature for spec in contract.inputs for feature in _of_input(spec)]
    features += [feature for spec in contract.outputs for feature in _of_output(spec, tensors[spec.name])]
    return tuple(features)


def _of_input(spec: InputSpec) -> list[TelemetryFeature]:
    low, high = spec.range
    mean = TelemetryFeature(
        name=f"{spec.name}_mean", tensor=spec.name, statistic=Statistic.MEAN, edges=_edges(low, high)
    )
    if spec.shape in ((), (1,)):
        return [mean]
    # No set of numbers between low and high has a larger standard deviation (Popoviciu).
    spread = _edges(0.0, (high - low) / 2)
    return [mean, TelemetryFeature(name=f"{spec.name}_std", tensor=spec.name, statistic=Statistic.STD, edges=spread)]


def _of_output(spec: OutputSpec, values: NDArray[Any]) -> list[TelemetryFeature]:
    if spec.role is OutputRole.SCORES:
        edges = _edges(0.0, 1.0)
        return [TelemetryFeature(name=f"{spec.name}_max", tensor=spec.name, statistic=Statistic.MAX, edges=edges)]
    if spec.role is OutputRole.VALUE:
        edges = _edges(float(values.min()), float(values.max()))
        return [TelemetryFeature(name=f"{spec.name}_value", tensor=spec.name, statistic=Statistic.VALUE, edges=edges)]
    return []


def _edges(low: float, high: float) -> tuple[float, ...]:
    """Equally spaced edges; a range of no width is widened to one unit."""
    high = high if high > low else low + 1.0
    return tuple(float(edge) for edge in np.linspace(low, high, _BINS + 1))
