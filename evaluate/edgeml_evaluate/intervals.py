"""How sure a metric is: Wilson's interval for shares of independent items, the bootstrap for everything else.

Items of one speaker, student or machine resemble each other, so where the contract names a group the bootstrap draws
whole groups (the cluster bootstrap). It needs many of them: with few groups the interval is known to be too narrow
(Cameron, Gelbach and Miller, "Bootstrap-based improvements for inference with clustered errors", 2008, find it so below
about 30 groups), and the result says so.

How much better one of two models is over the same items is judged in pairs: by Agresti and Min's interval for shares,
the bootstrap of the difference for everything else.

Every resampled metric is a function of sums over groups (of right items, errors, confusion counts), so that all
replicates are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from edgeml_evaluate.areas import AREAS, area_replicates
from edgeml_runtime.contract import MetricName
from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FEW_GROUPS",
    "Interval",
    "bootstrap_interval",
    "difference_interval",
    "interval_of",
    "metric_interval",
    "rate_interval",
    "widen_by_groups",
    "wilson_interval",
]

Array = NDArray[Any]

FEW_GROUPS = 30
_REPLICATES = 2000
_BLOCK = 100
_SEED = 20_080_801


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower end, in the metric's unit.
        high: Upper end.
        level: Confidence level, such as 0.95.
        method: ``"wilson"``, ``"bootstrap"`` or ``"cluster-bootstrap"``; of a paired difference ``"agresti-min"`` or
            one of the latter two; of a rate ``"garwood"``.
        note: What the interval does not cover, or None.
    """

    low: float
    high: float
    level: float
    method: str
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``note`` only where there is one."""
        values: dict[str, Any] = {"low": self.low, "high": self.high, "level": self.level, "method": self.method}
        return values | ({"note": self.note} if self.note else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Interval:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share (Wilson, JASA 22, 1927).

    Args:
        successes: Items that were right, 0 to ``n``.
        n: Items, at least 1.
        level: Confidence level.

    Returns:
        The interval, within [0, 1].

    Raises:
        InputError: When the counts make no share.
    """
    if n < 1 or not 0 <= successes <= n:
        raise InputError(f"expected 0 ≤ successes ≤ n and n ≥ 1, found {successes} of {n}")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, z2n = successes / n, z * z / n
    centre = (share + z2n / 2) / (1 + z2n)
    half = z / (1 + z2n) * float(np.sqrt(share * (1 - share) / n + z2n / (4 * n)))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low=low, high=high, level=level, method="wilson")


def rate_interval(count: int, exposure: float, *, level: float = 0.95) -> Interval:
    """Garwood's exact interval of a Poisson rate (Garwood, Biometrika 28, 1936).

    Args:
        count: Events seen, at least 0.
        exposure: Over how much they were seen, such as days; above 0.
        level: Confidence level.

    Returns:
        The interval of events per unit of exposure.

    Raises:
        InputError: When the two make no rate.
    """
    if count < 0 or not exposure > 0:
        raise InputError(f"expected count ≥ 0 and exposure > 0, found {count} in {exposure:g}")
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(gammaincinv(count, tail))
    high = float(gammaincinv(count + 1, 1 - tail))
    return Interval(low=low / exposure, high=high / exposure, level=level, method="garwood")


def metric_interval(
    name: MetricName, targets: Array, predictions: Array, groups: Array | None = None, *, level: float = 0.95
) -> Interval:
    """The interval that fits the metric and the data.

    Args:
        name: The metric.
        targets: [n], class index or value.
        predictions: [n], class index or value.
        groups: [n] of str, which group each item belongs to; None where items are independent.
        level: Confidence level.

    Returns:
        Without groups, Wilson's for accuracy and the item bootstrap for the others. With groups, the cluster bootstrap,
        widened to that interval where it is narrower: few groups that happen to agree would make it collapse. With one
        group, or few, ``note`` says what is not covered. Areas over many groups are not widened.
    """
    if _many_groups(name, groups):
        return bootstrap_interval(name, targets, predictions, groups, level=level)
    if name is MetricName.ACCURACY:
        independent = wilson_interval(int(np.sum(targets == predictions)), len(targets), level=level)
    else:
        independent = bootstrap_interval(name, targets, predictions, level=level)
    return widen_by_groups(
        independent, groups, lambda: bootstrap_interval(name, targets, predictions, groups, level=level)
    )


