"""Anomaly tasks: the threshold of the score, and the model against simple rules as alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.alarms import OperatingPoint, Threshold, choose_threshold, event_flags, operating_point
from edgeml_evaluate.areas import AREAS
from edgeml_evaluate.intervals import Interval, difference_interval, metric_interval
from edgeml_evaluate.metrics import compute_metric, decide
from edgeml_evaluate.scoring import MetricValue
from edgeml_evaluate.slices import interval_groups
from edgeml_runtime.contract import Contract, MetricName
from edgeml_runtime.errors import InputError, ProjectError
from edgeml_train.baseline import BaselineResult
from edgeml_train.fused import predict_array
from edgeml_train.task import Yardstick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate.data import LabelledData
    from edgeml_train.fused import FusedModel
    from edgeml_train.task import Splits

__all__ = ["AlarmsOfRule", "AnomalyReport", "measure_alarms", "measure_yardsticks", "set_threshold", "yardsticks_of"]

Array = NDArray[Any]

_DISTANCE = "distance of the features"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmsOfRule:
    """A simple rule, its threshold chosen as the model's is, and how much better the model is.

    Attributes:
        name: The rule.
        areas: ``roc_auc`` and ``partial_auc`` on the test split.
        alarms: What its alarms are worth.
        advantages: Per area, how much larger the model's is, with its paired interval.
        recall_advantage: How much larger the model's event recall is.
        recall_interval: Its paired interval.
    """

    name: str
    areas: tuple[MetricValue, ...]
    alarms: OperatingPoint
    advantages: Mapping[MetricName, tuple[float, Interval]]
    recall_advantage: float
    recall_interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "name": self.name,
            "areas": [area.to_dict() for area in self.areas],
            "alarms": self.alarms.to_dict(),
            "advantages": {
                name.value: {"value": value, "interval": interval.to_dict()}
                for name, (value, interval) in self.advantages.items()
            },
            "recall_advantage": {"value": self.recall_advantage, "interval": self.recall_interval.to_dict()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyReport:
    """A model's alarms on the test split, beside those of simple rules.

    Attributes:
        threshold: Chosen on the validation split; the exported score is a multiple of it.
        areas: ``roc_auc`` and ``partial_auc`` of the model.
        alarms: What its alarms are worth.
        rules: The simple rules.
        recall_floor_met: Whether the event recall reaches ``anomaly.event_recall_floor``.
        quiet_enough: Whether the false alarms keep to ``anomaly.false_alarms_per_day_limit``.
    """

    threshold: Threshold
    areas: tuple[MetricValue, ...]
    alarms: OperatingPoint
    rules: tuple[AlarmsOfRule, ...]
    recall_floor_met: bool
    quiet_enough: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "threshold": self.threshold.value,
            "validation_false_alarms": self.threshold.false_alarms,
            "validation_days": self.threshold.days,
            "areas": [area.to_dict() for area in self.areas],
            "alarms": self.alarms.to_dict(),
            "rules": [rule.to_dict() for rule in self.rules],
            "recall_floor_met": self.recall_floor_met,
            "quiet_enough": self.quiet_enough,
        }


def set_threshold(contract: Contract, splits: Splits, fused: FusedModel) -> Threshold:
    """Choose the threshold on the validation split and put it into the model, whose scores are multiples of it then.

    Args:
        contract: Its ``[anomaly]`` says how many false alarms are allowed.
        splits: The data.
        fused: The trained model.

    Returns:
        The threshold.

    Raises:
        ProjectError: When the validation split has no usual item, or the scores no threshold above 0.
    """
    fused.threshold.fill_(1.0)
    scores = decide(contract, predict_array(fused, splits.validation.inputs))
    if not np.isfinite(scores).all():
        raise ProjectError("anomaly: expected finite scores of the validation items, found NaN or infinity.")
    threshold = choose_threshold(contract, splits.validation, scores)
    fused.threshold.fill_(threshold.value)
    return threshold


def yardsticks_of(features: Mapping[str, Array]) -> Mapping[str, Yardstick]:
    """The simple rule a model has to beat where its task names none.

    Args:
        features: ``train``, ``validation`` and ``test`` → fitted features [n, …].

    Returns:
        How far the features lie from those of the training split: the mean square of the distance from the mean of each
        feature, in its standard deviations.
    """
    flat = {name: np.reshape(values, (len(values), -1)).astype(np.float64) for name, values in features.items()}
    mean, deviation = flat["train"].mean(axis=0), flat["train"].std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    validation, test = (np.mean(((flat[part] - mean) / scale) ** 2, axis=1) for part in ("validation", "test"))
    return {_DISTANCE: Yardstick(validation=validation, test=test)}


def measure_yardsticks(
    contract: Contract, test: LabelledData, yardsticks: Mapping[str, Yardstick]
) -> tuple[BaselineResult, ...]:
    """The simple rules as baselines.

    Args:
        contract: Names the metric.
        test: The test split.
        yardsticks: The rules.

    Returns:
        The contract's metric of each.
    """
    name = contract.metric.primary
    return tuple(
        BaselineResult(name=rule, metric=_area(contract, name, test, yardstick.test), predictions=yardstick.test)
        for rule, yardstick in yardsticks.items()
    )


def measure_alarms(
    contract: Contract, splits: Splits, threshold: Threshold, scores: Array, yardsticks: Mapping[str, Yardstick]
) -> AnomalyReport:
    """Judge a model's alarms, and compare them with those of the simple rules over the same items.

    Args:
        contract: The contract.
        splits: The data.
        threshold: The model's.
        scores: [n] the model's scores of the test items, multiples of the threshold.
        yardsticks: The rules.

    Returns:
        The report.

    Raises:
        InputError: When the test split lacks usual or unusual items.
    """
    alarms, rules = operating_point(contract, splits.test, scores), contract.anomaly
    if rules is None:
        raise InputError("alarms: expected a contract with [anomaly], found none")
    limit = rules.false_alarms_per_day_limit
    return AnomalyReport(
        threshold=threshold,
        areas=tuple(_area(contract, name, splits.test, scores) for name in AREAS),
        alarms=alarms,
        rules=tuple(_rule(contract, splits, name, rule, scores) for name, rule in yardsticks.items()),
        recall_floor_met=alarms.event_recall >= rules.event_recall_floor,
        quiet_enough=limit is None or alarms.false_alarms_per_day <= limit,
    )


def _rule(contract: Contract, splits: Splits, name: str, rule: Yardstick, scores: Array) -> AlarmsOfRule:
    test, groups = splits.test, interval_groups(contract, splits.test)
    own = rule.test / choose_threshold(contract, splits.validation, rule.validation).value
    areas = tuple(_area(contract, area, test, own) for area in AREAS)
    advantages = {
        area.name: (
            compute_metric(area.name, test.targets, scores) - area.value,
            difference_interval(area.name, test.targets, own, scores, groups),
        )
        for area in areas
    }
    found, by_model = event_flags(test, own), event_flags(test, scores)
    return AlarmsOfRule(
        name=name,
        areas=areas,
        alarms=operating_point(contract, test, own),
        advantages=advantages,
        recall_advantage=float(by_model.mean() - found.mean()),
        recall_interval=difference_interval(MetricName.ACCURACY, np.ones(len(found), bool), found, by_model),
    )


def _area(contract: Contract, name: MetricName, data: LabelledData, scores: Array) -> MetricValue:
    return MetricValue(
        name=name,
        value=compute_metric(name, data.targets, scores),
        interval=metric_interval(name, data.targets, scores, interval_groups(contract, data)),
        n=len(data),
    )
