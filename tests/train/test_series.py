"""Windows of time series: where they are cut, what they are labelled, what comes with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_train.data import load_series

WINDOW, STRIDE = 24, 6


def table(name, shape, low=-1000):
    return {"name": name, "dtype": "float32", "shape": [shape], "range": [low, 1000], "unit": "°C", "source": "sensor"}


DOCUMENT = {
    "model": {"name": "watch", "version": "1.0.0"},
    "inputs": [table("readings", WINDOW), table("level", 1), table("spread", 1, 0)],
    "outputs": [{"name": "score", "role": "value", "shape": [1]}],
    "target": {"name": "unusual", "kind": "anomaly"},
    "metric": {"primary": "roc_auc", "floor": 0.5},
    "anomaly": {"false_alarms_per_day": 1.0, "item_minutes": 5 * STRIDE},
}
CONTRACT = parse_contract(DOCUMENT, source="test")
DATA = {"series": ["*"], "interval_s": 300, "train": 0.4, "validation": 0.2}


def load(folder, **data):
    return load_series(folder, CONTRACT, DATA | data)


@pytest.fixture(scope="module")
def machines(tmp_path_factory, series_folder):
    return series_folder.write_machines(tmp_path_factory.mktemp("machines"))


@pytest.fixture(scope="module")
def splits(machines):
    return load(machines)


def parts(splits):
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def times(data):
    return data.attributes["time"].astype("datetime64[s]")


def test_every_series_is_split_by_time(splits):
    for name in np.unique(splits.test.attributes["series"]):
        spans = [times(part.take(part.attributes["series"] == name)) for part in parts(splits).values()]
        window = np.timedelta64(300 * (WINDOW - 1), "s")
        assert spans[0].max() < spans[1].min() - window
        assert spans[1].max() < spans[2].min() - window


def test_a_window_is_labelled_by_its_newest_reading(splits):
    data = splits.test
    assert (data.targets == (data.attributes["event"] != "")).all()
    for name in np.unique(data.attributes["series"]):
        mine = data.take(data.attributes["series"] == name)
        starts = np.unique(mine.attributes["event"][mine.targets == 1]).astype("datetime64[s]")
        after = times(mine)[:, None] - starts
        inside = ((after >= np.timedelta64(0, "s")) & (after <= np.timedelta64(300 * 60, "s"))).any(axis=1)
        assert len(starts) == 2
        assert (mine.targets.astype(bool) == inside).all()


def test_windows_that_reach_back_into_an_event_are_left_out(splits):
    for data in (splits.validation, splits.test):
        for name in np.unique(data.attributes["series"]):
            mine = data.take(data.attributes["series"] == name)
            last = times(mine)[mine.targets == 1]
            after = times(mine)[mine.targets == 0][:, None] - last
            assert not ((after > np.timedelta64(0, "s")) & (after < np.timedelta64(300 * (WINDOW - 7), "s"))).any()


def test_windows_that_touch_an_event_do_not_train(splits):
    """Twelve degrees lower is far outside of everything usual."""
    train = splits.train
    lowest = (train.inputs["readings"] - train.inputs["level"]).min(axis=1) / train.inputs["spread"][:, 0]
    assert not train.targets.any()
    assert lowest.min() > -6
    assert splits.validation.targets.any()


def test_level_and_spread_are_those_of_the_week_before(machines, splits):
    rows = np.loadtxt(machines / "data" / "machines" / "m0.csv", delimiter=",", skiprows=1, usecols=1)
    mine = splits.test.take(splits.test.attributes["series"] == "machines/m0")
    end = int((times(mine)[7] - np.datetime64("2024-01-01T00:00:00")).astype(int)) // 300
    before = rows[end - WINDOW + 1 - 7 * 288 : end - WINDOW + 1]
    assert mine.inputs["readings"][7] == pytest.approx(rows[end - WINDOW + 1 : end + 1].astype(np.float32))
    assert mine.inputs["level"][7, 0] == pytest.approx(before.mean(), rel=1e-6)
    assert mine.inputs["spread"][7, 0] == pytest.approx(before.std(), rel=1e-6)


def test_no_window_has_less_than_a_day_before_it(splits):
    assert times(splits.train).min() >= np.datetime64("2024-01-02T00:00:00") + np.timedelta64(300 * (WINDOW - 1), "s")


def test_the_yardsticks_are_those_of_the_newest_reading(machines, splits):
    rows = np.loadtxt(machines / "data" / "machines" / "m1.csv", delimiter=",", skiprows=1, usecols=1)
    chosen = np.flatnonzero(splits.test.attributes["series"] == "machines/m1")
    data, z_score = splits.test.take(chosen), splits.yardsticks["z-score"].test[chosen]
    newest, level, spread = (data.inputs["readings"][:, -1], data.inputs["level"][:, 0], data.inputs["spread"][:, 0])
    assert z_score == pytest.approx(np.abs(newest - level) / spread, rel=1e-4, abs=1e-5)
    seasonal = splits.yardsticks["seasonal naive"].test[chosen]
    ends = (times(data) - np.datetime64("2024-01-01T00:00:00")).astype(int) // 300
    assert np.corrcoef(seasonal, np.abs(rows[ends] - rows[ends - 288]))[0, 1] == pytest.approx(1.0)


def test_the_same_folder_gives_the_same_arrays(machines, splits):
    again = load(machines)
    assert all(
        np.array_equal(data.inputs["readings"], other.inputs["readings"])
        for data, other in zip(parts(splits).values(), parts(again).values(), strict=True)
    )


def test_no_window_reaches_over_a_gap(tmp_path, series_folder):
    values = series_folder.daily(10)
    seconds = np.arange(len(values)) * 300
    seconds[2000:] += 7200  # two hours are missing
    series_folder.write_series(tmp_path, "m", values, times=seconds, events=[(2500, 2560)])
    data = load(tmp_path, train=0.4, validation=0.2).test
    missing = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(300 * 2000, "s")
    after = times(data)[times(data) > missing]
    assert after.min() >= missing + np.timedelta64(7200 + 300 * (WINDOW - 1), "s")


@pytest.mark.parametrize(("value", "spread"), [(0.0, 1.0), (40.0, 0.04)])
def test_a_machine_that_never_varies_has_a_spread(tmp_path, series_folder, value, spread):
    values = np.full(10 * 288, value)
    values[2500:2560] += 3
    series_folder.write_series(tmp_path, "m", values, events=[(2500, 2559)])
    data = load(tmp_path).validation
    assert data.inputs["spread"] == pytest.approx(spread)


def test_readings_out_of_order_are_named(tmp_path, series_folder):
    values = series_folder.daily(10)
    seconds = np.arange(len(values)) * 300
    seconds[100] = seconds[99]
    series_folder.write_series(tmp_path, "m", values, times=seconds, events=[(2500, 2560)])
    assert "m.csv, line 102" in load(tmp_path).unreadable[0]
    with pytest.raises(ProjectError, match=r"data.max_left_out"):
        load(tmp_path, max_left_out=0.0)


def test_mixed_sampling_is_refused(tmp_path, series_folder):
    values = series_folder.daily(10)
    series_folder.write_series(tmp_path, "fine", values, events=[(2500, 2560)])
    series_folder.write_series(tmp_path, "coarse", values, times=np.arange(len(values)) * 3600, events=[(2500, 2560)])
    with pytest.raises(ProjectError, match=r"a reading every 300 s .* found other sampling in coarse \(3600 s; 0%"):
        load(tmp_path)
    assert len(np.unique(load(tmp_path, series=["fine"]).test.attributes["series"])) == 1


def test_irregular_sampling_is_refused(tmp_path, series_folder):
    values = series_folder.daily(10)
    seconds = np.cumsum(np.random.default_rng(0).integers(200, 400, len(values)))
    series_folder.write_series(tmp_path, "m", values, times=seconds, events=[(2500, 2560)])
    with pytest.raises(ProjectError, match="other sampling in m"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("events", "message"),
    [([], "found no event"), ([(1728, 2879)], "found only windows in events")],
)
def test_a_test_part_needs_both_kinds(tmp_path, series_folder, events, message):
    series_folder.write_series(tmp_path, "m", series_folder.daily(10), events=events)
    with pytest.raises(ProjectError, match=f"expected usual and unusual windows in test, {message}"):
        load(tmp_path)


def test_a_series_too_short_is_refused(tmp_path, series_folder):
    series_folder.write_series(tmp_path, "m", series_folder.daily(1), events=[(200, 210)])
    with pytest.raises(ProjectError, match="expected windows without a gap in train, found none"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"series": []}, r"data.series: expected at least one path"),
        ({"series": "*"}, r"data.series: expected"),
        ({"interval_s": 0}, r"data.interval_s: expected"),
        ({"interval_s": 420}, r"anomaly.item_minutes: expected a multiple of data.interval_s, which is 420 s"),
        ({"train": 0.9, "validation": 0.5}, r"data.train: expected shares that leave a part for the test"),
        ({"max_left_out": 2}, r"data.max_left_out: expected"),
        ({"reference_days": 0}, r"data.reference_days: expected"),
    ],
)
def test_settings_that_do_not_fit_are_refused(machines, data, message):
    with pytest.raises(ContractError, match=message):
        load(machines, **data)


def test_other_contracts_are_refused(machines):
    swapped = replace(CONTRACT, inputs=CONTRACT.inputs[::-1])
    with pytest.raises(ContractError, match=r"inputs: expected readings of shape \[window\]"):
        load_series(machines, swapped, DATA)
