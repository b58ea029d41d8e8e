"""``edgeml bench --on``: the same bench on other machines, and one report."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from edgeml_cli.bench_reports import ReportFiles
    from edgeml_cli.session import Session
    from edgeml_devices.emulator.target import BenchTarget
    from edgeml_devices.report import BenchReport
    from edgeml_runtime.progress import Progress

__all__ = ["bench_on"]


def bench_on(
    session: Session,
    model: Path,
    names: Sequence[str],
    options: Mapping[str, Any],
    *,
    ssh_config: Path | None = None,
    runners: Sequence[Path] = (),
    profile: bool = False,
    baseline: Path | None = None,
    reports: ReportFiles | None = None,
) -> int:
    """Bench on every target and print the reports.

    Args:
        session: How to print.
        model: What to bench.
        names: The targets, at least one.
        options: The other arguments of :func:`edgeml_devices.bench.bench`.
        ssh_config: ssh configuration in place of the user's, or None.
        runners: Native programs that measure on devices reached over adb.
        profile: Whether to tell the time of every operator.
        baseline: An earlier result to compare with, or None.
        reports: The reports to write, or None; where the only target was lost at once, they say that.

    Returns:
        The exit code.

    Raises:
        EdgemlError: A name is no target, a runner none that is known, the model cannot be measured, or the only target
            cannot be reached.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working

    with working(session) as progress:
        from edgeml_cli.bench_baseline import beside_earlier, open_baseline, worst_code
        from edgeml_cli.bench_reports import lost_bench, target_benches
        from edgeml_devices.bench import bench
        from edgeml_devices.emulator.target import timed
        from edgeml_devices.native import read_runner
        from edgeml_devices.profiling import profile_bench
        from edgeml_devices.remote import bench_targets
        from edgeml_runtime.errors import TargetError

        earlier = open_baseline(baseline, model)
        also = None if earlier is None else earlier.undecided

        def run(target: BenchTarget, progress: Progress) -> BenchReport:
            able = timed(target, "--profile") if profile else None
            report = bench(model, target=target, also=also, progress=progress, **options)
            if able is not None:
                return profile_bench(report, able, backend=options.get("backend"), progress=progress)
            return report

        programs = [read_runner(path) for path in runners]
        try:
            result = bench_targets(model, names, run, config=ssh_config, runners=programs, progress=progress)
        except TargetError as error:
            if reports is not None:
                reports.write(session, model, [lost_bench(names[0], error)], error.exit_code)
            raise
    report = result.to_dict()
    targets = report["targets"]
    codes = {result.exit_code}
    for one, row in zip(result.targets, targets, strict=True):
        row["baseline"], code = beside_earlier(earlier, one.report, one.target)
        codes.add(code)
    emit(session, targets[0] if len(targets) == 1 else report, partial(_render, targets=targets))
    exit_code = worst_code(*codes)
    if reports is not None:
        reports.write(session, model, target_benches(targets, result), exit_code)
    return exit_code


def _render(console: Console, *, targets: Sequence[dict[str, Any]]) -> None:
    """Every target's report under its name, and why it was lost."""
    from rich.markup import escape

    from edgeml_cli.render import render_bench

    for number, target in enumerate(targets):
        if number:
            console.print()
        console.print(f"target: [bold]{escape(target['target'])}[/]")
        if "device" in target:
            render_bench(console, target)
        if target["lost"] is not None:
            console.print(f"[bold red]lost:[/] {escape(target['lost'])}")
        for path in target["left"]:
            console.print(f"[bold red]could not be removed there:[/] {escape(path)}")