def _many_groups(name: MetricName, groups: Array | None) -> bool:
    """Whether an area is drawn by groups alone: over thousands of windows, drawing items costs seconds for nothing."""
    return name in AREAS and groups is not None and len(np.unique(groups)) >= FEW_GROUPS


def widen_by_groups(independent: Interval, groups: Array | None, cluster: Callable[[], Interval]) -> Interval:
    """The cluster bootstrap's interval, nowhere narrower than that of independent items.

    Args:
        independent: The interval as if items were independent.
        groups: [n] of str, or None where they are.
        cluster: Computes the interval from whole groups.

    Returns:
        The interval; with one group, or few, ``note`` says what is not covered.
    """
    if groups is None:
        return independent
    distinct = len(np.unique(groups))
    if distinct == 1:
        return replace(independent, note="one group only: covers further items of this group, not new groups")
    clustered = cluster()
    return replace(
        clustered,
        low=min(clustered.low, independent.low),
        high=max(clustered.high, independent.high),
        note=f"{distinct} groups only: too narrow for new groups" if distinct < FEW_GROUPS else None,
    )


def bootstrap_interval(
    name: MetricName, targets: Array, predictions: Array, groups: Array | None = None, *, level: float = 0.95
) -> Interval:
    """Percentile bootstrap of a metric, with a fixed seed (Efron and Tibshirani, 1993, chapter 13).

    Args:
        name: The metric.
        targets: [n], class index or value.
        predictions: [n], class index or value.
        groups: [n] of str; whole groups are drawn. None draws items.
        level: Confidence level.

    Returns:
        The interval; the same arguments give the same one.
    """
    if name in AREAS:
        return interval_of(
            area_replicates(name, targets, predictions, groups), clustered=groups is not None, level=level
        )
    sums = _group_sums(name, targets, predictions, groups)
    return _percentiles(sums, lambda block: _metric_of_sums(name, block), clustered=groups is not None, level=level)


