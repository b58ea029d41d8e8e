"""Fresh processes that answer with one JSON object: started, limited in time, and reported when they crash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ChildFailure", "run_child"]

# Python puts the folder it was started in first on the path, as "": it must not shadow what the children import.
_BOOTSTRAP = (
    "import sys, time; begun = time.perf_counter_ns(); sys.path[:] = [entry for entry in sys.path if entry]; "
    "from edgeml_runtime.{module} import main; main(begun)"
)


class ChildFailure(Exception):  # noqa: N818 - a failed measurement is a result here, not an error of the caller
    """A child did not answer; the message says why."""


def _ending(code: int, stderr: str) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        text = f"the process was ended by signal {name}"
    else:
        text = f"the process ended with status {code}"
    lines = [line for line in stderr.splitlines() if line.strip()]
    return f"{text}: {lines[-1].strip()}" if lines else text


def run_child(
    module: str, arguments: Sequence[str], *, limit_s: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run ``edgeml_runtime.MODULE.main`` in a fresh process of this interpreter and read its answer.

    Args:
        module: ``measure.start`` or ``measure.worker``.
        arguments: Its ``sys.argv[1:]``.
        limit_s: Seconds after which it is killed.
        environment: Its environment variables, or None for those of this process.

    Returns:
        The JSON object it printed.

    Raises:
        ChildFailure: It crashed, hung, or answered ``{"error": …}``.
    """
    command = [sys.executable, "-c", _BOOTSTRAP.format(module=module), *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise ChildFailure(f"no answer within {limit_s:g} s; the process was killed") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise ChildFailure(_ending(done.returncode, done.stderr)) from None
    if not isinstance(answer, dict) or done.returncode != 0:
        raise ChildFailure(_ending(done.returncode, done.stderr))
    if "error" in answer:
        raise ChildFailure(str(answer["error"]))
    return answer
