"""Ranges from histograms of distributions whose best ranges are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeml_export.calibration import RangeObserver
from edgeml_export.calibration_ranges import Histogram, entropy_range, mse_range, percentile_range

LEVELS = 256
METHODS = {
    "percentile": percentile_range,
    "entropy": lambda histogram: entropy_range(histogram, LEVELS),
    "mse": lambda histogram: mse_range(histogram, LEVELS),
}


def distributed(cdf, low, high, *, zeros=0, bins=2048, values=10**9):
    """The histogram that so many values of a distribution have on average."""
    shares = np.diff([cdf(edge) for edge in np.linspace(low, high, bins + 1)])
    return Histogram(low=low, high=high, counts=np.rint(shares * values).astype(np.int64), zeros=zeros)


def observed(values):
    observer = RangeObserver()
    observer.widen(values)
    observer.count(values)
    return observer.histogram


def normal(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def laplace(x):
    return 0.5 * math.exp(x) if x < 0 else 1 - 0.5 * math.exp(-x)


def uniform(x):
    return min(max((x + 1) / 2, 0), 1)


# Clipping at 8 bits that has the least mean squared error, in σ and b: Banner et al. 2019, arXiv:1810.05723, section 3
# (solved numerically in the authors' code: 3.924 and 9.897). The percentiles are the quantiles at 0.00005 and 0.99995.
@pytest.mark.parametrize(
    ("cdf", "reach", "method", "expected", "tolerance"),
    [
        (normal, 8, "mse", 3.924, 0.02),
        (laplace, 20, "mse", 9.897, 0.03),
        (normal, 8, "percentile", 3.8906, 0.002),
        (laplace, 20, "percentile", -math.log(1e-4), 0.002),
        (uniform, 1, "mse", 1, 0.006),
        (uniform, 1, "percentile", 1, 2e-4),
        (uniform, 1, "entropy", 1, 1e-9),
    ],
)
def test_known_answers(cdf, reach, method, expected, tolerance):
    low, high = METHODS[method](distributed(cdf, -reach, reach))
    assert (-low, high) == pytest.approx((expected, expected), abs=tolerance)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fold", [np.asarray, lambda x: np.maximum(x, 0)], ids=["both signs", "one sign"])
def test_one_outlier_is_left_outside(method, fold):
    values = fold(np.random.default_rng(0).normal(size=1_000_000)).astype(np.float32)
    values[77] = 30
    histogram = observed(values)
    low, high = METHODS[method](histogram)
    assert (histogram.low, histogram.high) == (values.min(), 30)
    assert 3 < high < 20
    assert low == 0 if values.min() == 0 else -5 < low < -3


@pytest.mark.parametrize("method", METHODS)
def test_what_has_one_sign_is_cut_at_one_end(method):
    above = distributed(lambda x: 2 * normal(x) - 1, 0, 8)
    below = Histogram(low=-8, high=0, counts=above.counts[::-1], zeros=0)
    low, high = METHODS[method](above)
    assert low == 0
    assert 3 < high < 6
    assert METHODS[method](below) == pytest.approx((-high, 0), abs=8 / 2048)


def test_a_percentile_of_one_sign_leaves_all_of_its_share_at_that_end():
    above = distributed(lambda x: 2 * normal(x) - 1, 0, 8)
    assert percentile_range(above)[1] == pytest.approx(3.8906, abs=0.002)
    assert percentile_range(above, 95)[1] == pytest.approx(1.96, abs=0.001)


def test_zeros_are_values_to_a_percentile_and_cost_nothing_to_the_others():
    without, with_zeros = (distributed(lambda x: 2 * normal(x) - 1, 0, 8, zeros=zeros) for zeros in (0, 10**9))
    assert mse_range(with_zeros, LEVELS) == mse_range(without, LEVELS)
    assert entropy_range(with_zeros, LEVELS) == entropy_range(without, LEVELS)
    assert percentile_range(with_zeros)[1] == pytest.approx(3.719, abs=0.002)  # 0.0002 of the half that is not zero


def rounding_error(values, low, high, levels=LEVELS):
    """Mean squared error of affine quantization, as a device does it."""
    scale = (high - low) / (levels - 1)
    zero_point = round(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero_point, 0, levels - 1)
    return np.mean((values - (codes - zero_point) * scale) ** 2)


SHAPES = {
    "normal": lambda rng: rng.normal(size=200_000),
    "SiLU": lambda rng: (x := rng.normal(size=200_000) * 3) / (1 + np.exp(-x)),
    "ReLU": lambda rng: np.maximum(rng.normal(size=200_000), 0),
    "heavy tails": lambda rng: rng.standard_t(3, size=200_000),
    "skewed": lambda rng: rng.lognormal(0, 1, 200_000) - 0.5,
    "two clusters": lambda rng: np.append(rng.normal(-1, 0.1, 100_000), rng.normal(20, 1, 100_000)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pair_of_ends_rounds_better_than_the_one_of_least_squared_error(shape):
    values = SHAPES[shape](np.random.default_rng(1)).astype(np.float32).astype(np.float64)
    histogram = observed(values.astype(np.float32))
    lows = np.linspace(0.2, 1, 25) * histogram.low if histogram.low else [0.0]
    best = min(rounding_error(values, low, high) for low in lows for high in np.linspace(0.2, 1, 25) * histogram.high)
    assert rounding_error(values, *mse_range(histogram, LEVELS)) < 1.05 * best


def plain_divergence(counts, start, end, levels):
    """Kullback-Leibler divergence of one window by its definition, bin by bin."""
    inside = counts[start:end].astype(float)
    reference = inside.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[end:].sum()
    quantized = np.zeros_like(inside)
    for group in range(levels):
        bins = slice(group * len(inside) // levels, (group + 1) * len(inside) // levels)
        filled = reference[bins] > 0
        if filled.any():
            quantized[bins] = filled * max(inside[bins].sum(), 1e-4) / filled.sum()
    if not inside.any():
        return np.inf
    p, q = reference / reference.sum(), quantized / inside.sum()
    return np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))


@pytest.mark.parametrize("seed", range(30))
def test_the_window_of_least_divergence_is_found(seed):
    rng = np.random.default_rng(seed)
    bins, zero, levels = 60, int(rng.integers(0, 61)), int(rng.choice([4, 7, 16]))
    counts = rng.poisson(rng.choice([0.2, 3, 200]), bins) * (rng.random(bins) < rng.choice([0.3, 1]))
    counts[rng.integers(0, bins)] += 1
    histogram = Histogram(low=float(-zero), high=float(bins - zero), counts=counts.astype(np.int64), zeros=0)

    low, high = entropy_range(histogram, levels)

    windows = [(max(zero - reach, 0), min(zero + reach, bins)) for reach in range(1, bins + 1)]
    divergences = {
        window: plain_divergence(counts, *window, levels) for window in windows if window[1] - window[0] >= levels
    }
    chosen = (round(low) + zero, round(high) + zero)
    assert divergences[chosen] == pytest.approx(min(divergences.values()), abs=1e-12)


def test_an_outlier_beyond_empty_bins_does_not_hold_the_entropy_back():
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    values[77] = 100
    assert entropy_range(observed(values), LEVELS)[1] < 20


def test_with_more_integers_than_bins_the_entropy_cannot_tell():
    assert entropy_range(distributed(normal, -8, 8), 65536) == (-8, 8)


def test_16_bits_clip_next_to_nothing():
    low, high = mse_range(distributed(normal, -6, 6), 65536)
    assert low < -5 < 5 < high


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(20))
def test_a_range_contains_zero_and_nothing_that_never_occurred(method, seed):
    rng = np.random.default_rng(seed)
    spread = rng.lognormal(0, 1, int(rng.choice([1, 2, 50, 5000]))).astype(np.float32)
    values = (
        spread
        * np.float32(10.0 ** rng.integers(-20, 20))
        * rng.choice([-1, 0, 1], len(spread), p=rng.dirichlet([1, 1, 1]))
    )
    values[0] = spread[0]
    histogram = observed(values.astype(np.float32))
    low, high = METHODS[method](histogram)
    assert histogram.low <= low <= 0 <= high <= histogram.high
    assert low < high
