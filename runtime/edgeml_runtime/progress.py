"""How long work reports where it is: a callback that the command line draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "ProgressEvent", "silent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """One step of a longer piece of work.

    Attributes:
        step: What is being done, such as ``"train"`` or ``"score onnx-int8"``; constant while it goes on.
        done: Units done so far.
        total: Units in all, or None when that is not known.
        message: What to show beside it, such as the latest loss; may be empty.
    """

    step: str
    done: int
    total: int | None
    message: str = ""


Progress = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """The progress callback that shows nothing."""
