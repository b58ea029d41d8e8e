"""Reading time series: what is accepted, what is left out and named, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgeml_runtime.errors import ProjectError
from edgeml_train.data import Event, find_series, read_series

HEADER = "timestamp,value\n"
GOOD = "2024-01-01 00:00:00,1.5\n2024-01-01 00:05:00,2\n2024-01-01 00:10:00,-3e2\n"


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "m.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, *, max_left_out=0.0):
    return read_series(path, "m", (), max_left_out=max_left_out)


@pytest.mark.parametrize(
    "content",
    [
        HEADER + GOOD,
        "\ufeff" + HEADER + GOOD,
        (HEADER + GOOD).replace("\n", "\r\n"),
        HEADER + GOOD.replace(" 00:", "T00:").replace("T00:00:00,", " 00:00:00,"),
        "value,place,timestamp\n"
        + "".join(f"{v},x,{t}\n" for t, v in (row.split(",") for row in GOOD.split("\n")[:3])),
        HEADER + GOOD.replace("\n", "\n\n"),
    ],
    ids=["plain", "byte order mark", "windows", "iso", "other columns", "blank lines"],
)
def test_ways_of_writing_the_same(written, content):
    series = read(written(content))
    assert series.values.tolist() == [1.5, 2.0, -300.0]
    assert np.diff(series.times).tolist() == [300, 300]
    assert (series.left_out, series.readings) == ((), 3)


@pytest.mark.parametrize(
    ("stamps", "kept", "message"),
    [
        (["00:00", "00:05", "00:05", "00:10"], 3, "line 4: 2024-01-01 00:05:00 repeats"),
        (["00:00", "00:10", "00:05", "00:15"], 3, "line 4: 2024-01-01 00:05:00 goes back behind"),
        (["00:00", "01:00", "00:05", "00:10", "01:05"], 3, "line 4: 2024-01-01 00:05:00 goes back behind"),
    ],
)
def test_readings_out_of_order_are_left_out_and_named(written, stamps, kept, message):
    path = written(HEADER + "".join(f"2024-01-01 {stamp}:00,1\n" for stamp in stamps))
    series = read(path, max_left_out=0.5)
    assert len(series.times) == kept
    assert len(series.left_out) == len(stamps) - kept
    assert message in series.left_out[0]
    assert (np.diff(series.times) > 0).all()
    with pytest.raises(ProjectError, match=r"expected at most 10.0% of \d readings out of order \(data.max_left_out\)"):
        read(path, max_left_out=0.1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected the columns timestamp, value, found nothing"),
        (HEADER, "expected at least one reading, found none"),
        ("time,value\n", r"expected the columns timestamp, value, found \['time', 'value'\]"),
        (HEADER + GOOD + "2024-01-01 00:15:00\n", r"line 5: expected 2 cells, found"),
        (HEADER + "yesterday,1\n", "line 2: expected a time such as 2014-02-14 14:30:00, found 'yesterday'"),
        (HEADER + "2024-01-01 00:00:00+01:00,1\n", "line 2: expected a time without a zone"),
        (HEADER + "2024-01-01 00:00:00,\n", "line 2: expected a finite number, found ''"),
        (HEADER + "2024-01-01 00:00:00,nan\n", "line 2: expected a finite number, found 'nan'"),
        (HEADER + "2024-01-01 00:00:00,1e999\n", "expected a finite number"),
        (b"\xff\xfe\x00", "cannot be read"),
        (HEADER + '"2024', "expected 2 cells"),
    ],
)
def test_what_cannot_be_read_is_refused(written, content, message):
    with pytest.raises(ProjectError, match=message):
        read(written(content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ProjectError, match="cannot be read"):
        read(tmp_path / "none.csv")


def test_a_folder_is_found_by_patterns(tmp_path, series_folder):
    for name in ("a/one", "a/two", "b/one"):
        series_folder.write_series(tmp_path, name, [1, 2, 3, 4], events=[(1, 2)] if name == "a/one" else ())
    found = find_series(tmp_path, ["a/*"], max_left_out=0)
    assert [series.name for series in found] == ["a/one", "a/two"]
    (event,) = found[0].events
    assert event == Event(int(found[0].times[1]), int(found[0].times[2]))
    assert found[1].events == ()
    assert [series.name for series in find_series(tmp_path, ["b/one", "*/one.csv"], max_left_out=0)] == [
        "a/one",
        "b/one",
    ]


def test_a_pattern_that_names_nothing_is_refused(tmp_path, series_folder):
    series_folder.write_series(tmp_path, "a/one", [1, 2])
    with pytest.raises(ProjectError, match=r"expected 'c/\*' to name CSV files .* there are a/one.csv"):
        find_series(tmp_path, ["c/*"], max_left_out=0)


def test_a_series_that_nobody_has_labelled_is_refused(tmp_path, series_folder):
    path = series_folder.write_series(tmp_path, "a/one", [1, 2])
    path.with_name("two.csv").write_text(path.read_text("utf-8"), "utf-8")
    with pytest.raises(ProjectError, match=r"expected the events of 'a/two.csv' \(an empty list where it has none\)"):
        find_series(tmp_path, ["a/*"], max_left_out=0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("[", "cannot be read"),
        ("[]", "found list"),
        ('{"a/one.csv": [["2024-01-01 00:00:00"]]}', r"expected \[start, end\] of each event"),
        ('{"a/one.csv": [["2024-01-02 00:00:00", "2024-01-01 00:00:00"]]}', "to end after it starts"),
        ('{"a/one.csv": [["soon", "later"]]}', "expected a time such as"),
        ('{"a/one.csv": [[1, 2]]}', r"expected \[start, end\]"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(tmp_path, series_folder, labels, message):
    series_folder.write_series(tmp_path, "a/one", [1, 2])
    (tmp_path / "labels" / "combined_windows.json").write_text(labels, "utf-8")
    with pytest.raises(ProjectError, match=message):
        find_series(tmp_path, ["a/*"], max_left_out=0)


@pytest.mark.parametrize("missing", ["data", "labels"])
def test_a_folder_without_data_or_labels_is_refused(tmp_path, series_folder, missing):
    series_folder.write_series(tmp_path, "a/one", [1, 2])
    (tmp_path / missing).rename(tmp_path / "other")
    with pytest.raises(ProjectError, match=f"{missing}.*found nothing"):
        find_series(tmp_path, ["a/*"], max_left_out=0)


def test_labels_of_other_series_do_no_harm(tmp_path, series_folder):
    series_folder.write_series(tmp_path, "a/one", [1, 2])
    labels = tmp_path / "labels" / "combined_windows.json"
    labels.write_text(json.dumps(json.loads(labels.read_text("utf-8")) | {"b/none.csv": []}), "utf-8")
    assert len(find_series(tmp_path, ["*"], max_left_out=0)) == 1
