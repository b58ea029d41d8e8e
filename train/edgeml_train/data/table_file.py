"""Tables on disk: a CSV or Parquet file as columns of text, with the faults of its form."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["MISSING", "RawTable", "read_table"]

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"})
"""What stands for a missing value in a CSV file, white space around it apart."""

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """The columns of a file.

    Attributes:
        path: The file.
        header: Its columns' names, in order, as they stand there.
        columns: Name → text of every row, None where missing; of columns with the same name, the first.
        places: Where each item stands: line of a CSV file, row of a Parquet file, both from 1.
        place: ``"line"`` or ``"row"``.
        faults: What is wrong with the file's form.
    """

    path: Path
    header: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]]
    places: Sequence[int]
    place: str
    faults: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Number of items."""
        return len(next(iter(self.columns.values())))


def read_table(path: Path) -> RawTable:
    """Read a table whole.

    Args:
        path: ``*.csv`` in UTF-8, commas between fields and names in the first line, or ``*.parquet``.

    Returns:
        Its columns as text; numbers of a Parquet file are written so that they read back the same.

    Raises:
        ProjectError: When it is no such file, cannot be read, or has no rows.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ProjectError(f"{path}: expected a file *.csv or *.parquet, found {path.suffix or 'no suffix'!r}.")
    try:
        if path.stat().st_size == 0:
            raise ProjectError(f"{path}: expected a table, found an empty file.")
        table = reader(path)
    except OSError as error:
        raise ProjectError(f"{path}: cannot be read: {error}. Correct data.path, or get access to the file.") from error
    if not table.header or table.rows == 0:
        raise ProjectError(f"{path}: expected names of columns and at least one row below them, found no rows.")
    return table


def _read_csv(path: Path) -> RawTable:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(name.strip() for name in next(reader, []))
            numbered = [(reader.line_num, fields) for fields in reader if fields]
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path}: expected text in UTF-8, found {error.reason}. Save the table as UTF-8.") from error
    except csv.Error as error:
        raise ProjectError(f"{path}: expected comma-separated values, found {error}.") from error
    ragged = [(line, len(fields)) for line, fields in numbered if len(fields) != len(header)]
    if ragged:
        shown = ", ".join(f"{count} in line {line}" for line, count in ragged[:_SHOWN])
        faults = [f"expected {len(header)} fields in every row, found {shown}{_more(len(ragged))}"]
    else:
        faults = []
    if len(header) == 1 and ";" in header[0]:
        faults.append("expected commas between fields, found semicolons; save the table with commas")
    width = len(header)
    rows = [(fields + [""] * width)[:width] for _, fields in numbered]
    cells = [tuple(_text(field) for field in column) for column in zip(*rows, strict=True)] or [()] * width
    return _table(path, header, cells, [line for line, _ in numbered], "line", faults)


def _read_parquet(path: Path) -> RawTable:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        content = parquet.read_table(path, use_threads=False, partitioning=None)
    except pa.ArrowException as error:
        raise ProjectError(f"{path}: expected a Parquet file, found what pyarrow cannot read: {error}.") from error
    cells = [tuple(_written(value) for value in column.to_pylist()) for column in content.columns]
    return _table(path, tuple(content.column_names), cells, range(1, len(content) + 1), "row", [])


def _table(
    path: Path,
    header: tuple[str, ...],
    cells: list[tuple[str | None, ...]],
    places: Sequence[int],
    place: str,
    faults: list[str],
) -> RawTable:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        faults = [*faults, f"expected every column's name once, found twice or more: {', '.join(map(repr, twice))}"]
    columns: dict[str, tuple[str | None, ...]] = {}
    for name, values in zip(header, cells, strict=True):
        columns.setdefault(name, values)
    return RawTable(path=path, header=header, columns=columns, places=places, place=place, faults=tuple(faults))


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""


def _text(field: str) -> str | None:
    stripped = field.strip()
    return None if stripped in MISSING else stripped


def _written(value: Any) -> str | None:
    """A value of a Parquet file as a CSV file would hold it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value).strip()
