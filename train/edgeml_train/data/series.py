"""Windows of time series for anomaly tasks: split by time, labelled by their newest reading."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.alarms import EVENT, SERIES, TIME
from edgeml_evaluate.data import LabelledData
from edgeml_runtime.errors import ProjectError
from edgeml_train.data.series_file import find_series
from edgeml_train.data.series_settings import INPUTS, SeriesSettings
from edgeml_train.task import Splits, Yardstick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeml_runtime.contract import Contract
    from edgeml_train.data.series_file import Series

__all__ = ["load_series"]

Array = NDArray[Any]

_DAY_S = 24 * 60 * 60
# Of all steps from one reading to the next, those that must be as long as they should be.
_REGULAR_SHARE = 0.9
_SMALLEST_SPREAD = 1e-3
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """Items of one series and part; ``baselines`` are the scores of the yardsticks."""

    windows: Array
    level: Array
    spread: Array
    targets: Array
    series: Array
    times: Array
    events: Array
    baselines: dict[str, Array]


def load_series(folder: Path, contract: Contract, data: Mapping[str, Any]) -> Splits:
    """Load series and cut them into items.

    Every series is split by time: its first part trains, the last one tests, and no window reaches into two parts. An
    item is a window without a gap; its target is 1 when its newest reading lies in an event. Windows that reach back
    into an event that is over are left out, because nobody can say what they should score; windows in an event do not
    train. What is usual for the machine comes with every item, as a device can keep it: mean (``level``)
    and standard deviation (``spread``) of the readings in the days before the window, whatever has happened in them. A
    window with less than a day before it is left out.

    The yardsticks of an item are those of its newest reading: ``z-score``, how many spreads it lies from the level, and
    ``seasonal naive``, how far from the reading one day before, as a multiple of the mean distance in the training part
    outside events (1 where that reading is missing).

    Args:
        folder: As :func:`edgeml_train.data.series_file.find_series` reads it.
        contract: An anomaly task; its inputs are ``readings`` [window], ``level`` [1] and ``spread`` [1].
        data: The ``[data]`` table, see :class:`edgeml_train.data.series_settings.SeriesSettings`.

    Returns:
        The splits, with inputs ``readings`` float32 [n, window], ``level`` and ``spread`` float32 [n, 1], the
        attributes that :mod:`edgeml_evaluate.alarms` counts by, and the two yardsticks.

    Raises:
        ContractError: When ``[data]`` and the contract do not fit, with every fault.
        ProjectError: When the series cannot be read, are sampled otherwise, or a part lacks items.
    """
    rules = SeriesSettings.parse(contract, data)
    series = find_series(folder, rules.series, max_left_out=rules.max_left_out)
    _check_sampling(series, rules)
    items: dict[str, list[_Items]] = {part: [] for part in _PARTS}
    for one in series:
        for part, cut in zip(_PARTS, _cut(one, rules), strict=True):
            items[part].append(cut)
    joined = {part: _join(found) for part, found in items.items()}
    for part, (found, _) in joined.items():
        _check_part(part, found)
    names = joined["test"][1]
    return Splits(
        train=joined["train"][0],
        validation=joined["validation"][0],
        test=joined["test"][0],
        name=f"{len(series)} series by time: {rules.train:.0%} train, {rules.validation:.0%} validate, the rest tests",
        unreadable=tuple(text for one in series for text in one.left_out),
        yardsticks={
            name: Yardstick(validation=joined["validation"][1][name], test=joined["test"][1][name]) for name in names
        },
    )


def _check_sampling(series: Sequence[Series], rules: SeriesSettings) -> None:
    """Refuse series that are sampled at another interval than the contract's windows are made of."""
    others = []
    for one in series:
        steps = np.diff(one.times)
        if len(steps) == 0 or np.mean(steps == rules.interval_s) < _REGULAR_SHARE:
            found = f"{np.median(steps):g} s" if len(steps) else "one reading"
            share = f"{np.mean(steps == rules.interval_s):.0%} of steps fit" if len(steps) else "no step"
            others.append(f"{one.name} ({found}; {share})")
    if others:
        raise ProjectError(
            f"data.series: expected a reading every {rules.interval_s} s (data.interval_s), found other sampling in "
            f"{', '.join(others)}. Leave these out in data.series, resample the files, or train a model of their own"
        )


