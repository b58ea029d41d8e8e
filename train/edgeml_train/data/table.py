"""A table as splits: columns by the schema in edgeml.toml, every fault of the file at once, categories as indices."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate.data import LabelledData
from edgeml_runtime.errors import ProjectError
from edgeml_train.data.table_file import RawTable, read_table
from edgeml_train.data.table_schema import TableSchema, learned_lines
from edgeml_train.data.table_split import MIN_PER_CLASS, split_rows
from edgeml_train.task import Splits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec

__all__ = ["RARE", "category_indices", "learned_categories", "load_table"]

Array = NDArray[Any]

RARE = 10
"""Categories with fewer training items are left in the unknown bin by :func:`learned_categories`."""

_SHOWN = 3
_SHOWN_NAMES = 8
_MISSING = "missing"
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """What was read of the columns; rows with a fault hold NaN or 0."""

    numbers: Array
    targets: Array
    times: Array | None


def load_table(path: Path, contract: Contract, data: Mapping[str, Any]) -> Splits:
    """Read a table and split it: 60 % for training, 15 % for validation, 25 % for the test.

    Where the contract has ``groups.key``, whole groups are drawn; where ``[data]`` has ``time``, the oldest rows train
    and the newest test; otherwise rows are drawn, class by class.

    Args:
        path: ``*.csv`` or ``*.parquet``, see :func:`edgeml_train.data.table_file.read_table`.
        contract: The contract.
        data: The ``[data]`` table, see :class:`TableSchema`, and ``seed`` of the split (default 0).

    Returns:
        The splits. Categories that are missing or not listed are the index -1; columns that slices and groups name are
        attributes.

    Raises:
        ContractError: When ``[data]`` and the contract do not fit, with every fault.
        ProjectError: When the table cannot be used, with every fault; or when categories are still to be learned:
            the message is then what to write into edgeml.toml.
    """
    schema = TableSchema.parse(contract, data)
    raw = read_table(path)
    faults = list(raw.faults)
    missing = [name for name in schema.columns if name not in raw.columns]
    if missing:
        faults.append(f"expected the columns {_names(missing)}, found {_names(raw.header)}")
    columns = _read_columns(raw, schema, faults)
    groups = _attribute(raw, schema.group) if schema.group and schema.group in raw.columns else None
    if groups is not None and _MISSING in groups:
        faults.append(f"column {schema.group!r}: expected a group in every row, found rows without one")
    _refuse(path, faults)
    parts, name = split_rows(
        columns.targets if schema.labels else None,
        raw.rows,
        path=path,
        groups=groups,
        group_name=schema.group,
        times=columns.times,
        seed=int(data.get("seed", 0)),
    )
    _check_categories(raw, schema, parts[0])
    items = _labelled(raw, schema, columns)
    train, validation, test = (items.take(part) for part in parts)
    return Splits(train=train, validation=validation, test=test, name=name)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(map(repr, names[:_SHOWN_NAMES])) + more


def category_indices(values: Sequence[str | None], categories: Sequence[str]) -> NDArray[np.int32]:
    """Categories as an application hands them in.

    Args:
        values: Texts, None where missing.
        categories: The categories, in the order of their indices.

    Returns:
        int32 [n]: the index, or -1 for what is missing or not listed.
    """
    index = {category: position for position, category in enumerate(categories)}
    return np.array([-1 if value is None else index.get(value, -1) for value in values], dtype=np.int32)


def learned_categories(values: Sequence[str | None]) -> tuple[str, ...]:
    """The categories that occur often enough in training to have an index of their own.

    Args:
        values: Texts of the training split, None where missing.

    Returns:
        Those with at least :data:`RARE` items, in alphabetical order.
    """
    counts = Counter(value for value in values if value is not None)
    return tuple(sorted(value for value, count in counts.items() if count >= RARE))


def _refuse(path: Path, faults: Sequence[str]) -> None:
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ProjectError(
            f"{path}: {len(faults)} fault(s) in the table\n{lines}\nCorrect the table, or what edgeml.toml says of it."
        )


def _read_columns(raw: RawTable, schema: TableSchema, faults: list[str]) -> _Columns:
    """Numbers, targets and times of the columns that are there; their faults are added to ``faults``."""
    there = [name for name in schema.numbers if name in raw.columns]
    numbers = [_numbers(raw, name, spec, faults) for name in there] if (spec := schema.number_input) else []
    targets = np.zeros(raw.rows)
    if schema.target in raw.columns:
        targets = _labels(raw, schema, faults) if schema.labels else _values(raw, schema.target, faults)
    times = None
    if schema.time and schema.time in raw.columns:
        times = _times(raw, schema.time, faults)
    stacked = np.stack(numbers, axis=1) if numbers else np.zeros((raw.rows, 0))
    return _Columns(numbers=stacked.astype(np.float32), targets=targets, times=times)


def _numbers(raw: RawTable, name: str, spec: InputSpec, faults: list[str]) -> Array:
    required = f"a number in every row, because the input {spec.name!r} has no allow_missing"
    expected = "numbers" if spec.allow_missing else required
    values = _parsed(raw, name, _number, expected, faults, required=not spec.allow_missing)
    texts = raw.columns[name]
    if spec.allow_missing and all(text is None for text in texts):
        faults.append(f"column {name!r}: expected numbers, found no value in any row")
    low, high = spec.range
    outside = np.flatnonzero((values < low) | (values > high)).tolist()
    if outside:
        found = _places(raw, [(row, str(texts[row])) for row in outside])
        within = f"{low:g} to {high:g}, the range of the input {spec.name!r}"
        faults.append(f"column {name!r}: expected {within}, found {found}")
    return values


def _values(raw: RawTable, name: str, faults: list[str]) -> Array:
    return _parsed(raw, name, _number, "a number in every row", faults, required=True).astype(np.float32)


def _parsed(
    raw: RawTable, name: str, parse: Callable[[str], float], expected: str, faults: list[str], *, required: bool
) -> Array:
    """Every value of a column, NaN where missing; what does not parse is one fault that names the first rows."""
    found, wrong = np.full(raw.rows, np.nan), []
    for row, text in enumerate(raw.columns[name]):
        if text is None:
            if required:
                wrong.append((row, "nothing"))
            continue
        try:
            found[row] = parse(text)
        except ValueError:
            wrong.append((row, repr(text)))
    if wrong:
        faults.append(f"column {name!r}: expected {expected}, found {_places(raw, wrong)}")
    return found


def _number(text: str) -> float:
    value = float(text)
    # float() also takes words for infinity, and a digit with underscores.
    if not math.isfinite(value) or "_" in text or abs(value) > _LARGEST:
        raise ValueError(text)
    return value


def _times(raw: RawTable, name: str, faults: list[str]) -> Array:
    """Times that can be ordered: all numbers, all with an offset from UTC, or all without one."""
    texts = [text for text in raw.columns[name] if text is not None]
    parse, expected = _moment, "times as ISO 8601, or as numbers"
    if all(_is_number(text) for text in texts):
        parse = _number
    values = _parsed(raw, name, parse, expected, faults, required=True)
    if parse is _moment and not np.isnan(values).any():
        offsets = {datetime.fromisoformat(text).tzinfo is None for text in texts}
        if len(offsets) > 1:
            faults.append(f"column {name!r}: expected every time with an offset from UTC, or none, found both")
    return values


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _moment(text: str) -> float:
    """Seconds; a time without an offset counts as UTC, because only the order matters, on whatever machine."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _labels(raw: RawTable, schema: TableSchema, faults: list[str]) -> Array:
    """Class indices; labels out of the list, and classes too small to be in every split, are faults."""
    texts = raw.columns[schema.target]
    indices = category_indices(texts, schema.labels)
    wrong = [(row, repr(texts[row]) if texts[row] else "nothing") for row in np.flatnonzero(indices < 0).tolist()]
    known = ", ".join(map(repr, schema.labels))
    if wrong:
        faults.append(f"column {schema.target!r}: expected one of {known}, found {_places(raw, wrong)}")
    for label, count in zip(
        schema.labels, np.bincount(indices[indices >= 0], minlength=len(schema.labels)), strict=True
    ):
        if count < MIN_PER_CLASS:
            faults.append(
                f"column {schema.target!r}: expected at least {MIN_PER_CLASS} items of the class {label!r}, so that "
                f"training and test have one, found {count}"
            )
    return indices.astype(np.int64)


