"""``edgeml bench --baseline``: the bench at hand beside an earlier one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edgeml_devices.baseline import compare_with, pick_earlier
from edgeml_devices.model_file import read_model
from edgeml_devices.past import bench_facts, check_model, read_benches

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from edgeml_devices.baseline import BaselineComparison
    from edgeml_devices.report import BenchReport

__all__ = ["Baseline", "beside_earlier", "open_baseline", "worst_code"]


class Baseline:
    """An earlier result that benches are compared with.

    Args:
        file: What ``edgeml bench --json`` printed, or a JSON report.
        model: The file that is benched.

    Raises:
        InputError: The file is no such result, has no figures, or is about another model.
        BundleError: The bundle must not be used.
    """

    def __init__(self, file: Path, model: Path) -> None:
        self.file = str(file)
        self._benches = read_benches(file)
        check_model(self._benches, read_model(os.fspath(model)), source=self.file)

    def compare(self, report: BenchReport, target: str | None = None) -> BaselineComparison:
        """Compare a bench with the earlier one of the same target or machine.

        Args:
            report: The bench.
            target: Where it was made, as ``--on`` names it; None without ``--on``.

        Returns:
            The comparison.
        """
        now = bench_facts({**report.to_dict(), "target": target}, measured_at=report.measured_at)
        return compare_with(pick_earlier(self._benches, now), now)

    def undecided(self, report: BenchReport) -> Collection[str]:
        """Variants that are worth measuring longer, given the report so far."""
        return self.compare(report).undecided


def open_baseline(file: Path | None, model: Path) -> Baseline | None:
    """The earlier result that was named, or None where none was; see :class:`Baseline`."""
    return None if file is None else Baseline(file, model)


def beside_earlier(
    earlier: Baseline | None, report: BenchReport | None, target: str | None = None
) -> tuple[dict[str, Any] | None, int]:
    """A bench beside an earlier one.

    Args:
        earlier: The earlier result, or None where none was named.
        report: The bench, or None where the target was lost before anything was measured.
        target: Where it was made, as ``--on`` names it; None without ``--on``.

    Returns:
        The comparison as JSON values, None where there is none; and its exit code.
    """
    if earlier is None or report is None:
        return None, 0
    comparison = earlier.compare(report, target)
    return {"file": earlier.file, **comparison.to_dict()}, comparison.exit_code


def worst_code(*codes: int) -> int:
    """The exit code of a command that has several: 3 for a lost target, else 1, else 4, else 0."""
    return next((code for code in (3, 1, 4) if code in codes), 0)
