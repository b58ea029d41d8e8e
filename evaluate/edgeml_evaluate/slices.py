"""The metric on named subsets of the test set: where a model that is good on average is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.alarms import resampling_blocks
from edgeml_evaluate.intervals import Interval, metric_interval
from edgeml_evaluate.metrics import compute_metric
from edgeml_runtime.contract import Contract, MetricName, TargetKind
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml_evaluate.data import LabelledData

__all__ = ["SliceResult", "attribute_of", "class_labels", "interval_groups", "slice_masks", "slice_report"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceResult:
    """The primary metric on one subset.

    Attributes:
        name: ``ATTRIBUTE=VALUE``, such as ``speaker=theo``.
        metric: Which metric.
        value: Its value on the subset.
        n: Items in it.
        interval: How sure the value is.
        too_small: Whether it has fewer items than the contract's ``slices.min_items``, too few to judge.
    """

    name: str
    metric: MetricName
    value: float
    n: int
    interval: Interval
    too_small: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "metric": self.metric.value,
            "value": self.value,
            "n": self.n,
            "interval": self.interval.to_dict(),
            "too_small": self.too_small,
        }


def class_labels(contract: Contract) -> tuple[str, ...]:
    """The labels of the classes, empty for regression."""
    return next((output.labels for output in contract.outputs if output.role is OutputRole.SCORES), ())


def attribute_of(contract: Contract, data: LabelledData, name: str) -> Array:
    """One attribute of every item; ``label`` is there for every classifier.

    Args:
        contract: The contract.
        data: The items.
        name: An attribute the task gives, or ``"label"``.

    Returns:
        [n] of str.

    Raises:
        ProjectError: When the task gives no such attribute.
    """
    if name in data.attributes:
        return data.attributes[name]
    if name == "label" and contract.target.kind is TargetKind.CLASSIFICATION:
        return np.asarray(class_labels(contract))[data.targets]
    known = ", ".join(sorted(data.attributes)) or "none"
    raise ProjectError(
        f"edgeml.toml names the attribute {name!r} (slices.by or groups.key), but the items have only: {known}. "
        f"Let splits() in task.py give {name!r} in LabelledData.attributes, or take it out of edgeml.toml."
    )


def interval_groups(contract: Contract, data: LabelledData) -> Array | None:
    """Which items resemble each other, so that they count as one when it is asked how sure a metric is.

    Args:
        contract: Names the group, if any.
        data: The items.

    Returns:
        [n] of str: the contract's group; without one, for anomaly scores, items of one event, or of one series and day;
        None where items are independent.

    Raises:
        ProjectError: When the group is missing.
    """
    if contract.group is not None:
        return attribute_of(contract, data, contract.group)
    return resampling_blocks(data) if contract.target.kind is TargetKind.ANOMALY else None


def slice_masks(contract: Contract, data: LabelledData) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Which items are in which slice.

    The areas that anomaly scores are judged by need both kinds of item: slices that lack one are left out.

    Args:
        contract: Names the attributes to slice by.
        data: The items, with those attributes.

    Yields:
        ``ATTRIBUTE=VALUE`` and the mask [n] of its items, in the contract's order and then by value.

    Raises:
        ProjectError: When an attribute is missing.
    """
    for name in contract.slices.by:
        values = attribute_of(contract, data, name)
        for value in np.unique(values):
            mask = values == value
            if contract.target.kind is not TargetKind.ANOMALY or len(np.unique(data.targets[mask])) > 1:
                yield f"{name}={value}", mask


def slice_report(contract: Contract, data: LabelledData, predictions: Array) -> tuple[SliceResult, ...]:
    """The primary metric on every slice of the contract.

    Args:
        contract: Names the attributes to slice by.
        data: The items, with those attributes.
        predictions: [n], class index or value.

    Returns:
        One result per value of every attribute, in the contract's order and then by value.

    Raises:
        ProjectError: When an attribute is missing.
    """
    groups = interval_groups(contract, data)
    return tuple(
        _slice(contract, name, data.targets[mask], predictions[mask], groups, mask)
        for name, mask in slice_masks(contract, data)
    )


def _slice(
    contract: Contract, name: str, targets: Array, predictions: Array, groups: Array | None, mask: Array
) -> SliceResult:
    metric = contract.metric.primary
    return SliceResult(
        name=name,
        metric=metric,
        value=compute_metric(metric, targets, predictions),
        n=len(targets),
        interval=metric_interval(metric, targets, predictions, None if groups is None else groups[mask]),
        too_small=len(targets) < contract.slices.min_items,
    )
