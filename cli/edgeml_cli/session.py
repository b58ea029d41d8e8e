"""What one invocation of ``edgeml`` carries from its options to its output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Session", "common_options"]

Function = TypeVar("Function", bound="Callable[..., Any]")


@dataclass(slots=True)
class Session:
    """Options that every command shares.

    Attributes:
        as_json: One JSON object on stdout instead of text.
        debug: Show tracebacks and what libraries print.
    """

    as_json: bool = False
    debug: bool = False


def _remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and parameter.name:
        setattr(ctx.ensure_object(Session), parameter.name, True)


def common_options(function: Function) -> Function:
    """Add ``--json`` and ``--debug`` to a command; the values stand in the :class:`Session`."""
    flags = (
        ("--debug", "debug", "Show tracebacks and the messages of libraries."),
        ("--json", "as_json", "Print one JSON object on stdout."),
    )
    for flag, name, text in flags:
        function = click.option(
            flag, name, is_flag=True, is_eager=True, expose_value=False, callback=_remember, help=text
        )(function)
    return function
