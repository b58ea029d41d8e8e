"""How a command ends when it cannot do its work: one block of text, one exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml_cli.session import Session

__all__ = ["DEFECT_EXIT_CODE", "INTERRUPT_EXIT_CODE", "report_failure", "report_interrupt", "report_usage"]

INTERRUPT_EXIT_CODE = 130
DEFECT_EXIT_CODE = 70

# What the machine refuses is for the user to settle, not a defect of edgeml.
_MACHINE_SAYS_NO = {
    errno.EACCES: "choose a place you may write to",
    errno.EDQUOT: "free some of your quota",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOENT: "check the path",
    errno.ENOSPC: "free some disk space",
    errno.ENOTDIR: "name a folder, not a file",
    errno.EPERM: "choose a place you may write to",
    errno.EROFS: "choose a place you may write to",
}


def report_usage(error: click.ClickException, session: Session) -> int:
    """Show wrong usage on stderr.

    Returns:
        The exit code: 2 for wrong usage.
    """
    code = error.exit_code
    _print_json(session, type(error).__name__, error.format_message(), code)
    error.show()
    return code


def report_interrupt(session: Session) -> int:
    """Say in a line that the user stopped the command.

    Returns:
        130, as shells do for SIGINT.
    """
    message = "interrupted; nothing half-written is left, run the same command again to go on"
    _print_json(session, "Interrupted", message, INTERRUPT_EXIT_CODE)
    click.echo(f"\n{message}", err=True)
    return INTERRUPT_EXIT_CODE


def report_failure(error: Exception, session: Session) -> int:
    """Show an error as one block on stderr, with a traceback only under ``--debug``.

    Returns:
        The error's own exit code; 2 where the machine refused (disk full, no permission); 70 for anything unforeseen.
    """
    from edgeml_runtime.errors import EdgemlError

    if isinstance(error, EdgemlError):
        message, code = str(error), error.exit_code
    elif refusal := next((found for found in _chain(error) if _is_refusal(found)), None):
        message, code = _refusal_text(refusal), 2
    else:
        message = (
            f"{type(error).__name__}: {error}\n"
            "This is a defect of edgeml. Run the command again with --debug, and report what it shows."
        )
        code = DEFECT_EXIT_CODE
    if session.debug:
        click.echo("".join(traceback.format_exception(error)), err=True)
    _print_json(session, type(error).__name__, message, code)
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(message, err=True)
    return code


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in _MACHINE_SAYS_NO


def _refusal_text(error: BaseException) -> str:
    assert isinstance(error, OSError)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {_MACHINE_SAYS_NO[error.errno or 0]} and run the command again"


def _print_json(session: Session, kind: str, message: str, code: int) -> None:
    if not session.as_json:
        return
    try:
        click.echo(json.dumps({"error": {"type": kind, "message": message, "exit_code": code}}))
    except OSError:  # the disk that stdout lies on is full: what is left in the buffer would fail once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
