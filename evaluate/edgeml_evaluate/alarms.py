"""Anomaly scores as alarms: the threshold, the events that are found, and the false alarms of a day.

A score is a multiple of its threshold: above 1 it is an alarm. Items carry what an alarm is counted by in three
attributes, each of which may be missing:

- ``series``: which machine or recording the item belongs to;
- ``time``: when it ends, as ISO 8601 without a zone, such as ``2014-02-14T14:30:00``;
- ``event``: the name of the event it lies in, empty outside; without it every unusual item is an event of its own.

An event is found when one of its items is an alarm. A false alarm lasts ``anomaly.rearm_minutes``: scores above the
threshold raise no further one meanwhile, and a new one afterwards, so that a model that cries all day is not counted
once. Without ``time`` every usual item above the threshold is a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.intervals import Interval, rate_interval, wilson_interval
from edgeml_runtime.errors import InputError, ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate.data import LabelledData
    from edgeml_runtime.contract import AnomalyRules, Contract

__all__ = [
    "EVENT",
    "SERIES",
    "TIME",
    "EventLoss",
    "OperatingPoint",
    "Threshold",
    "choose_threshold",
    "event_flags",
    "event_loss",
    "operating_point",
    "resampling_blocks",
]

Array = NDArray[Any]

SERIES, TIME, EVENT = "series", "time", "event"

_MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The score above which an item is an alarm.

    Attributes:
        value: The threshold, in the unit of the scores it was chosen from.
        false_alarms: False alarms at it among the validation items.
        days: How long their usual items last, in days.
    """

    value: float
    false_alarms: int
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What the alarms of a model are worth.

    Attributes:
        events: Events among the items.
        found: Those an alarm was raised in.
        recall: Their share, with Wilson's interval.
        false_alarms: Alarms outside events.
        days: How long the usual items last, in days.
        per_day: False alarms in a day, with Garwood's interval.
    """

    events: int
    found: int
    recall: Interval
    false_alarms: int
    days: float
    per_day: Interval

    @property
    def event_recall(self) -> float:
        """Share of the events that are found."""
        return self.found / self.events

    @property
    def false_alarms_per_day(self) -> float:
        """False alarms in a day."""
        return self.false_alarms / self.days

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "events": self.events,
            "found": self.found,
            "event_recall": self.event_recall,
            "event_recall_interval": self.recall.to_dict(),
            "false_alarms": self.false_alarms,
            "days": self.days,
            "false_alarms_per_day": self.false_alarms_per_day,
            "false_alarms_per_day_interval": self.per_day.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """The inverse of :meth:`to_dict`."""
        return cls(
            events=values["events"],
            found=values["found"],
            recall=Interval.from_dict(values["event_recall_interval"]),
            false_alarms=values["false_alarms"],
            days=values["days"],
            per_day=Interval.from_dict(values["false_alarms_per_day_interval"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLoss:
    """What a variant's alarms lose against those of its reference, over the same items.

    Attributes:
        lost: Events that only the reference finds.
        gained: Events that only the variant finds.
        events: Events compared.
        allowed: Most events that may be lost, less those gained.
        false_alarms_per_day: Of the variant.
        limit: Most of them that the contract allows; None for no limit.
    """

    lost: int
    gained: int
    events: int
    allowed: float
    false_alarms_per_day: float
    limit: float | None

    @property
    def within(self) -> bool:
        """Whether events and false alarms keep to what is allowed."""
        quiet = self.limit is None or self.false_alarms_per_day <= self.limit
        return quiet and self.lost - self.gained <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "lost": self.lost,
            "gained": self.gained,
            "events": self.events,
            "allowed": self.allowed,
            "false_alarms_per_day": self.false_alarms_per_day,
            "limit": self.limit,
            "within": self.within,
        }


def choose_threshold(contract: Contract, validation: LabelledData, scores: Array) -> Threshold:
    """The lowest threshold that keeps to the contract's false alarms in a day; events play no part in it.

    Every score of a usual item is tried as a threshold, from the highest down, until there are more false alarms than
    allowed.

    Args:
        contract: Its ``[anomaly]`` says how many.
        validation: Items, usual ones among them.
        scores: [n], larger where the model finds an item more unusual.

    Returns:
        The threshold.

    Raises:
        ProjectError: When there is no usual item, or no threshold above 0 would do.
    """
    rules = _rules(contract)
    usual = validation.take(validation.targets == 0)
    values = np.asarray(scores, np.float64)[validation.targets == 0]
    if len(usual) == 0:
        raise ProjectError("anomaly: expected usual items (target 0) in the validation split, found none")
    days = _days(rules, len(usual))
    kept, count = float(values.max()), 0
    for value in np.unique(values)[::-1][1:]:
        alarms = _false_alarms(rules, usual, values > value)
        if alarms > rules.false_alarms_per_day * days:
            break
        kept, count = float(value), alarms
    if not kept > 0:
        raise ProjectError(
            f"anomaly: expected a threshold above 0, found {kept:g} for {rules.false_alarms_per_day:g} false alarms a "
            "day: let network() give a score that is 0 at least and larger the more unusual an item is"
        )
    return Threshold(value=kept, false_alarms=count, days=days)


def operating_point(contract: Contract, data: LabelledData, scores: Array) -> OperatingPoint:
    """Judge the alarms of a model.

    Args:
        contract: Its ``[anomaly]`` says how long an alarm lasts and how often a device asks.
        data: The items, with both kinds of target.
        scores: [n], multiples of the threshold.

    Returns:
        Events found and false alarms.

    Raises:
        InputError: When one kind of item is missing.
    """
    rules = _rules(contract)
    usual = data.targets == 0
    if usual.all() or not usual.any():
        raise InputError("alarms: expected usual and unusual items, found one of the two only")
    events = _events(data)
    total, found = len(set(events[~usual])), len(_found(data, scores))
    days = _days(rules, int(usual.sum()))
    false_alarms = _false_alarms(rules, data.take(usual), scores[usual] > 1)
    return OperatingPoint(
        events=total,
        found=found,
        recall=wilson_interval(found, total),
        false_alarms=false_alarms,
        days=days,
        per_day=rate_interval(false_alarms, days),
    )


def event_loss(contract: Contract, data: LabelledData, reference: Array, candidate: Array) -> EventLoss:
    """Compare the alarms of a variant with those of its reference over the same items.

    Events may be lost as items may: the larger of ``export.max_metric_drop`` of all events and
    ``export.max_metric_drop_items``.

    Args:
        contract: Names the allowance and the limit of false alarms.
        data: The items.
        reference: [n] scores of the fp32 variant, multiples of the threshold.
        candidate: [n] of the quantized one.

    Returns:
        The loss.
    """
    rules, before, after = _rules(contract), event_flags(data, reference), event_flags(data, candidate)
    point = operating_point(contract, data, candidate)
    return EventLoss(
        lost=int(np.sum(before & ~after)),
        gained=int(np.sum(after & ~before)),
        events=point.events,
        allowed=max(contract.export.max_metric_drop * point.events, contract.export.max_metric_drop_items),
        false_alarms_per_day=point.false_alarms_per_day,
        limit=rules.false_alarms_per_day_limit,
    )


def event_flags(data: LabelledData, scores: Array) -> NDArray[np.bool_]:
    """Which events are found.

    Args:
        data: The items.
        scores: [n], multiples of the threshold.

    Returns:
        [events], in the order of series and event.
    """
    found = _found(data, scores)
    return np.array([name in found for name in np.unique(_events(data)[data.targets == 1]).tolist()], bool)


def resampling_blocks(data: LabelledData) -> Array | None:
    """Groups of items that belong together in time, for intervals: neighbouring windows are nearly the same item.

    Args:
        data: The items.

    Returns:
        [n] of str: the event, or the series and the day; None where the items have no time.
    """
    if TIME not in data.attributes:
        return None
    days = _times(data).astype("datetime64[D]").astype(str)
    series = _series(data)
    usual = np.char.add(np.char.add(series, " "), days)
    return np.where(data.targets == 0, usual, _events(data))


def _rules(contract: Contract) -> AnomalyRules:
    if contract.anomaly is None:
        raise InputError("alarms: expected a contract with [anomaly], found none")
    return contract.anomaly


def _days(rules: AnomalyRules, items: int) -> float:
    return items * rules.item_minutes / _MINUTES_PER_DAY


def _series(data: LabelledData) -> Array:
    return np.asarray(data.attributes[SERIES] if SERIES in data.attributes else np.full(len(data), ""), np.str_)


def _times(data: LabelledData) -> Array:
    return np.asarray(data.attributes[TIME], "datetime64[s]")


def _events(data: LabelledData) -> Array:
    """The event of every item, by series; of usual items it means nothing."""
    names = data.attributes[EVENT] if EVENT in data.attributes else np.arange(len(data)).astype(np.str_)
    return np.char.add(np.char.add(_series(data), " "), np.asarray(names, np.str_))


def _found(data: LabelledData, scores: Array) -> set[str]:
    return set(_events(data)[(data.targets == 1) & (np.asarray(scores).reshape(len(data)) > 1)])


def _false_alarms(rules: AnomalyRules, usual: LabelledData, above: Array) -> int:
    """Alarms among usual items, each of which keeps further ones away for a time."""
    if TIME not in usual.attributes:
        return int(np.sum(above))
    alarmed = usual.take(above)
    series, times = _series(alarmed), _times(alarmed).astype(np.int64)
    order = np.lexsort((times, series))
    count, last, until = 0, None, 0
    for name, time in zip(series[order].tolist(), times[order].tolist(), strict=True):
        if name != last or time >= until:
            count, last, until = count + 1, name, time + 60 * rules.rearm_minutes
    return count
