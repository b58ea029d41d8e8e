"""Anomaly scores as alarms: events found, false alarms counted, thresholds chosen, losses judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from edgeml_evaluate import (
    LabelledData,
    choose_threshold,
    event_loss,
    operating_point,
    score_predictions,
    slice_report,
)
from edgeml_evaluate.alarms import event_flags, resampling_blocks
from edgeml_evaluate.intervals import rate_interval
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError, ProjectError

CONTRACT = parse_contract(
    {
        "model": {"name": "watch", "version": "1.0.0"},
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1], "range": [0, 1], "unit": "°C", "source": "sensor"}],
        "outputs": [{"name": "score", "role": "value", "shape": [1]}],
        "target": {"name": "unusual", "kind": "anomaly"},
        "metric": {"primary": "roc_auc", "floor": 0.5},
        "slices": {"by": ["series"], "min_items": 1},
        "anomaly": {"false_alarms_per_day": 1.0, "item_minutes": 60, "rearm_minutes": 180},
        "export": {"max_metric_drop": 0.01, "max_metric_drop_items": 0},
    },
    source="test",
)


def contract(**changes):
    return replace(CONTRACT, anomaly=replace(CONTRACT.anomaly, **changes))


def hours(targets, series="a", events=None, start="2024-01-01T00:00:00"):
    """One item an hour."""
    count = len(targets)
    times = (np.datetime64(start) + np.arange(count) * np.timedelta64(1, "h")).astype(str)
    names = ["e" if target else "" for target in targets] if events is None else events
    return LabelledData(
        inputs={"x": np.zeros((count, 1), np.float32)},
        targets=np.array(targets),
        attributes={"series": np.full(count, series), "time": times, "event": np.array(names)},
    )


def joined(*parts):
    return LabelledData(
        inputs={"x": np.concatenate([part.inputs["x"] for part in parts])},
        targets=np.concatenate([part.targets for part in parts]),
        attributes={name: np.concatenate([part.attributes[name] for part in parts]) for name in parts[0].attributes},
    )


# Scores of one item an hour, alarms last three hours: how many false alarms?
@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0], 0),
        ([2, 0, 0, 0, 0, 0, 0, 0], 1),
        ([1, 1, 1, 1, 1, 1, 1, 1], 0),  # the threshold itself is no alarm
        ([2, 2, 2, 0, 0, 0, 0, 0], 1),
        ([2, 2, 2, 2, 0, 0, 0, 0], 2),  # a spell longer than an alarm is another one
        ([2, 2, 2, 2, 2, 2, 2, 2], 3),
        ([2, 0, 0, 2, 0, 0, 2, 0], 3),
        ([2, 0, 2, 0, 0, 0, 0, 2], 2),
    ],
)
def test_a_false_alarm_lasts_for_a_time(scores, expected):
    data = hours([0] * 8 + [1])
    point = operating_point(CONTRACT, data, np.array([*scores, 0.0]))
    assert (point.false_alarms, point.events, point.found) == (expected, 1, 0)
    assert point.days == pytest.approx(8 / 24)
    assert point.false_alarms_per_day == pytest.approx(expected * 3)


def test_alarms_of_one_machine_keep_none_of_another_away():
    data = joined(hours([0, 0, 1], "a"), hours([0, 0, 1], "b"))
    assert operating_point(CONTRACT, data, np.array([2.0, 2, 0, 2, 2, 0])).false_alarms == 2


def test_the_order_of_the_items_does_not_matter():
    data = joined(hours([0] * 20 + [1] * 4, "a"), hours([1] * 3 + [0] * 21, "b"))
    scores = np.random.default_rng(0).random(48) * 1.5
    order = np.random.default_rng(1).permutation(48)
    assert operating_point(CONTRACT, data, scores) == operating_point(CONTRACT, data.take(order), scores[order])


def test_an_event_is_found_by_any_of_its_items():
    data = hours([0, 1, 1, 0, 1, 1, 0], events=["", "e", "e", "", "f", "f", ""])
    assert operating_point(CONTRACT, data, np.array([0.0, 0, 2, 0, 0, 0, 0])).found == 1
    assert event_flags(data, np.array([0.0, 0, 2, 0, 0, 0, 0])).tolist() == [True, False]
    assert operating_point(CONTRACT, data, np.array([0.0, 0, 2, 0, 2, 2, 0])).event_recall == 1
    assert operating_point(CONTRACT, data, np.ones(7)).found == 0  # the threshold itself is no alarm


def test_two_machines_may_have_events_of_the_same_name():
    data = joined(hours([0, 1], "a"), hours([0, 1], "b"))
    assert operating_point(CONTRACT, data, np.array([0.0, 2, 0, 0])).event_recall == 0.5


def test_items_without_time_and_event_stand_for_themselves():
    data = LabelledData(inputs={"x": np.zeros((6, 1), np.float32)}, targets=np.array([0, 0, 0, 1, 1, 0]))
    point = operating_point(CONTRACT, data, np.array([2.0, 2, 0, 2, 0, 0]))
    assert (point.false_alarms, point.events, point.found) == (2, 2, 1)
    assert resampling_blocks(data) is None


def test_the_threshold_is_the_lowest_that_keeps_to_the_rate():
    """Two days of usual hours, one false alarm a day: of three peaks the two highest may be alarms."""
    scores = np.full(48, 0.1)
    scores[[5, 20, 40]] = 5.0, 4.0, 3.0
    found = choose_threshold(contract(), hours([0] * 48), scores)
    assert (found.value, found.false_alarms, found.days) == (3.0, 2, 2.0)
    assert choose_threshold(contract(false_alarms_per_day=0.5), hours([0] * 48), scores).value == 4.0
    assert choose_threshold(contract(false_alarms_per_day=0.01), hours([0] * 48), scores).value == 5.0


def test_events_play_no_part_in_the_threshold():
    scores = np.array([0.5, 0.4, 9.0, 9.0])
    assert choose_threshold(CONTRACT, hours([0, 0, 1, 1]), scores).value == 0.5


@pytest.mark.parametrize("scores", [[0.0, 0.0], [-2.0, -1.0]])
def test_scores_without_a_threshold_above_zero_are_refused(scores):
    with pytest.raises(ProjectError, match="expected a threshold above 0"):
        choose_threshold(CONTRACT, hours([0, 0]), np.array(scores))


def test_only_unusual_items_choose_no_threshold():
    with pytest.raises(ProjectError, match="expected usual items"):
        choose_threshold(CONTRACT, hours([1, 1]), np.array([1.0, 2.0]))


@pytest.mark.parametrize("targets", [[0, 0], [1, 1]])
def test_one_kind_of_item_has_no_operating_point(targets):
    with pytest.raises(InputError, match="one of the two only"):
        operating_point(CONTRACT, hours(targets), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("candidate", "changes", "within"),
    [
        ([0, 2, 0, 2], {}, True),
        ([0, 2, 0, 0], {}, False),  # an event lost
        ([2, 2, 0, 2], {}, True),
        ([2, 2, 0, 2], {"false_alarms_per_day_limit": 3.0}, False),
        ([2, 2, 0, 2], {"false_alarms_per_day_limit": 12.0}, True),
    ],
)
def test_a_variant_may_lose_no_event_and_cry_no_more_than_the_limit(candidate, changes, within):
    data = hours([0, 1, 0, 1], events=["", "e", "", "f"])
    loss = event_loss(contract(**changes), data, np.array([0.0, 2, 0, 2]), np.array(candidate, float))
    assert loss.within is within


def test_a_gained_event_makes_up_for_a_lost_one():
    data = hours([0, 1, 0, 1], events=["", "e", "", "f"])
    loss = event_loss(CONTRACT, data, np.array([0.0, 2, 0, 0]), np.array([0.0, 0, 0, 2]))
    assert (loss.lost, loss.gained, loss.within) == (1, 1, True)


def test_a_score_has_its_alarms_and_only_slices_with_both_kinds():
    data = joined(hours([0, 0, 1, 1], "a"), hours([0, 0, 0, 0], "b"))
    outputs = np.array([[0.2], [0.1], [2.0], [0.3], [0.1], [0.1], [0.1], [3.0]])
    score = score_predictions(CONTRACT, data, outputs)
    assert score.alarms is not None
    assert (score.alarms.found, score.alarms.false_alarms) == (1, 1)
    assert [part.name for part in score.slices] == ["series=a"]
    assert slice_report(CONTRACT, data, outputs[:, 0])[0].value == 1.0
    assert score.to_dict()["alarms"]["events"] == 1


def test_neighbouring_windows_count_as_one_in_intervals():
    data = joined(hours([0] * 30 + [1] * 3, "a"), hours([0] * 5, "b"))
    blocks = resampling_blocks(data)
    assert sorted(set(blocks)) == ["a 2024-01-01", "a 2024-01-02", "a e", "b 2024-01-01"]


@pytest.mark.parametrize(("count", "exposure"), [(0, 3.0), (1, 1.0), (9, 50.0), (400, 2.5)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_rate_has_garwoods_interval(count, exposure, level):
    found, tail = rate_interval(count, exposure, level=level), (1 - level) / 2
    low = chi2.ppf(tail, 2 * count) / 2 / exposure if count else 0.0
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(chi2.ppf(1 - tail, 2 * count + 2) / 2 / exposure)


@pytest.mark.parametrize(("count", "exposure"), [(-1, 1.0), (1, 0.0), (1, -2.0)])
def test_counts_that_make_no_rate_are_refused(count, exposure):
    with pytest.raises(InputError):
        rate_interval(count, exposure)
