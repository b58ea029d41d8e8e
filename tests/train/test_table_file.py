"""Tables on disk: what CSV and Parquet files become, and which of them are refused."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from pyarrow import parquet

from edgeml_runtime.errors import ProjectError
from edgeml_train.data.table_file import read_table


def read_text(tmp_path, text, name="table.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return read_table(path)


def test_columns_are_text_and_what_is_missing_is_none(tmp_path):
    table = read_text(tmp_path, 'a, b ,c\n1, x y ,NA\n2.50,,"q,""r"""\n')

    assert table.header == ("a", "b", "c")
    assert table.columns == {"a": ("1", "2.50"), "b": ("x y", None), "c": (None, 'q,"r"')}
    assert (table.rows, table.faults, table.place, table.places) == (2, (), "line", [2, 3])


@pytest.mark.parametrize("word", ["", " ", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"])
def test_words_for_missing(tmp_path, word):
    assert read_text(tmp_path, f"a,b\n1,{word}\n").columns["b"] == (None,)


def test_lines_are_counted_as_an_editor_does(tmp_path):
    """Fields over several lines, Windows line ends, a byte order mark and empty lines between."""
    table = read_text(tmp_path, '\ufeffa,b\r\n"one\r\ntwo",1\r\n\r\n3,4\r\n')

    assert table.header == ("a", "b")
    assert table.places == [3, 5]


def test_parquet_gives_what_the_same_csv_gives(tmp_path):
    moment = dt.datetime(2025, 1, 2, 3, 4)  # noqa: DTZ001 - as files hold it
    columns = {
        "number": [0.1, None],
        "count": [3, 4],
        "text": ["north ", None],
        "when": [moment, moment],
        "yes": [True, False],
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")

    assert table.columns == {
        "number": ("0.1", None),
        "count": ("3", "4"),
        "text": ("north", None),
        "when": ("2025-01-02T03:04:00",) * 2,
        "yes": ("True", "False"),
    }
    assert (table.place, list(table.places)) == ("row", [1, 2])


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_numbers_of_parquet_read_back_the_same(tmp_path, kind):
    values = pa.array([0.1, 1e-30, 12345.678, float("nan"), None], kind)
    parquet.write_table(pa.table({"x": values}), tmp_path / "t.parquet")
    texts = read_table(tmp_path / "t.parquet").columns["x"]

    assert texts[3:] == (None, None)
    assert [float(text) for text in texts[:3]] == values.to_pylist()[:3]


def test_a_column_that_stands_twice_is_a_fault(tmp_path):
    table = read_text(tmp_path, "a,b,a\n1,2,3\n")

    assert table.faults == ("expected every column's name once, found twice or more: 'a'",)
    assert table.columns["a"] == ("1",)


def test_rows_of_another_length_are_a_fault(tmp_path):
    rows = "1,2,3\n4,5\n6,7\n8\n9\n0"
    (fault,) = read_text(tmp_path, f"a,b\n{rows}\n").faults

    assert fault == "expected 2 fields in every row, found 3 in line 2, 1 in line 5, 1 in line 6 and 1 more"


def test_semicolons_are_named(tmp_path):
    assert any("found semicolons" in fault for fault in read_text(tmp_path, "a;b\n1;2\n").faults)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "expected a table, found an empty file"),
        ("t.parquet", b"", "expected a table, found an empty file"),
        ("t.csv", b"a,b\n", "at least one row below them, found no rows"),
        ("t.csv", b"\n\n", "at least one row below them, found no rows"),
        ("t.csv", b"a,b\n1,\xff\n", "expected text in UTF-8, found invalid start byte. Save the table as UTF-8"),
        ("t.csv", b'a,b\n1,"2\n', "expected comma-separated values, found unexpected end of data"),
        ("t.csv", b'a,b\n1,"2"3\n', "expected comma-separated values, found"),
        ("t.parquet", b"PAR1 but not really PAR1", r"t\.parquet: "),
        ("t.parquet", b"a,b\n1,2\n", "expected a Parquet file, found what pyarrow cannot read"),
        ("t.xlsx", b"PK", r"expected a file \*\.csv or \*\.parquet, found '\.xlsx'"),
        ("table", b"a,b\n1,2\n", "found 'no suffix'"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ProjectError, match=message):
        read_table(path)


def test_parquet_without_rows_is_refused(tmp_path):
    parquet.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "t.parquet")
    with pytest.raises(ProjectError, match="found no rows"):
        read_table(tmp_path / "t.parquet")


def test_a_cut_parquet_file_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ProjectError, match=r"t\.parquet"):
        read_table(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ProjectError, match=r"cannot be read: .*Correct data\.path"):
        read_table(tmp_path / "t.csv")
