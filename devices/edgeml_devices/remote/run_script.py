"""One run of a native program on a device: the shell script around it, and what came back, taken apart."""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.remote.look import TIMES_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RESULT_FILE", "RunOutput", "explain_status", "read_run", "run_script"]

RESULT_FILE = "result.csv"
_OUTPUT, _RESULT, _TIMES, _STATUS = "edgeml-output\n", "edgeml-result\n", "edgeml-times\n", "edgeml-status "


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutput:
    """A run that came to its end.

    Attributes:
        status: The program's exit status, as a shell tells it.
        output: What it wrote to standard output and standard error.
        result: Its result file; empty where it has none.
        before: What :data:`~edgeml_devices.remote.look.TIMES_SCRIPT` printed at the beginning.
        after: What it printed at the end.
    """

    status: int
    output: str
    result: str
    before: str
    after: str


def run_script(folder: str, words: Sequence[str]) -> str:
    """The script that runs a program in a folder, with the libraries that lie there.

    The status comes last and tells that all came: the adb client ends with 0 where the device is gone.

    Args:
        folder: Path on the device.
        words: The command line.
    """
    return (
        f"cd {shlex.quote(folder)} || exit 1\nrm -f {RESULT_FILE}\nulimit -c 0\n"
        f'export LD_LIBRARY_PATH={shlex.quote(folder)}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
        f"{TIMES_SCRIPT}echo {_OUTPUT}{shlex.join(words)} </dev/null 2>&1\ns=$?\necho\n"
        f"echo {_RESULT}cat {RESULT_FILE} 2>/dev/null\necho\necho {_TIMES}{TIMES_SCRIPT}"
        f'echo {shlex.quote(_STATUS)}"$s"\n'
    )


def read_run(text: str) -> RunOutput | None:
    """What came back of a run.

    Args:
        text: The output of :func:`run_script`.

    Returns:
        Its parts, or None where the end is missing.
    """
    text, _, status = text.rpartition(_STATUS)
    text, _, after = text.rpartition(_TIMES)
    text, _, result = text.rpartition(_RESULT)
    before, _, output = text.partition(_OUTPUT)
    if not status.strip().isdigit():
        return None
    return RunOutput(status=int(status), output=output, result=result.strip(), before=before, after=after)


def explain_status(status: int, last: str) -> str:
    """What the status of a program means that a shell ran (POSIX.1-2017, 2.8.2).

    Args:
        status: Not 0.
        last: The last line that was said; mksh, the shell of Android, ends with 1 where it cannot run a file.

    Returns:
        The beginning of a sentence about the program.
    """
    if status in {126, 127} or "not executable: " in last:
        return "cannot be run on the device"
    if status > 128:
        try:
            return f"was ended by signal {signal.Signals(status - 128).name}"
        except ValueError:
            pass
    return f"ended with status {status}"
