"""Time series from files: one CSV per machine, and the times at which something was wrong with it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Event", "Series", "find_series", "read_series"]

_COLUMNS = ("timestamp", "value")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Event:
    """A time in which something was wrong.

    Attributes:
        start: First moment, in seconds since 1970.
        end: Last moment, in seconds since 1970, inclusive.
    """

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The readings of one machine.

    Attributes:
        name: The file's path inside the data folder, without its ending.
        times: [n] int64, seconds since 1970, strictly increasing.
        values: [n] float64, finite.
        events: When something was wrong, in order.
        left_out: What is wrong with each reading that was left out; every message names file and line.
        readings: Readings in the file, those left out included.
    """

    name: str
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    events: tuple[Event, ...]
    left_out: tuple[str, ...]
    readings: int


def find_series(folder: Path, patterns: Sequence[str], *, max_left_out: float) -> tuple[Series, ...]:
    """Read the series of a folder laid out as the Numenta Anomaly Benchmark is (github.com/numenta/NAB).

    ``data`` holds CSV files with the columns ``timestamp`` and ``value``, in folders or not;
    ``labels/combined_windows.json`` gives the events of every file by its path inside ``data``: a list of
    ``[start, end]``. A file that it does not name is refused, because nobody has said whether it has events; one with
    an empty list has none.

    Args:
        folder: The folder.
        patterns: Which files, as paths inside ``data`` with ``*`` and ``?``.
        max_left_out: Largest share of a series' readings that may be out of order, from 0 to 1.

    Returns:
        The series, by name.

    Raises:
        ProjectError: When something is missing or malformed, a pattern names nothing, a file has no labels, or too many
            readings have to be left out.
    """
    root, labels = folder / "data", folder / "labels" / "combined_windows.json"
    for path, what in ((root, "a folder of CSV files"), (labels, "a file with the events of every series")):
        if not path.exists():
            raise ProjectError(f"{path}: expected {what}, found nothing; see docs/datasets.md for the layout")
    windows = _read_windows(labels)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.csv"))
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matching = [name for name in names if fnmatch(name, pattern) or fnmatch(name, f"{pattern}.csv")]
        if not matching:
            raise ProjectError(
                f"data.series: expected {pattern!r} to name CSV files below {root}, found none; there are "
                f"{', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}"
            )
        chosen.update(dict.fromkeys(matching))
    unlabelled = [name for name in sorted(chosen) if name not in windows]
    if unlabelled:
        raise ProjectError(
            f"{labels}: expected the events of {unlabelled[0]!r} (an empty list where it has none), found none; "
            "add them, or leave the series out in data.series"
        )
    return tuple(
        read_series(root / name, name.removesuffix(".csv"), windows[name], max_left_out=max_left_out)
        for name in sorted(chosen)
    )


def read_series(path: Path, name: str, events: Sequence[Event], *, max_left_out: float) -> Series:
    """Read one CSV file with the columns ``timestamp`` and ``value``.

    Readings whose time is not after that of every reading before them (clocks are set back, loggers repeat themselves)
    are left out and named. A time or value that cannot be read is refused.

    Args:
        path: The file.
        name: What to call the series.
        events: When something was wrong.
        max_left_out: Largest share of readings that may be left out, from 0 to 1.

    Returns:
        The series.

    Raises:
        ProjectError: When the file is unreadable, empty or malformed, or too many readings have to be left out.
    """
    rows = _read_rows(path)
    times: list[int] = []
    values: list[float] = []
    left_out: list[str] = []
    for line, stamp, text in rows:
        time, value = _parse_time(path, line, stamp), _parse_value(path, line, text)
        if times and time <= times[-1]:
            how = "repeats" if time == times[-1] else "goes back behind"
            left_out.append(f"{path.name}, line {line}: {stamp} {how} the time of the reading before it")
        else:
            times.append(time)
            values.append(value)
    if len(left_out) > max_left_out * len(rows):
        raise ProjectError(
            f"{path}: expected at most {max_left_out:.1%} of {len(rows)} readings out of order (data.max_left_out), "
            f"found {len(left_out)}: {'; '.join(left_out[:_SHOWN])}{' …' if len(left_out) > _SHOWN else ''}. "
            "Sort the file and drop what repeats, or raise data.max_left_out"
        )
    return Series(
        name=name,
        times=np.array(times, np.int64),
        values=np.array(values, np.float64),
        events=tuple(sorted(events, key=lambda event: event.start)),
        left_out=tuple(left_out),
        readings=len(rows),
    )


def _read_rows(path: Path) -> list[tuple[int, str, str]]:
    """Line number, time and value of every reading."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                raise ProjectError(f"{path}: expected the columns {', '.join(_COLUMNS)}, found {header or 'nothing'}")
            time, value = (header.index(column) for column in _COLUMNS)
            rows = []
            for row in reader:
                if row and len(row) <= max(time, value):
                    raise ProjectError(f"{path}, line {reader.line_num}: expected {len(header)} cells, found {row}")
                if row:
                    rows.append((reader.line_num, row[time].strip(), row[value].strip()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProjectError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise ProjectError(f"{path}: expected at least one reading, found none")
    return rows


def _parse_time(where: Path, line: int | str, text: str) -> int:
    """Seconds since 1970 of a time without a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ProjectError(
            f"{where}, line {line}: expected a time such as 2014-02-14 14:30:00, found {text!r}"
        ) from None
    if moment.tzinfo is not None:
        raise ProjectError(f"{where}, line {line}: expected a time without a zone, found {text!r}; convert all to UTC")
    return int(np.datetime64(moment, "s").astype(np.int64))


def _parse_value(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ProjectError(f"{path}, line {line}: expected a finite number, found {text!r}; drop the line")
    return value


def _read_windows(path: Path) -> dict[str, tuple[Event, ...]]:
    try:
        document: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ProjectError(f'{path}: expected {{"FILE.csv": [["START", "END"], …]}}, found {type(document).__name__}')
    return {name: tuple(_parse_event(path, name, pair) for pair in pairs) for name, pairs in document.items()}


def _parse_event(path: Path, name: str, pair: Any) -> Event:
    if not isinstance(pair, list) or len(pair) != len(_COLUMNS) or not all(isinstance(text, str) for text in pair):
        raise ProjectError(f"{path}: expected [start, end] of each event of {name!r}, found {pair!r}")
    event = Event(*(_parse_time(path, name, text) for text in pair))
    if event.end < event.start:
        raise ProjectError(f"{path}: expected an event of {name!r} to end after it starts, found {pair!r}")
    return event
