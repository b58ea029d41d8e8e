"""A table as splits: what its items are, and every way in which a table can be wrong."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, init_project
from edgeml_train.checks import check_splits
from edgeml_train.data.table import category_indices, learned_categories, load_table


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mixed = load("mixed_table")
ROWS = mixed.mixed_rows(300)
GROUPED = '[groups]\nkey = "machine"\n'


@pytest.fixture
def splits_of(tmp_path):
    """Splits of the mixed table after its rows and its contract were changed."""

    def make(change=None, *, extra="", data="", replace=("", "")):
        rows = [dict(row) for row in ROWS]
        rows = (change(rows) or rows) if change else rows
        mixed.write_csv(tmp_path / "t.csv", rows)
        folder = init_project(tmp_path / "wear", "sensor-table", tmp_path / "t.csv")
        text = mixed.mixed_contract(str(tmp_path / "t.csv"), extra=extra, data=data)
        assert replace[0] in text
        (folder / "edgeml.toml").write_text(text.replace(*replace) if replace[0] else text)
        project = Project.open(folder)
        splits = load_table(tmp_path / "t.csv", project.contract, project.data)
        check_splits(project.contract, splits)
        return splits

    return make


def everything(splits, name):
    return np.concatenate([part.inputs[name] for part in (splits.train, splits.validation, splits.test)])


def test_items_are_the_rows_of_the_file(splits_of):
    splits = splits_of()
    numbers, categories = everything(splits, "numbers"), everything(splits, "categories")

    assert (numbers.dtype, numbers.shape) == (np.float32, (300, 3))
    assert (categories.dtype, categories.shape) == (np.int32, (300, 2))
    found = np.isnan(numbers[:, 1]).sum(), (categories[:, 0] == -1).sum(), (categories[:, 1] == -1).sum()
    lost = [
        sum(row[name] in texts for row in ROWS) for name, texts in (("vibration_mm_s", ("",)), ("site", ("NA", "lab")))
    ]
    assert found == (*lost, 0)
    # Temperatures are as good as unique, so that they say which item is which row.
    by_temperature = {np.float32(row["temperature_c"]): row for row in ROWS}
    for part in (splits.train, splits.validation, splits.test):
        for item in range(len(part)):
            row = by_temperature[part.inputs["numbers"][item, 0]]
            assert part.inputs["numbers"][item, 2] == np.float32(row["load"])
            assert part.targets[item] == mixed.LABELS.index(row["state"])
            assert part.attributes["site"][item] == row["site"].replace("NA", "missing")
            shift = part.inputs["categories"][item, 1]
            assert mixed.CATEGORIES["shift"][shift] == row["shift"]


def test_a_parquet_file_gives_the_same_splits(tmp_path, splits_of):
    expected = splits_of()
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    typed = {
        name: [float(text) if text else None for text in texts]
        if name in mixed.NUMBERS
        else [None if text == "NA" else text for text in texts]
        for name, texts in columns.items()
    }
    parquet.write_table(pa.table(typed), tmp_path / "t.parquet")
    project = Project.open(tmp_path / "wear")
    found = load_table(tmp_path / "t.parquet", project.contract, project.data)

    for name in ("train", "validation", "test"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(ours.targets, theirs.targets)
        for key, values in theirs.inputs.items():
            np.testing.assert_array_equal(ours.inputs[key], values)


def test_groups_and_times_split_instead(splits_of, tmp_path):
    splits = splits_of(extra=GROUPED)
    members = [set(part.attributes["machine"]) for part in (splits.train, splits.validation, splits.test)]
    assert splits.name == "by machine, whole groups at random"
    assert not members[0] & members[2]

    shutil.rmtree(tmp_path / "wear")
    splits = splits_of(data='time = "taken_at"')
    order = {np.float32(row["temperature_c"]): place for place, row in enumerate(ROWS)}
    places = [[order[value] for value in part.inputs["numbers"][:, 0]] for part in (splits.train, splits.test)]
    assert max(places[0]) < min(places[1])


def test_values_can_be_the_target(tmp_path):
    text = mixed.mixed_contract("t.csv")
    start = text.index("[[outputs]]")
    end = text.index("[slices]")
    value = """[[outputs]]
