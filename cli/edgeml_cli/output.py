"""Printing results: one JSON object, or text a person enjoys at 80 columns."""

from __future__ import annotations

import json
import math
import sys
from enum import Enum
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from edgeml_cli.session import Session

__all__ = ["emit", "json_text", "note"]


def emit(session: Session, report: Mapping[str, Any], render: Callable[[Console], None]) -> None:
    """Print a command's result on stdout.

    Args:
        session: Decides between JSON and text.
        report: The result as values that JSON knows, numpy scalars and paths allowed.
        render: Prints the same result for a person.
    """
    if session.as_json:
        sys.stdout.write(json_text(report) + "\n")
        sys.stdout.flush()
        return
    from rich.console import Console

    render(Console(highlight=False, soft_wrap=False))


def note(session: Session, message: str) -> None:
    """Say something on stderr, unless the output is for a program.

    Args:
        session: ``--json`` silences it.
        message: One line.
    """
    if not session.as_json:
        sys.stderr.write(message + "\n")


def json_text(report: Mapping[str, Any]) -> str:
    """The report as one JSON object; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_plain(report), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, PathLike):
        return fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if hasattr(value, "keys"):
        return {str(key): _plain(value[key]) for key in value.keys()}  # noqa: SIM118 - any Mapping
    raise TypeError(f"{type(value).__name__} has no JSON form")
