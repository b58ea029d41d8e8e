"""Scoring: run a variant over items and judge what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.alarms import OperatingPoint, operating_point
from edgeml_evaluate.intervals import Interval, metric_interval
from edgeml_evaluate.metrics import compute_metric, decide
from edgeml_evaluate.slices import SliceResult, interval_groups, slice_report
from edgeml_runtime.contract import Contract, MetricName
from edgeml_runtime.errors import InputError
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate.data import LabelledData
    from edgeml_runtime.backends.base import Backend

__all__ = ["MetricValue", "Score", "run_backend", "score_predictions"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """One metric with how sure it is.

    Attributes:
        name: Which metric.
        value: Its value: a share in [0, 1], or an error in the target's unit.
        interval: Its confidence interval.
        n: Items it was computed over.
    """

    name: MetricName
    value: float
    interval: Interval
    n: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"name": self.name.value, "value": self.value, "interval": self.interval.to_dict(), "n": self.n}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricValue:
        """The inverse of :meth:`to_dict`."""
        return cls(
            name=MetricName(values["name"]),
            value=values["value"],
            interval=Interval.from_dict(values["interval"]),
            n=values["n"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The primary metric overall and per slice.

    Attributes:
        metric: Over all items.
        slices: On every slice of the contract.
        alarms: What the alarms of an anomaly score are worth; None for other targets.
    """

    metric: MetricValue
    slices: tuple[SliceResult, ...]
    alarms: OperatingPoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``alarms`` only where there are some."""
        values = {"metric": self.metric.to_dict(), "slices": [result.to_dict() for result in self.slices]}
        return values | ({"alarms": self.alarms.to_dict()} if self.alarms else {})


def score_predictions(contract: Contract, data: LabelledData, logits: Array) -> Score:
    """The contract's primary metric of model outputs, overall and per slice.

    Args:
        contract: Names metric, slices and group.
        data: The items.
        logits: [n, classes] logits or scores of those items; [n] or [n, 1] values for regression, or anomaly scores as
            multiples of the threshold.

    Returns:
        The score, with intervals that respect the contract's group.

    Raises:
        ProjectError: When an attribute the contract names is missing.
        InputError: When the outputs do not fit the items.
    """
    predictions = decide(contract, logits)
    name = contract.metric.primary
    value = compute_metric(name, data.targets, predictions)
    interval = metric_interval(name, data.targets, predictions, interval_groups(contract, data))
    return Score(
        metric=MetricValue(name=name, value=value, interval=interval, n=len(data)),
        slices=slice_report(contract, data, predictions),
        alarms=operating_point(contract, data, predictions) if contract.anomaly else None,
    )


def run_backend(
    backend: Backend,
    inputs: Mapping[str, Array],
    contract: Contract,
    progress: Progress = silent,
    *,
    step: str = "score",
) -> dict[str, Array]:
    """Run every item through a backend, one by one as a device does.

    Args:
        backend: Opened with the contract's inputs and outputs, in the contract's order.
        inputs: Contract input name → [n, *shape] in the contract's dtype.
        contract: The contract.
        progress: Told about every fiftieth item.
        step: What to call this in the progress.

    Returns:
        Contract output name → [n, *shape].

    Raises:
        InputError: When an input is missing, or there are no items.
        BackendFailedError: When the backend fails.
    """
    names = [spec.name for spec in contract.inputs]
    missing = [name for name in names if name not in inputs]
    if missing:
        raise InputError(f"expected the inputs {names}, found {sorted(inputs)}: {missing} missing")
    total = len(inputs[names[0]])
    if total == 0:
        raise InputError("expected at least one item to run, found none")
    rows: list[list[Array]] = []
    for index in range(total):
        # A backend may hand out views of its own buffers, valid until the next run only.
        results = backend.run([inputs[name][index : index + 1] for name in names])
        rows.append([np.array(result[0]) for result in results])
        if index % 50 == 0 or index + 1 == total:
            progress(ProgressEvent(step=step, done=index + 1, total=total))
    return {spec.name: np.stack([row[i] for row in rows]) for i, spec in enumerate(contract.outputs)}