def _places(raw: RawTable, wrong: Sequence[tuple[int, str]]) -> str:
    shown = ", ".join(f"{text} in {raw.place} {raw.places[row]}" for row, text in wrong[:_SHOWN])
    return shown + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")


def _attribute(raw: RawTable, name: str) -> Array:
    return np.array([_MISSING if text is None else text for text in raw.columns[name]])


def _check_categories(raw: RawTable, schema: TableSchema, train: Array) -> None:
    """Refuse lists that are still empty, and listed categories that no training item has."""
    texts_of = {name: [raw.columns[name][row] for row in train.tolist()] for name in schema.categories}
    if not all(schema.categories.values()):
        learned = {name: listed or learned_categories(texts_of[name]) for name, listed in schema.categories.items()}
        _ask_for_categories(raw.path, schema, learned)
    faults = []
    for name, listed in schema.categories.items():
        texts = texts_of[name]
        never = [category for category in listed if category not in set(texts)]
        if never:
            faults.append(
                f"column {name!r}: expected every category of data.categories in the training split, because the model "
                f"learns nothing of others, found none with {', '.join(map(repr, never))}"
            )
    _refuse(raw.path, faults)


def _ask_for_categories(path: Path, schema: TableSchema, learned: Mapping[str, Sequence[str]]) -> None:
    none = [name for name, listed in learned.items() if not listed]
    if none:
        raise ProjectError(
            f"{path}: expected categories with at least {RARE} items each in the training split, found none in "
            f"{_names(none)}. Take the column out of data.categories, or list its categories there."
        )
    raise ProjectError(
        f"{path}: expected every category in data.categories, found empty lists. Those with at least {RARE} items in "
        f"the training split are:\n\n{learned_lines(schema, learned)}\n\nWrite this into edgeml.toml; what is not "
        "listed counts as unknown."
    )


def _labelled(raw: RawTable, schema: TableSchema, columns: _Columns) -> LabelledData:
    inputs: dict[str, Array] = {}
    if schema.number_input:
        inputs[schema.number_input.name] = columns.numbers
    if schema.category_input:
        indices = [category_indices(raw.columns[name], listed) for name, listed in schema.categories.items()]
        inputs[schema.category_input.name] = np.stack(indices, axis=1)
    attributes = {name: _attribute(raw, name) for name in schema.attributes}
    return LabelledData(inputs=inputs, targets=columns.targets, attributes=attributes)
