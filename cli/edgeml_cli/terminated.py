"""SIGTERM, as a cancelled CI job sends it, ends a command as Ctrl-C does: what it started is ended, too."""

from __future__ import annotations

import signal
import threading
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["interrupted_by_sigterm"]

P = ParamSpec("P")
R = TypeVar("R")


def interrupted_by_sigterm(command: Callable[P, R]) -> Callable[P, R]:
    """Have SIGTERM raise :class:`KeyboardInterrupt` while a command runs; only the main thread can.

    Args:
        command: What starts other processes.

    Returns:
        The same with the signal's earlier handling put back at its end.
    """

    @wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        if threading.current_thread() is not threading.main_thread():
            return command(*arguments, **options)
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            return command(*arguments, **options)
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
