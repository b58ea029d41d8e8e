"""Keeping what libraries print away from what the user reads.

Converters and interpreters write to the process's stdout and stderr, some of them from C++. While a command works, both
file descriptors lead into a temporary file; what Python code prints (a user's ``task.py`` included) goes to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import IO, TYPE_CHECKING, TextIO

from edgeml_cli.progress import progress_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml_cli.session import Session
    from edgeml_runtime.progress import Progress

__all__ = ["quiet_libraries", "working"]

NOISE_TAIL_BYTES = 4000


@contextmanager
def working(session: Session) -> Iterator[Progress]:
    """Draw progress and keep stdout clean while a command works.

    Args:
        session: ``--debug`` shows what libraries print.

    Yields:
        The progress callback to hand to the library.
    """
    with quiet_libraries(show=session.debug) as messages, progress_on(messages) as progress:
        yield progress


@contextmanager
def quiet_libraries(*, show: bool) -> Iterator[TextIO]:
    """Hide what native code prints, warnings and chatty logs; print the last of it when something unforeseen happens.

    Args:
        show: Hide nothing; only lead stdout to stderr.

    Yields:
        The stream that still reaches the user's stderr.
    """
    if show:
        with redirect_stdout(sys.stderr):
            yield sys.stderr
        return
    with ExitStack() as stack:
        noise = stack.enter_context(tempfile.TemporaryFile())
        messages = stack.enter_context(_detached(sys.stderr))
        stack.enter_context(_descriptors_into(noise))
        stack.enter_context(redirect_stdout(messages))
        stack.enter_context(redirect_stderr(messages))
        stack.enter_context(_without_warnings())
        try:
            yield messages
        except Exception as error:
            if not _is_foreseen(error):
                _show_tail(noise, messages)
            raise


def _is_foreseen(error: Exception) -> bool:
    from edgeml_runtime.errors import EdgemlError

    return isinstance(error, EdgemlError | OSError)


@contextmanager
def _detached(stream: TextIO) -> Iterator[TextIO]:
    """A stream that keeps reaching the terminal after its descriptor was led elsewhere."""
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # a stream without descriptor, such as a test's
        yield stream
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with open(descriptor, "w", buffering=1, encoding=encoding, errors="replace") as copy:
        yield copy


@contextmanager
def _descriptors_into(noise: IO[bytes]) -> Iterator[None]:
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    for number, _ in saved:
        os.dup2(noise.fileno(), number)
    try:
        yield
    finally:
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


@contextmanager
def _without_warnings() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _show_tail(noise: IO[bytes], messages: TextIO) -> None:
    size = noise.seek(0, os.SEEK_END)
    noise.seek(max(0, size - NOISE_TAIL_BYTES))
    text = noise.read().decode("utf-8", "replace").strip()
    if text:
        messages.write(f"--- the last that libraries printed ---\n{text}\n---\n")
