"""Earlier results in a test session: whether a model got worse, as verdicts beside those of its budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_devices.baseline import compare_with, pick_earlier
from edgeml_devices.past import bench_facts, read_benches
from edgeml_devices.report import BudgetResult, Verdict
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgeml_devices.baseline import FigureComparison
    from edgeml_devices.report import BenchReport

__all__ = ["EarlierResults"]


class EarlierResults:
    """Earlier results that the models of a session are compared with.

    Args:
        path: The JSON of a bench, or a folder with such files of several models.

    Raises:
        InputError: There is none, or a file is no such result.
    """

    def __init__(self, path: Path) -> None:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: expected .json files that edgeml bench wrote, found none")
        self._path = path
        self._benches = [bench for file in files for bench in read_benches(file)]

    def regressions(self, reports: Iterable[BenchReport], target: str, model: str) -> tuple[BudgetResult, ...]:
        """Each figure beside its earlier one.

        Args:
            reports: What was measured of a model on one target.
            target: Its name.
            model: The model's name.

        Returns:
            A verdict for each figure, its limit being the worst value that is put up with; one that says so where there
            is no earlier result of the model.
        """
        earlier = [bench for bench in self._benches if bench.name in {None, model}]
        found: dict[tuple[BudgetName, str | None], BudgetResult] = {}
        for report in reports:
            if not earlier:
                return (self._nothing(model, "no earlier result of it"),)
            now = bench_facts({**report.to_dict(), "target": target}, measured_at=report.measured_at)
            comparison = compare_with(pick_earlier(earlier, now), now)
            if comparison.reason:
                return (self._nothing(model, comparison.reason),)
            for figure in comparison.figures:
                found[figure.name, figure.variant] = self._result(figure)
        return tuple(found.values())

    def _nothing(self, model: str, reason: str) -> BudgetResult:
        text = f"compared with {self._path}: {reason} ({model})"
        return BudgetResult(
            name=BudgetName.BUNDLE_MB, variant=None, limit=0.0, value=None, verdict=Verdict.NOT_MEASURED, reason=text
        )

    def _result(self, figure: FigureComparison) -> BudgetResult:
        shrinks = figure.name is BudgetName.THROUGHPUT_PER_S
        then = figure.then or 0.0
        said = [f"{self._path.name} has {then:.6g}"]
        if figure.ratio is not None:
            said.append(f"{figure.ratio[0]:.4f} times as bad, {figure.allowed:g} is put up with")
        return BudgetResult(
            name=figure.name,
            variant=figure.variant,
            limit=then / figure.allowed if shrinks else then * figure.allowed,
            value=figure.now,
            verdict=figure.verdict,
            reason="; ".join([*said, *([figure.reason] if figure.reason else [])]),
        )
