"""What the machine at hand can do at most: bandwidth of the memory and rate of multiply-accumulates, measured.

These are the roofs of a roofline (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model
for multicore architectures", Communications of the ACM 52(4), 2009).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.machine import probe_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ROUNDS", "Ceiling", "ceilings_command", "joined", "measure_ceilings", "read_ceilings"]

ROUNDS = 15
NOISY = 0.10
LIMIT_S = 120.0
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """One rate, measured in several rounds.

    Attributes:
        name: ``memcpy_gb_per_s``, ``memset_gb_per_s``, ``fp32_gmac_per_s`` or ``int8_gmac_per_s``.
        how: What was done, in words.
        threads: Threads that did it.
        rates: The rate of every round in 10⁹ bytes, or multiply-accumulates, per second; in the order measured.
    """

    name: str
    how: str
    threads: int
    rates: tuple[float, ...]

    @property
    def value(self) -> float:
        """The best round, as STREAM and tinymembench report it: other work on the machine only ever takes away."""
        return max(self.rates)

    @property
    def noise(self) -> float:
        """How far the median of the rounds lies below the best one, as a share of it."""
        return 1 - statistics.median(self.rates) / self.value

    @property
    def is_noisy(self) -> bool:
        """Whether other work, or a clock that moved, makes the value doubtful."""
        return self.noise > NOISY

    def describe(self) -> str:
        """What the value is, and how noisy, for a profile's table ``sources``."""
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self.how}, {threads}: best of {len(self.rates)} rounds, the median round {self.noise:.1%} below it, the "
            f"slowest {1 - min(self.rates) / self.value:.1%}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name,
            "how": self.how,
            "threads": self.threads,
            "value": self.value,
            "median": statistics.median(self.rates),
            "min": min(self.rates),
            "noise": self.noise,
            "noisy": self.is_noisy,
            "rates": list(self.rates),
        }


def measure_ceilings(*, threads: int = 1, rounds: int = ROUNDS) -> tuple[Ceiling, ...]:
    """Measure this machine, in a process of its own; takes about three seconds.

    In every round each rate is measured for 20 ms, in shuffled order, so that what else the machine does falls on all
    of them alike.

    Args:
        threads: Threads to measure with.
        rounds: How often each rate is measured.

    Returns:
        Bandwidth of copying and of filling memory, multiply-accumulates of float32, and of 8-bit integers where ONNX
        Runtime is installed.

    Raises:
        InputError: A number is smaller than one.
        TargetError: The measuring process crashed or hung.
    """
    if threads < 1 or rounds < 1:
        raise InputError(f"expected threads ≥ 1 and rounds ≥ 1, found {threads} and {rounds}")
    memory = probe_machine().memory_bytes
    command = [sys.executable, "-P", "-m", "edgeml_devices.ceilings_child", str(threads), str(rounds), str(memory)]
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads))
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"measuring the machine did not end within {LIMIT_S:.0f} s and was stopped") from error
    return read_ceilings(done.stdout, threads, status=done.returncode, messages=done.stderr)


def ceilings_command(*, threads: int, memory_bytes: int, rounds: int = ROUNDS) -> list[str]:
    """The words after ``python`` that measure the machine they run on, whatever its environment says of threads.

    Args:
        threads: Threads to measure with.
        memory_bytes: Memory that the process may use.
        rounds: How often each rate is measured.

    Returns:
        Words of the command line; :func:`read_ceilings` reads what they print.
    """
    script = (
        f"import os, sys; os.environ.update(dict.fromkeys({_THREAD_VARIABLES!r}, {str(threads)!r})); "
        "from edgeml_devices.ceilings_child import main; sys.exit(main(sys.argv[1:]))"
    )
    return ["-c", script, str(threads), str(rounds), str(memory_bytes)]


def read_ceilings(output: str, threads: int, *, status: int, messages: str) -> tuple[Ceiling, ...]:
    """What the measuring process printed.

    Args:
        output: Its standard output.
        threads: The threads it used.
        status: Its exit status.
        messages: Its standard error.

    Returns:
        The ceilings.

    Raises:
        TargetError: There is no answer.
    """
    try:
        answer = json.loads(output)
    except ValueError as error:
        last = messages.strip().splitlines()[-1:] or ["it said nothing"]
        raise TargetError(
            f"the process that measures the machine ended with status {status} and no answer: {last[0]}"
        ) from error
    return tuple(
        Ceiling(name=item["name"], how=item["how"], threads=threads, rates=tuple(item["rates"])) for item in answer
    )


def joined(first: Sequence[Ceiling], second: Sequence[Ceiling]) -> tuple[Ceiling, ...]:
    """Two measurements of one machine with as many threads, as one.

    Args:
        first: The earlier one.
        second: The later one.

    Returns:
        What both have, with the rounds of both.
    """
    later = {one.name: one for one in second}
    return tuple(replace(one, rates=one.rates + later[one.name].rates) for one in first if one.name in later)