def difference_interval(
    name: MetricName,
    targets: Array,
    reference: Array,
    candidate: Array,
    groups: Array | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """How much better the candidate is than the reference, paired over the same items.

    Args:
        name: The metric.
        targets: [n], class index or value.
        reference: [n] predictions of the one.
        candidate: [n] predictions of the other, in the same order.
        groups: [n] of str, which group each item belongs to; None where items are independent.
        level: Confidence level.

    Returns:
        The interval of the difference in the metric's unit, positive where the candidate is better. For accuracy that
        of Agresti and Min ("Simple improved confidence intervals for comparing matched proportions", Statistics in
        Medicine 24, 2005), which holds with few items; for the others the percentile bootstrap. With groups, whole
        groups are drawn, and the interval is widened to that of independent items where it is narrower; areas over many
        groups are not.
    """
    if _many_groups(name, groups):
        return _bootstrap_difference(name, targets, reference, candidate, groups, level=level)
    if name is MetricName.ACCURACY:
        independent = _agresti_min(targets == reference, targets == candidate, level=level)
    else:
        independent = _bootstrap_difference(name, targets, reference, candidate, None, level=level)
    return widen_by_groups(
        independent, groups, lambda: _bootstrap_difference(name, targets, reference, candidate, groups, level=level)
    )


def _agresti_min(reference: Array, candidate: Array, *, level: float) -> Interval:
    """Wald's interval of two paired shares after half an item is added to each of the four cells."""
    z, n = NormalDist().inv_cdf(0.5 + level / 2), len(reference) + 2
    gained, lost = (np.sum(candidate & ~reference) + 0.5) / n, (np.sum(reference & ~candidate) + 0.5) / n
    centre = float(gained - lost)
    half = z * float(np.sqrt((gained + lost - centre**2) / n))
    return Interval(low=max(-1.0, centre - half), high=min(1.0, centre + half), level=level, method="agresti-min")


def _bootstrap_difference(
    name: MetricName, targets: Array, reference: Array, candidate: Array, groups: Array | None, *, level: float
) -> Interval:
    if name in AREAS:
        before, after = (area_replicates(name, targets, scores, groups) for scores in (reference, candidate))
        return interval_of(after - before, clustered=groups is not None, level=level)
    parts = [_group_sums(name, targets, predictions, groups) for predictions in (reference, candidate)]
    width, sign = parts[0].shape[1], 1 if name.higher_is_better else -1

    def better(block: Array) -> Array:
        before, after = _metric_of_sums(name, block[:, :width]), _metric_of_sums(name, block[:, width:])
        return np.asarray(sign * (after - before))

    return _percentiles(np.concatenate(parts, axis=1), better, clustered=groups is not None, level=level)


def _percentiles(sums: Array, statistic: Callable[[Array], Array], *, clustered: bool, level: float) -> Interval:
    """Draw rows of sums with replacement; the percentiles of what the statistic makes of the totals."""
    rng = np.random.default_rng(_SEED)
    if not clustered:
        # Drawing items with replacement is a multinomial draw over the distinct rows.
        rows, counts = np.unique(sums, axis=0, return_counts=True)
    else:
        rows, counts = sums, np.ones(len(sums), dtype=np.int64)
    draws = int(counts.sum())
    # In blocks, because a block holds a number for every distinct row and replicate.
    blocks = (rng.multinomial(draws, counts / draws, size=_BLOCK) @ rows for _ in range(_REPLICATES // _BLOCK))
    replicates = np.concatenate([statistic(block) for block in blocks])
    return interval_of(replicates, clustered=clustered, level=level)


def interval_of(replicates: Array, *, clustered: bool, level: float = 0.95) -> Interval:
    """The percentile interval of bootstrap replicates.

    Args:
        replicates: [r]; NaN where a draw gave no value, which is left out.
        clustered: Whether whole groups were drawn.
        level: Confidence level.

    Returns:
        The interval.
    """
    tail = (1 - level) / 2
    low, high = np.nanquantile(replicates, [tail, 1 - tail])
    method = "cluster-bootstrap" if clustered else "bootstrap"
    return Interval(low=float(low), high=float(high), level=level, method=method)


def _group_sums(name: MetricName, targets: Array, predictions: Array, groups: Array | None) -> Array:
    """Per group, what the metric sums up: [g, k] with the number of items in column 0."""
    n = len(targets)
    if name is MetricName.ACCURACY:
        parts = (targets == predictions)[:, None].astype(np.float64)
    elif name in (MetricName.MAE, MetricName.RMSE):
        errors = np.abs(np.asarray(targets, np.float64) - np.asarray(predictions, np.float64))
        parts = (errors if name is MetricName.MAE else errors**2)[:, None]
    else:
        classes = np.unique(targets)
        is_target = targets[:, None] == classes
        is_predicted = predictions[:, None] == classes
        parts = np.concatenate([is_target & is_predicted, is_target, is_predicted], axis=1).astype(np.float64)
    parts = np.concatenate([np.ones((n, 1)), parts], axis=1)
    if groups is None:
        return parts
    distinct, index = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(distinct), parts.shape[1]))
    np.add.at(sums, index, parts)
    return sums


def _metric_of_sums(name: MetricName, sums: Array) -> Array:
    """The metric of each replicate from its sums [r, k]; classes absent from a replicate are left out of its mean."""
    if name in (MetricName.ACCURACY, MetricName.MAE):
        return np.asarray(sums[:, 1] / sums[:, 0])
    if name is MetricName.RMSE:
        return np.asarray(np.sqrt(sums[:, 1] / sums[:, 0]))
    right, actual, predicted = np.split(sums[:, 1:], 3, axis=1)
    present = actual > 0
    if name is MetricName.BALANCED_ACCURACY:
        shares = right / np.maximum(actual, 1)
    else:
        shares = 2 * right / np.maximum(actual + predicted, 1)
    return np.asarray(np.where(present, shares, 0).sum(axis=1) / present.sum(axis=1))
