"""From the histogram of an activation to the range that its integers cover.

Every range contains zero, because padding and ReLU need it exact, and one end of an activation that has a single sign
stays at zero. Pure functions of a histogram; :mod:`edgeml_export.calibration` collects it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Histogram", "Range", "entropy_range", "mse_range", "percentile_range"]

Range = tuple[float, float]

# Values that an outermost group without any counts as having, so that one outlier beyond empty bins does not make the
# divergence of every smaller window infinite (``smooth_distribution`` of onnxruntime.quantization).
_SMOOTHING = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often the values of one activation occur, one of them at least, in bins of equal width.

    Attributes:
        low: Lower edge of the first bin, at most 0.
        high: Upper edge of the last bin, at least 0 and above ``low``.
        counts: [bins] int64, of the values that are not exactly zero.
        zeros: How many are exactly zero. They cost nothing wherever the range ends, and would be a spike in one bin.
    """

    low: float
    high: float
    counts: NDArray[np.int64]
    zeros: int

    @property
    def edges(self) -> NDArray[np.float64]:
        """[bins + 1], rising."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)

    @property
    def zero_edge(self) -> int:
        """Index of the edge nearest to zero."""
        return round(-self.low / (self.high - self.low) * len(self.counts))


def percentile_range(histogram: Histogram, percentile: float = 99.99) -> Range:
    """The range that holds a share of the values; half of the others lie on either side of it.

    Where the values have a single sign, all others lie on that side. 99.99 is the percentile that lost least over the
    networks of Wu et al., "Integer Quantization for Deep Learning Inference" (2020, arXiv:2004.09602, table 5).

    Args:
        histogram: Of the activation.
        percentile: Share of the values inside, in percent.

    Returns:
        Lower and upper end.
    """
    counts, edges = histogram.counts, histogram.edges
    outside = (1 - percentile / 100) * (int(counts.sum()) + histogram.zeros)
    if histogram.low < 0 < histogram.high:
        outside /= 2
    low = np.interp(outside, np.append(0, np.cumsum(counts)), edges)
    high = np.interp(outside, np.append(0, np.cumsum(counts[::-1])), edges[::-1])
    return _with_zero(low if histogram.low < 0 else 0.0, high if histogram.high > 0 else 0.0)


def entropy_range(histogram: Histogram, levels: int) -> Range:
    """The range whose quantized distribution says most about the distribution of the values.

    Of all windows about zero that have at least as many bins as there are integers, the one with the smallest
    Kullback-Leibler divergence: the distribution inside, with what lies outside added to the outermost bins, against
    the same one merged into ``levels`` groups of bins and spread evenly over the bins of each group that hold values
    (Migacz, "8-bit Inference with TensorRT", GTC 2017; ``get_entropy_threshold`` of onnxruntime.quantization). With
    more integers than bins the histogram cannot tell, and the range is the whole one.

    Args:
        histogram: Of the activation.
        levels: How many integers there are, such as 256.

    Returns:
        Lower and upper end.
    """
    bins, zero = len(histogram.counts), histogram.zero_edge
    reach = np.arange(1, max(zero, bins - zero) + 1)
    starts, ends = np.maximum(zero - reach, 0), np.minimum(zero + reach, bins)
    enough = ends - starts >= levels
    if not enough.any():
        return histogram.low, histogram.high
    starts, ends = starts[enough], ends[enough]
    divergence = _divergence(histogram.counts.astype(np.float64), starts, ends, levels)
    best = len(divergence) - 1 - int(np.argmin(divergence[::-1]))  # the widest of equals
    return _with_zero(histogram.edges[starts[best]], histogram.edges[ends[best]])


def mse_range(histogram: Histogram, levels: int) -> Range:
    """The range with the least mean squared error between the values and their quantized form.

    The error is that of clipping, outside, and that of rounding, scale² / 12 for each value inside (Nagel et al., "A
    White Paper on Neural Network Quantization", 2021, arXiv:2106.08295, section 3.1; the sum of the two in closed form
    is due to Banner et al., 2019, arXiv:1810.05723). Every pair of bin edges about zero is tried.

    Args:
        histogram: Of the activation.
        levels: How many integers there are, such as 256.

    Returns:
        Lower and upper end.
    """
    zero, edges = histogram.zero_edge, histogram.edges
    counts = histogram.counts.astype(np.float64)
    lows, highs = np.minimum(edges[: zero + 1], 0.0), np.maximum(edges[zero:], 0.0)
    below = _clipping_error(counts[::-1], -edges[::-1])[::-1][: zero + 1]
    above = _clipping_error(counts, edges)[zero:]
    up_to = np.append(0.0, np.cumsum(counts))
    scale = (highs[None, :] - lows[:, None]) / (levels - 1)
    error = (up_to[zero:][None, :] - up_to[: zero + 1][:, None]) * scale**2 / 12
    error += below[:, None]
    error += above[None, :]
    best = np.unravel_index(int(np.argmin(error)), error.shape)
    return _with_zero(lows[best[0]], highs[best[1]])


def _with_zero(low: float, high: float) -> Range:
    return min(float(low), 0.0), max(float(high), 0.0)


def _clipping_error(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every edge, the squared distances to it summed over the values above; [bins + 1].

    From the sums of 1, x and x² over the bins above: Σ(x - e)² = Σx² - 2eΣx + e²Σ1. Within a bin values are spread
    evenly, which adds width² / 12 to the square of its centre.
    """
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    moments = np.stack([counts, counts * centres, counts * (centres**2 + width**2 / 12)])
    ones, firsts, seconds = np.pad(np.cumsum(moments[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    return np.asarray(np.maximum(seconds - 2 * edges * firsts + edges**2 * ones, 0.0))


def _divergence(
    counts: NDArray[np.float64], starts: NDArray[np.intp], ends: NDArray[np.intp], levels: int
) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of every window [start, end), from running sums over the bins; [windows].

    With p the counts inside and the outer ones added at both ends (N in all), and q the counts inside alone (M in all)
    averaged over the filled bins of each group: Σ p/N · log((p/N) / (q/M)).
    """
    total = counts.sum()
    sums, filled = _running(counts), _running((counts > 0).astype(np.float64))
    bounds = starts[:, None] + (ends - starts)[:, None] * np.arange(levels + 1) // levels
    inside, bins = np.diff(sums[bounds], axis=1), np.diff(filled[bounds], axis=1)
    held, own = inside.copy(), _running(_x_log_x(counts))
    own = own[ends] - own[starts]
    for group, edge, outside in ((0, starts, sums[starts]), (-1, ends - 1, total - sums[ends])):
        held[:, group] += outside
        bins[:, group] += (counts[edge] == 0) & (outside > 0)
        own += _x_log_x(counts[edge] + outside) - _x_log_x(counts[edge])
    with np.errstate(divide="ignore", invalid="ignore"):
        merged = np.where(held > 0, held * np.log(np.maximum(inside, _SMOOTHING) / bins), 0.0).sum(axis=1)
        divergence = (own - merged) / total - np.log(total) + np.log(sums[ends] - sums[starts])
    return np.asarray(np.where(sums[ends] > sums[starts], divergence, np.inf))


def _running(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.append(0.0, np.cumsum(values))


def _x_log_x(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * np.log(np.maximum(values, 1.0))  # of counts: 0 · log 0 is 0
