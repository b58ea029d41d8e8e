"""Typed getters over nested tables, with a collector that reports every fault at once.

Every getter takes the collector along: a value that does not fit is noted with its key path, and a harmless stand-in
comes back so that reading goes on and finds the other faults.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from edgeml_runtime.errors import ContractError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeGuard

__all__ = ["UNFILLED", "FaultCollector", "Table", "describe", "is_number", "key_path", "near"]

UNFILLED = "?"
"""What stands for a value that is still to be filled in, whatever its type."""

_E = TypeVar("_E", bound=Enum)
_T = TypeVar("_T")
_MISSING = object()
_LARGEST = 3.4028234663852886e38  # the largest float32: no limit or edge of a tensor lies beyond


class FaultCollector:
    """Gathers faults; :meth:`raise_if_any` ends the reading."""

    __slots__ = ("_faults",)

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, path: str, expected: str, found: str, question: str | None = None) -> None:
        """Note one fault (see :class:`~edgeml_runtime.errors.Fault`)."""
        self._faults.append(Fault(path, expected, found, question))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults so far, in the order found."""
        return tuple(self._faults)

    def clean(self, *paths: str) -> bool:
        """Whether no fault lies at, inside or around any of the key paths, so that their values can be judged."""
        return not any(
            _within(fault.path, path) or _within(path, fault.path) for fault in self._faults for path in paths
        )

    def raise_if_any(self, source: str) -> None:
        """Raise :class:`ContractError` with all faults, or do nothing when there are none.

        Args:
            source: Name of the file or document the faults are in.
        """
        if self._faults:
            raise ContractError(source, self.faults)


class Table:
    """One table of the file: reads keys by type, and knows which were read.

    Args:
        data: The table; anything else is a fault and reads as an empty table.
        path: Its key path; empty for the whole file.
        faults: Where faults go.
    """

    __slots__ = ("_read", "data", "faults", "ok", "path")

    def __init__(self, data: object, path: str, faults: FaultCollector) -> None:
        self.path = path
        self.faults = faults
        self.ok = isinstance(data, dict)
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        self._read: set[str] = set()
        if not self.ok and data is not _MISSING:
            faults.add(path, "a table", describe(data))

    def at(self, key: str) -> str:
        """Key path of a key of this table."""
        return key_path(self.path, key)

    def has(self, key: str) -> bool:
        """Whether the key is given; it counts as read."""
        self._read.add(key)
        return key in self.data

    def text(self, key: str, default: str | None = None, question: str | None = None) -> str:
        """A string that is not blank, or the default where the key is not given."""
        value = self._take(key, "a string", default, question)
        if isinstance(value, str) and (value.strip() or value == default):
            return value
        expected = "a string that is not empty" if isinstance(value, str) else "a string"
        return self._refuse(key, expected, value, "", question)

    def integer(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``."""
        value = self._take(key, f"an integer from {low} to {high}", default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        return self._refuse(key, f"an integer from {low} to {high}", value, low)

    def number(
        self, key: str, default: float | None = None, *, low: float, high: float, question: str | None = None
    ) -> float:
        """A finite number from ``low`` to ``high``."""
        expected = f"a number from {low:g} to {high:g}"
        value = self._take(key, expected, default, question)
        if is_number(value) and low <= value <= high:
            return float(value) + 0.0  # no negative zero: it equals zero, but is spelled otherwise
        return self._refuse(key, expected, value, float(low), question)

    def boolean(self, key: str, default: bool) -> bool:
        """``true`` or ``false``."""
        value = self._take(key, "true or false", default)
        return value if isinstance(value, bool) else self._refuse(key, "true or false", value, default)

    def member(self, key: str, kind: type[_E], default: _E | None = None, question: str | None = None) -> _E:
        """One of an enumeration's values."""
        members = {str(item.value): item for item in kind}
        expected = f"one of {', '.join(members)}"
        value = self._take(key, expected, default, question)
        if isinstance(value, kind):
            return value
        if isinstance(value, str) and value in members:
            return members[value]
        if value is not _MISSING:
            hint = near(value, members) if isinstance(value, str) else ""
            self.faults.add(self.at(key), expected, describe(value) + hint, question)
        return next(iter(members.values()))

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of strings that are not blank and not given twice; a fault names the place in the list."""
        value = self._take(key, "a list of strings", default)
        if not isinstance(value, list | tuple):
            return self._refuse(key, "a list of strings", value, ())
        first: dict[str, int] = {}
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                self.faults.add(f"{self.at(key)}[{index}]", "a string that is not empty", describe(item))
            elif (same := first.setdefault(item, index)) != index:
                found = f"{describe(item)}, which {self.at(key)}[{same}] has"
                self.faults.add(f"{self.at(key)}[{index}]", "a value of its own", found)
        return tuple(item if isinstance(item, str) else "" for item in value)

    def numbers(self, key: str, expected: str, question: str | None = None) -> tuple[float, ...]:
        """A list of finite numbers; ``expected`` says what they are in the fault."""
        value = self._take(key, expected, None, question)
        if isinstance(value, list | tuple) and all(is_number(item) for item in value):
            return tuple(float(item) + 0.0 for item in value)
        return self._refuse(key, expected, value, (), question)

    def table(self, key: str, *, required: bool = False, question: str | None = None) -> Table:
        """A table inside this one; where it is required but missing, that is one fault, and its keys are none."""
        value = self._take(key, "a table", None if required else {}, question)
        return Table(value, self.at(key), self.faults)

    def items(self, key: str, *, required: bool, question: str | None = None) -> list[Any]:
        """A list of tables; each is still to be read."""
        expected = (
            f"at least one table, written [[{self.at(key)}]]" if required else f"tables, written [[{self.at(key)}]]"
        )
        value = self._take(key, expected, None if required else [], question)
        if isinstance(value, list | tuple) and (value or not required):
            return list(value)
        return self._refuse(key, expected, value, [], question)

    def refuse_unknown(self) -> None:
        """Note every key of the table that was never asked for, with the nearest that is known."""
        for key in self.data:
            if key not in self._read:
                known = sorted(self._read)
                self.faults.add(
                    self.at(str(key)), f"one of {', '.join(known)}", f"an unknown key{near(str(key), known)}"
                )

    def _take(self, key: str, expected: str, default: object, question: str | None = None) -> Any:
        self._read.add(key)
        if self.data.get(key) == UNFILLED:
            self.faults.add(self.at(key), expected, f"{UNFILLED!r}: still to be filled in", question)
            return _MISSING
        if key in self.data:
            return self.data[key]
        if default is None:
            if self.ok:
                self.faults.add(self.at(key), expected, "nothing", question)
            return _MISSING
        return default

    def _refuse(self, key: str, expected: str, value: object, instead: _T, question: str | None = None) -> _T:
        if value is not _MISSING:
            self.faults.add(self.at(key), expected, describe(value), question)
        return instead


def key_path(parent: str, key: str) -> str:
    """The path of a key inside a table (the file itself where ``parent`` is empty), quoted where TOML wants that."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    key = key if bare else f'"{key}"'
    return f"{parent}.{key}" if parent else key


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is an integer or float that is finite and within float32's range."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def describe(value: object) -> str:
    """A value as a fault shows it, cut short where it is long."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 192:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to spell out the largest ones
    if isinstance(value, list | tuple) and len(value) > 8:
        return f"a list of {len(value)}"
    text = "[" + ", ".join(map(describe, value)) + "]" if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def near(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, or nothing."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def _within(inner: str, outer: str) -> bool:
    return inner == outer or (inner.startswith(outer) and inner[len(outer)] in ".[")