name = "value"
role = "value"
dtype = "float32"
shape = [1]
unit = "°C"
[target]
name = "wear"
kind = "regression"
[metric]
primary = "mae"
floor = 5
"""
    changed = text[:start] + value + text[end:].replace('by = ["label", "site"]', 'by = ["site"]')
    changed = (
        changed.replace("shape = [3]", "shape = [2]")
        .replace("'temperature_c', ", "")
        .replace("[data]\n", '[data]\ntarget = "temperature_c"\n')
    )
    mixed.write_csv(tmp_path / "t.csv", ROWS)
    folder = init_project(tmp_path / "wear", "sensor-table", tmp_path / "t.csv")
    (folder / "edgeml.toml").write_text(changed)
    project = Project.open(folder)
    splits = load_table(tmp_path / "t.csv", project.contract, project.data)
    check_splits(project.contract, splits)

    assert splits.name == "random"
    assert splits.train.targets.dtype == np.float32
    assert 55 < splits.train.targets.mean() < 65


def cell(row, column, text):
    def change(rows):
        rows[row][column] = text

    return change


def without(column):
    def change(rows):
        for row in rows:
            del row[column]

    return change


def all_of(column, text):
    def change(rows):
        for row in rows:
            row[column] = text

    return change


def one_worn(rows):
    for row in rows:
        row["state"] = "ok"
    rows[17]["state"] = "worn"


FAULTS = [
    (without("load"), {}, r"expected the columns 'load', found 'temperature_c', .* 'state'"),
    (without("site"), {}, "expected the columns 'site', found"),
    (without("state"), {}, "expected the columns 'state', found"),
    (without("machine"), {"extra": GROUPED}, "expected the columns 'machine', found"),
    (cell(3, "load", "high"), {}, "column 'load': expected numbers, found 'high' in line 5"),
    (cell(3, "load", "1,5"), {}, "column 'load': expected numbers, found '1,5' in line 5"),
    (cell(3, "load", "inf"), {}, "column 'load': expected numbers, found 'inf' in line 5"),
    (cell(3, "load", "1e39"), {}, "column 'load': expected numbers, found '1e39' in line 5"),
    (cell(3, "load", "1_0"), {}, "column 'load': expected numbers, found '1_0' in line 5"),
    (all_of("load", "x"), {}, "found 'x' in line 2, 'x' in line 3, 'x' in line 4 and 297 more"),
    (all_of("load", ""), {}, "column 'load': expected numbers, found no value in any row"),
    (
        cell(0, "load", "-2000"),
        {},
        "column 'load': expected -1000 to 1000, the range of the input 'numbers', found -2000 in line 2",
    ),
    (
        cell(0, "load", ""),
        {"replace": ("allow_missing = true", "allow_missing = false")},
        "expected a number in every row, because the input 'numbers' has no allow_missing, found nothing in line 2",
    ),
    (cell(9, "state", "broken"), {}, "column 'state': expected one of 'ok', 'worn', found 'broken' in line 11"),
    (cell(9, "state", ""), {}, "column 'state': expected one of 'ok', 'worn', found nothing in line 11"),
    (one_worn, {}, "column 'state': expected at least 3 items of the class 'worn', .* found 1"),
    (all_of("state", "ok"), {}, "at least 3 items of the class 'worn', .* found 0"),
    (cell(9, "machine", ""), {"extra": GROUPED}, "column 'machine': expected a group in every row, found rows without"),
    (all_of("machine", "m1"), {"extra": GROUPED}, "at least 3 values of 'machine' for three splits, found 1"),
    (
        cell(9, "taken_at", "yesterday"),
        {"data": 'time = "taken_at"'},
        "column 'taken_at': expected times as ISO 8601, or as numbers, found 'yesterday' in line 11",
    ),
    (
        cell(9, "taken_at", ""),
        {"data": 'time = "taken_at"'},
        "column 'taken_at': expected times .*found nothing in line 11",
    ),
    (
        cell(9, "taken_at", "2025-01-01T00:00+02:00"),
        {"data": 'time = "taken_at"'},
        "expected every time with an offset from UTC, or none, found both",
    ),
    (
        all_of("shift", "early"),
        {},
        r"expected every category of data\.categories in the training split, .* found none with 'late', 'night'",
    ),
    (lambda rows: rows[:2], {}, "expected at least 3 items of the class"),
]


@pytest.mark.parametrize(("change", "settings", "message"), FAULTS)
def test_a_table_that_does_not_fit_is_refused(splits_of, change, settings, message):
    with pytest.raises(ProjectError, match=message):
        splits_of(change, **settings)


def test_every_fault_is_reported_at_once(splits_of):
    def change(rows):
        rows[0]["load"], rows[1]["state"], rows[2]["temperature_c"] = "x", "y", "z"
        without("shift")(rows)

    with pytest.raises(ProjectError, match=r"4 fault\(s\) in the table") as caught:
        splits_of(change)

    assert "Correct the table, or what edgeml.toml says of it." in str(caught.value)


def test_long_lists_of_columns_are_cut(splits_of):
    def change(rows):
        for index, row in enumerate(rows):
            row.update({f"extra{column}": str(index) for column in range(40)})
        without("load")(rows)

    with pytest.raises(ProjectError, match=r"found 'temperature_c', .* and 39 more") as caught:
        splits_of(change)

    assert len(str(caught.value)) < 600


def test_lists_of_categories_that_are_empty_ask_for_what_the_table_has(splits_of):
    with pytest.raises(ProjectError) as caught:
        splits_of(replace=("site = ['north', 'south']\nshift = ['early', 'late', 'night']", "site = []\nshift = []"))

    for line in ('"site" = ["north", "south"]', "range = [-1, 2]", f'unit = "{mixed.UNIT}"'):
        assert line in str(caught.value).splitlines()


def test_what_is_asked_for_is_accepted(splits_of, tmp_path):
    """The lines of the message, put where they belong, are the contract."""
    with pytest.raises(ProjectError) as caught:
        splits_of(replace=("site = ['north', 'south']\nshift = ['early', 'late', 'night']", "site = []\nshift = []"))
    lines = str(caught.value).splitlines()
    start = lines.index("[data.categories]")
    listed = "\n".join(lines[start + 1 : start + 3])
    shutil.rmtree(tmp_path / "wear")

    splits_of(replace=("site = ['north', 'south']\nshift = ['early', 'late', 'night']", listed))


def test_a_column_of_rare_categories_only_is_no_category(splits_of):
    def change(rows):
        for index, row in enumerate(rows):
            row["site"] = f"site {index}"

    with pytest.raises(ProjectError, match=r"expected categories with at least 10 items each .* found none in 'site'"):
        splits_of(change, replace=("site = ['north', 'south']", "site = []"))


def test_indices_and_what_is_learned():
    assert category_indices(["b", None, "x", "a"], ("a", "b")).tolist() == [1, -1, -1, 0]
    assert learned_categories(["b"] * 10 + ["a"] * 11 + ["c"] * 9 + [None] * 50) == ("a", "b")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs time.tzset, which only Unix has")
def test_times_without_an_offset_do_not_depend_on_the_machine(splits_of, monkeypatch):
    """In a zone with summer time, an hour of this night does not exist; read as local times, two hours would be one."""

    def march(rows):
        for index, row in enumerate(rows):
            row["taken_at"] = f"2025-03-30T{index // 60:02d}:{index % 60:02d}"
        return rows

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        splits = splits_of(march, data='time = "taken_at"')
    finally:
        monkeypatch.undo()
        time.tzset()
    order = {np.float32(row["temperature_c"]): place for place, row in enumerate(ROWS)}
    names = [order[value] for value in splits.train.inputs["numbers"][:, 0]]
    assert names == list(range(180))
