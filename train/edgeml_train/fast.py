"""``edgeml train --fast``: what the ``[fast]`` table of edgeml.toml sets, so that a first result takes minutes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from edgeml_runtime.errors import ContractError, Fault
from edgeml_train.overrides import apply_overrides
from edgeml_train.settings import TrainSettings

__all__ = ["DEFAULT_EPOCHS", "FastRun", "check_fast", "fast_run"]

DEFAULT_EPOCHS = 3
"""Epochs of a fast run where edgeml.toml does not say."""

Tables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FastRun:
    """What ``--fast`` sets.

    Attributes:
        overrides: ``KEY=VALUE`` strings, as ``--set`` takes them.
        default: Whether edgeml.toml has no ``[fast]`` table, so that edgeml chose.
    """

    overrides: tuple[str, ...]
    default: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {"overrides": list(self.overrides), "default": self.default}


def fast_run(table: Tables | None, train: Mapping[str, Any], *, source: str) -> FastRun:
    """What ``--fast`` sets in one project.

    Args:
        table: The ``[fast]`` table: ``data`` and ``train``, key → value; None where there is none.
        train: The ``[train]`` table.
        source: Name of the file, for the message.

    Returns:
        The overrides; without a table, :data:`DEFAULT_EPOCHS` where the project has more.

    Raises:
        ContractError: When the table has faults; see :func:`check_fast`.
    """
    if table is None:
        short = TrainSettings.parse(train, source=source).epochs <= DEFAULT_EPOCHS
        return FastRun(overrides=() if short else (f"train.epochs={DEFAULT_EPOCHS}",), default=True)
    check_fast(table, source=source)
    return FastRun(overrides=_overrides(table), default=False)


def check_fast(table: Tables | None, *, source: str) -> None:
    """Check a ``[fast]`` table, whether it is used or not.

    Args:
        table: The table, or None where there is none.
        source: Name of the file, for the message.

    Raises:
        ContractError: With every setting of training that is unknown or out of its range, and every key that ``--set``
            could not write.
    """
    if table is None:
        return
    TrainSettings.parse(table["train"], source=source, table="fast.train")
    data, train = apply_overrides({}, {}, _overrides(table))
    faults = [
        Fault(f"fast.{name}.{key}", f"what can be given as --set {name}.KEY=VALUE", repr(value))
        for name, again in (("data", data), ("train", train))
        for key, value in table[name].items()
        if again.get(key) != value
    ]
    if faults:
        raise ContractError(source, tuple(faults))


def _overrides(table: Tables) -> tuple[str, ...]:
    return tuple(f"{name}.{key}={_toml(value)}" for name in ("train", "data") for key, value in table[name].items())


def _toml(value: Any) -> str:
    """A value that was read from TOML, as TOML again."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)
    # Strings, integers and booleans are written the same in JSON and in TOML.
    return json.dumps(value, ensure_ascii=False)
