"""Keeping what converters print off the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quiet"]

_CHATTY = {"LITERT_TORCH_SHOW_PROGRESS": "n", "TF_CPP_MIN_LOG_LEVEL": "3"}


@contextlib.contextmanager
def quiet(*, streams: bool = True) -> Iterator[None]:
    """Silence warnings, logging and everything written to stdout and stderr while the block runs, native code included.

    litert-torch prints its progress through rich, MLIR and TensorFlow Lite log to file descriptor 2, and the ONNX
    quantizer logs to the root logger. A block runs for seconds at most; the caller reports progress between blocks.

    Args:
        streams: Whether to silence stdout and stderr too; False where progress is reported from inside the block.
    """
    environment = {name: os.environ.get(name) for name in _CHATTY}
    disabled = logging.root.manager.disable
    with contextlib.ExitStack() as stack:
        if streams:
            _silence_streams(stack)
        stack.enter_context(warnings.catch_warnings())
        stack.callback(_restore, environment, disabled)
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        os.environ.update(_CHATTY)
        yield


def _silence_streams(stack: contextlib.ExitStack) -> None:
    """Redirect the file descriptors, for native code, and Python's own streams, which may be others."""
    sink = os.open(os.devnull, os.O_WRONLY)
    stack.callback(os.close, sink)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        stack.enter_context(_redirected(stream, descriptor, sink))
    text = io.StringIO()
    stack.enter_context(contextlib.redirect_stdout(text))
    stack.enter_context(contextlib.redirect_stderr(text))


@contextlib.contextmanager
def _redirected(stream: IO[str] | None, descriptor: int, sink: int) -> Iterator[None]:
    """Point a file descriptor elsewhere for a while; one that is closed is left alone."""
    if stream is not None:
        with contextlib.suppress(ValueError, OSError):
            stream.flush()
    try:
        saved = os.dup(descriptor)
    except OSError:
        yield
        return
    try:
        os.dup2(sink, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)


def _restore(environment: dict[str, str | None], disabled: int) -> None:
    logging.disable(disabled)
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
