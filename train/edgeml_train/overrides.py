"""Settings given for one run: ``--set KEY=VALUE``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["apply_overrides"]


def apply_overrides(
    data: Mapping[str, Any], train: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Apply ``--set`` overrides to the ``[data]`` and ``[train]`` tables.

    Args:
        data: The ``[data]`` table.
        train: The ``[train]`` table.
        overrides: ``data.KEY=VALUE`` or ``train.KEY=VALUE``; the value as TOML, or a bare word.

    Returns:
        New tables (data, train).

    Raises:
        InputError: When an override is not of this form.
    """
    tables = {"data": dict(data), "train": dict(train)}
    for override in overrides:
        key, equals, text = override.partition("=")
        table, dot, name = key.strip().partition(".")
        if not equals or not dot or not name or table not in tables:
            raise InputError(
                f"--set {override!r}: expected data.KEY=VALUE or train.KEY=VALUE, such as data.split=authors"
            )
        tables[table][name] = _toml_value(text.strip())
    return tables["data"], tables["train"]


def _toml_value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text
