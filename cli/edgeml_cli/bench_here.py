"""``edgeml bench`` on this machine: the bench, its comparisons, and one report."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from edgeml_cli.bench_reports import ReportFiles
    from edgeml_cli.session import Session

__all__ = ["bench_here"]


def bench_here(
    session: Session,
    model: Path,
    options: Mapping[str, Any],
    *,
    against: Path | None = None,
    baseline: Path | None = None,
    profile: bool = False,
    reports: ReportFiles | None = None,
) -> int:
    """Bench on this machine and print the report.

    Args:
        session: How to print.
        model: What to bench.
        options: The other arguments of :func:`edgeml_devices.bench.bench`.
        against: A model to compare the speed with, in turns, or None.
        baseline: An earlier result to compare with, or None.
        profile: Whether to tell the time of every operator.
        reports: The reports to write, or None.

    Returns:
        The exit code.

    Raises:
        EdgemlError: The model cannot be measured, or there is nothing to compare with.
    """
    from edgeml_cli.bench_baseline import beside_earlier, open_baseline, worst_code
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working

    with working(session) as progress:
        from edgeml_devices.against import common_variants, compare_speed
        from edgeml_devices.bench import bench

        earlier = open_baseline(baseline, model)
        if against is not None:
            common_variants(str(model), str(against), options["variants"], options["backend"])
        result = bench(model, also=None if earlier is None else earlier.undecided, progress=progress, **options)
        if profile:
            from edgeml_devices.profiling import profile_bench
            from edgeml_devices.targets import LocalTarget

            result = profile_bench(result, LocalTarget(), backend=options["backend"], progress=progress)
        comparison = None
        if against is not None and result.provenance is not None:
            shared = {key: options[key] for key in ("variants", "backend", "seconds", "time_limit_s")}
            threads = options["threads"] or result.profile.threads
            comparison = compare_speed(model, against, threads=threads, progress=progress, **shared)
    beside, code = beside_earlier(earlier, result)
    report = result.to_dict() | {"against": None if comparison is None else comparison.to_dict(), "baseline": beside}
    emit(session, report, partial(_render, report=report))
    exit_code = worst_code(result.exit_code, code, 0 if comparison is None else comparison.exit_code)
    if reports is not None:
        from edgeml_devices.reports import TargetBench

        reports.write(session, model, [TargetBench(values=report, samples=result.samples)], exit_code)
    return exit_code


def _render(console: Console, *, report: Mapping[str, Any]) -> None:
    from edgeml_cli.render import render_bench

    render_bench(console, report)
