"""What a profiler found, as it is sent from the process that asked it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Operator", "Profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator as the backend executes it, after its own fusions.

    Attributes:
        name: What the backend calls this one.
        type: Kind of operator, by the name in the file's format; None where it is only known by its kernel.
        kernel: The kernel's own name, or None where the profiler does not tell.
        time_us: Microseconds in one run, the mean of the middle half of all runs.
        calls: How often it was called in a run.
        inputs: Element type and shape of each input, constants included; None where unknown.
        outputs: Likewise.
    """

    name: str
    type: str | None
    kernel: str | None
    time_us: float
    calls: int
    inputs: tuple[tuple[str, tuple[int, ...]], ...] | None
    outputs: tuple[tuple[str, tuple[int, ...]], ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profiler found.

    Attributes:
        profiler: What it is, in words.
        resolution_us: Microseconds that it counts in; each operator's time is rounded down to a multiple.
        runs: How many runs were profiled.
        plain_ms: Median of the backend's runs without it, in milliseconds.
        profiled_ms: Median of the runs with it.
        operators: In the order of execution.
        notes: What a reader should know besides, one sentence each.
    """

    profiler: str
    resolution_us: float
    runs: int
    plain_ms: float
    profiled_ms: float
    operators: tuple[Operator, ...]
    notes: tuple[str, ...] = ()
