"""Marks that the plug-in sees, and calls between them."""

from __future__ import annotations

import gc
import os
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from edgeml_runtime.errors import BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BEGIN", "EMPTY", "END", "LAYER", "WARM_UP", "count_calls", "mark_beginning"]

# As in plugin/count.c: descriptors below this one, which cannot exist.
_DESCRIPTOR = -4242

EMPTY, BEGIN, END, LAYER, WARM_UP = 1, 2, 3, 4, 5
"""Numbers of the marks: two in a row with nothing between; before a call, and after it; before a beginning of the
model that ends after a layer; around a call that is not counted."""

EMPTY_MARKS = 33
# Emulation is ten to fifty times slower than the machine: the calls are fewer where they are long.
MOST_WARM_UP, LEAST_WARM_UP, WARM_UP_S = 64, 2, 3.0
MOST_CALLS, LEAST_CALLS, CALLS_S = 20, 3, 12.0
LAYER_WARM_UP = 2
LAYERS_UNTIL_S = 150.0

_STARTED = time.monotonic()


def _mark(number: int) -> None:
    """Have the plug-in write its counts down. Without a plug-in nothing happens.

    It is a system call that may fail without an exception, which would take as much as a small model.

    Args:
        number: What is marked.
    """
    os.isatty(_DESCRIPTOR - number)


@contextmanager
def _settled() -> Iterator[None]:
    """Without the garbage collector, whose runs fall into some calls and not into others."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _repeat(call: Callable[[], object], *, most: int, least: int, limit_s: float) -> int:
    begun = time.monotonic()
    for number in range(1, most + 1):
        call()
        if number >= least and time.monotonic() - begun > limit_s:
            return number
    return most


def count_calls(run: Callable[[], object]) -> int:
    """Warm up, mark the cost of a mark, and mark the beginning and the end of call after call.

    Python specializes what runs often, and where it could not, tries again after twice as many executions (PEP 659).
    So the warm-up passes through the marks as well, and is long enough for such tries to fall into few of the calls.

    Args:
        run: One inference.

    Returns:
        How many calls were marked.
    """

    def marked(begin: int, end: int) -> None:
        _mark(begin)
        run()
        _mark(end)

    with _settled():
        _repeat(partial(marked, WARM_UP, WARM_UP), most=MOST_WARM_UP, least=LEAST_WARM_UP, limit_s=WARM_UP_S)
        for _ in range(EMPTY_MARKS):
            _mark(EMPTY)
        return _repeat(partial(marked, BEGIN, END), most=MOST_CALLS, least=LEAST_CALLS, limit_s=CALLS_S)


def mark_beginning(run: Callable[[], object], number: int, layers: int) -> None:
    """Warm up, and mark one run of the model's first layers.

    Args:
        run: One run.
        number: How many layers it executes; 0 for a run of none.
        layers: How many there are.

    Raises:
        BackendFailedError: The runs so far took too long.
    """
    if time.monotonic() - _STARTED > LAYERS_UNTIL_S:
        raise BackendFailedError(f"given up before layer {number} of {layers}, {LAYERS_UNTIL_S:g} s after the start")
    with _settled():
        for _ in range(LAYER_WARM_UP):
            run()
        _mark(LAYER)
        run()
        _mark(END)
