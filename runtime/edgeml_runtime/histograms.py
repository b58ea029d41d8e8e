"""Reference histograms: how the contract's telemetry features are distributed on the test set.

Buckets are upper-inclusive, ``(a, b]``, as in OpenTelemetry's explicit-bounds histograms (opentelemetry-proto
``metrics.proto``, ``HistogramDataPoint``): ``len(edges) + 1`` counts, the first one up to the first edge, the last one
above the last edge. Histograms with the same edges are merged by adding their counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.canonical import canonical_json, parse_json, require_canonical, take
from edgeml_runtime.contract import Statistic
from edgeml_runtime.errors import BundleFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.contract import TelemetryFeature

__all__ = [
    "HISTOGRAMS",
    "HISTOGRAMS_VERSION",
    "Histogram",
    "feature_value",
    "feature_values",
    "histogram",
    "histograms_member",
    "merge",
    "read_histograms",
]

HISTOGRAMS = "reference/histograms.json"
HISTOGRAMS_VERSION = 1

# Items are taken in blocks, so that the float64 copy of a long recording's test set stays small.
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of one feature.

    Attributes:
        name: The telemetry feature.
        edges: Bucket edges, strictly increasing, in the feature's unit.
        counts: One per bucket, ``len(edges) + 1``.
        missing: Values that were NaN; they are in no bucket.
        n: All values, the missing ones included.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    n: int


def feature_value(feature: TelemetryFeature, tensor: NDArray[Any]) -> float | NDArray[np.float64]:
    """Compute what a feature takes from the tensor of one item.

    Args:
        feature: The feature.
        tensor: Tensor of one item, without the batch dimension, any numeric dtype.

    Returns:
        One number, or for the statistic ``value`` all elements, float64 and flat. NaN stands for a missing value: an
        item with a missing element has no mean.
    """
    values = feature_values(feature, np.asarray(tensor)[np.newaxis])
    return values if feature.statistic is Statistic.VALUE else float(values[0])


def feature_values(feature: TelemetryFeature, tensors: NDArray[Any]) -> NDArray[np.float64]:
    """Compute what a feature takes from many items.

    Args:
        feature: The feature.
        tensors: Tensors of n items, ``[n, ...]``, any numeric dtype.

    Returns:
        One value per item, or for the statistic ``value`` one per element; float64 and flat. The standard deviation is
        that of the population (divided by the number of elements).
    """
    array = np.asarray(tensors)
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    step = max(1, _BLOCK_ELEMENTS // max(1, flat.shape[1]))
    blocks = [_reduce(feature.statistic, flat[start : start + step]) for start in range(0, len(flat), step)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.float64)


def histogram(feature: TelemetryFeature, values: NDArray[Any] | Sequence[float] | float) -> Histogram:
    """Count values into the feature's buckets.

    Args:
        feature: Gives the name and the edges.
        values: Any number of values, any shape; NaN is counted as missing, infinities fall into the outer buckets.

    Returns:
        The histogram.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    present = flat[~np.isnan(flat)]
    buckets = np.searchsorted(np.asarray(feature.edges, np.float64), present, side="left")
    counts = np.bincount(buckets, minlength=len(feature.edges) + 1)
    return Histogram(
        name=feature.name,
        edges=feature.edges,
        counts=tuple(counts.tolist()),
        missing=len(flat) - len(present),
        n=len(flat),
    )


def merge(first: Histogram, second: Histogram) -> Histogram:
    """Add two histograms of the same feature.

    Raises:
        InputError: Their names or edges differ, so that their counts mean different things.
    """
    if (first.name, first.edges) != (second.name, second.edges):
        raise InputError(
            f"histograms can be added only with the same name and edges: found {first.name!r} with {first.edges} and "
            f"{second.name!r} with {second.edges}"
        )
    return Histogram(
        name=first.name,
        edges=first.edges,
        counts=tuple(a + b for a, b in zip(first.counts, second.counts, strict=True)),
        missing=first.missing + second.missing,
        n=first.n + second.n,
    )


def histograms_member(histograms: Iterable[Histogram]) -> bytes:
    """Encode histograms as the content of ``reference/histograms.json``.

    Args:
        histograms: In the order of the contract's telemetry features, each with a name of its own.

    Returns:
        Canonical JSON (docs/bundle.md).
    """
    items = [
        {
            "name": item.name,
            "edges": [float(edge) for edge in item.edges],
            "counts": list(item.counts),
            "missing": item.missing,
            "n": item.n,
        }
        for item in histograms
    ]
    return canonical_json({"version": HISTOGRAMS_VERSION, "histograms": items})


def read_histograms(bundle: Bundle) -> tuple[Histogram, ...]:
    """Read the reference histograms of a bundle.

    Args:
        bundle: An open bundle.

    Returns:
        The histograms, in the order of the file.

    Raises:
        BundleFormatError: There are none, or they break the specification.
        BundleIntegrityError: They were altered.
        BundleLimitError: They are larger than ``limits.max_json_bytes``.
    """
    where = f"{bundle.path}: {HISTOGRAMS}"
    text = bundle.read(HISTOGRAMS, max_bytes=bundle.limits.max_json_bytes)
    document = parse_json(text, where)
    require_canonical(document, text, where)
    if (version := take(document, "version", int, where)) != HISTOGRAMS_VERSION:
        raise BundleFormatError(f"{where}: version: expected {HISTOGRAMS_VERSION}, found {version}")
    items = take(document, "histograms", list, where)
    histograms = tuple(_parse(item, f"{where}: histograms[{index}]") for index, item in enumerate(items))
    if len({item.name for item in histograms}) != len(histograms):
        raise BundleFormatError(f"{where}: the names of the histograms must differ")
    return histograms


def _reduce(statistic: Statistic, flat: NDArray[Any]) -> NDArray[np.float64]:
    values = flat.astype(np.float64)
    if statistic is Statistic.VALUE:
        return values.reshape(-1)
    if statistic is Statistic.RMS:
        return np.asarray(np.sqrt(np.mean(np.square(values), axis=1)))
    reduced: NDArray[np.float64] = getattr(np, statistic.value)(values, axis=1)
    return reduced


def _parse(item: object, where: str) -> Histogram:
    edges = take(item, "edges", list, where)
    counts = take(item, "counts", list, where)
    missing = take(item, "missing", int, where)
    n = take(item, "n", int, where)
    if not edges or not all(type(edge) is float for edge in edges) or any(a >= b for a, b in pairwise(edges)):
        raise BundleFormatError(f"{where}: edges: expected strictly increasing floats, found {edges!r:.80}")
    if len(counts) != len(edges) + 1 or not all(type(count) is int and count >= 0 for count in counts):
        raise BundleFormatError(f"{where}: counts: expected {len(edges) + 1} integers from 0, found {counts!r:.80}")
    if missing < 0:
        raise BundleFormatError(f"{where}: missing: expected at least 0, found {missing}")
    if sum(counts) + missing != n:
        raise BundleFormatError(f"{where}: n: expected {sum(counts) + missing}, counts and missing in all, found {n}")
    name = take(item, "name", str, where)
    return Histogram(name=name, edges=tuple(edges), counts=tuple(counts), missing=missing, n=n)
