"""Earlier runs, read from the JSON reports they left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.past import bench_facts, read_benches
from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeml_devices.past import BenchFacts
    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = ["MOST_FILES", "History", "read_history", "run_of"]

MOST_FILES = 500
"""Of one folder; those whose names come last count, which are the latest where names begin with the date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Earlier runs.

    Attributes:
        runs: One for each target of each file, the oldest one first.
        left_out: Why a file of a folder is not among them, one sentence each.
    """

    runs: tuple[BenchFacts, ...] = ()
    left_out: tuple[str, ...] = ()


def run_of(record: BenchRecord, bench: TargetBench) -> BenchFacts:
    """The run at hand, in the form of earlier ones.

    Args:
        record: What was measured.
        bench: One of its benches, with a report.
    """
    return bench_facts(bench.values, measured_at=record.measured_at)


def read_history(paths: Sequence[Path]) -> History:
    """Read earlier results.

    Args:
        paths: JSON reports of a bench, or folders whose ``*.json`` are read.

    Returns:
        The runs. What in a folder is another kind of JSON, or has no figures, is left out.

    Raises:
        InputError: A named file cannot be read, or is no result with figures.
    """
    runs: list[BenchFacts] = []
    left_out: list[str] = []
    for path in paths:
        if not path.is_dir():
            runs += read_benches(path)
            continue
        files = sorted(path.glob("*.json"))
        if len(files) > MOST_FILES:
            left_out.append(f"{path}: {len(files) - MOST_FILES} files more than the last {MOST_FILES}")
        for file in files[-MOST_FILES:]:
            try:
                runs += read_benches(file)
            except InputError as error:
                left_out.append(str(error))
    return History(runs=tuple(sorted(runs, key=lambda run: run.measured_at)), left_out=tuple(left_out))