def _cut(series: Series, rules: SeriesSettings) -> Iterator[_Items]:
    """The items of the three parts, in order of time."""
    count = len(series.times)
    borders = [0, int(count * rules.train), int(count * (rules.train + rules.validation)), count]
    in_event, event = _event_of(series)
    seasonal = _seasonal(series, ~in_event & (np.arange(count) < borders[1]))
    for part, (low, high) in zip(_PARTS, pairwise(borders), strict=True):
        ends = _window_ends(series.times, low, high, rules)
        positions = ends[:, None] + np.arange(1 - rules.window, 1)
        kept = ~in_event[positions].any(axis=1)
        if part != "train":
            kept |= in_event[ends]
        ends, positions = ends[kept], positions[kept]
        level, spread = _reference(series.values, ends, rules)
        yield _Items(
            windows=series.values[positions].astype(np.float32),
            level=level[:, None].astype(np.float32),
            spread=spread[:, None].astype(np.float32),
            targets=in_event[ends].astype(np.int64),
            series=np.full(len(ends), series.name),
            times=series.times[ends].astype("datetime64[s]").astype(np.str_),
            events=event[ends],
            baselines={
                "z-score": np.abs(series.values[ends] - level) / spread,
                "seasonal naive": seasonal[ends],
            },
        )


def _event_of(series: Series) -> tuple[NDArray[np.bool_], Array]:
    """Whether a reading lies in an event, and the start of that event, empty outside."""
    inside, name = np.zeros(len(series.times), bool), np.full(len(series.times), "", "<U19")
    for event in series.events:
        mask = (series.times >= event.start) & (series.times <= event.end)
        inside |= mask
        name[mask] = np.datetime64(event.start, "s").astype(str)
    return inside, name


def _reference(values: NDArray[np.float64], ends: NDArray[np.intp], rules: SeriesSettings) -> tuple[Array, Array]:
    """Mean and standard deviation of the readings before each window.

    The deviation is a thousandth of the mean at least, and 1 where both are 0: a machine that has not varied at all
    says nothing about how much it may.
    """
    lasts = ends - rules.window + 1
    before = [values[max(0, last - rules.reference) : last] for last in lasts]
    level = np.array([part.mean() for part in before])
    deviation = np.array([part.std() for part in before])
    spread = np.maximum(deviation, _SMALLEST_SPREAD * np.abs(level))
    return level, np.where(spread > 0, spread, 1.0)


def _seasonal(series: Series, usual: NDArray[np.bool_]) -> Array:
    """Distance from the reading one day before, as a multiple of its mean over usual readings."""
    before = np.searchsorted(series.times, series.times - _DAY_S)
    there = series.times[before] == series.times - _DAY_S
    distance = np.where(there, np.abs(series.values - series.values[before]), np.nan)
    known = distance[usual & there]
    typical = float(known.mean()) if len(known) else 0.0
    return np.nan_to_num(distance / (typical or 1.0), nan=1.0)


def _window_ends(times: NDArray[np.int64], low: int, high: int, rules: SeriesSettings) -> NDArray[np.intp]:
    """Positions of the newest readings of windows within [low, high) that have no gap, and a day before them."""
    ends = np.arange(low + rules.window - 1, high, rules.stride)
    ends = ends[ends >= rules.day + rules.window - 1]
    lasts = times[ends] - times[ends - rules.window + 1] == (rules.window - 1) * rules.interval_s
    return np.asarray(ends[lasts], np.intp)


def _join(items: Sequence[_Items]) -> tuple[LabelledData, dict[str, Array]]:
    def all_of(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in items])

    data = LabelledData(
        inputs=dict(zip(INPUTS, (all_of("windows"), all_of("level"), all_of("spread")), strict=True)),
        targets=all_of("targets"),
        attributes={SERIES: all_of("series"), TIME: all_of("times"), EVENT: all_of("events")},
    )
    names = items[0].baselines
    return data, {name: np.concatenate([part.baselines[name] for part in items]) for name in names}


def _check_part(part: str, data: LabelledData) -> None:
    if len(data) == 0:
        raise ProjectError(
            f"data: expected windows without a gap in {part}, found none; make the window smaller (shape of readings "
            "in edgeml.toml), or look at the series"
        )
    if part == "test" and len(np.unique(data.targets)) == 1:
        found = "only windows in events" if data.targets[0] else "no event"
        raise ProjectError(
            f"data: expected usual and unusual windows in {part}, found {found}; add series whose events lie in their "
            "last part, or make data.train and data.validation smaller"
        )
