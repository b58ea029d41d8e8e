"""``edgeml bench --on``: the same bench on other machines, and one report."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from edgeml_cli.session import Session
    from edgeml_devices.report import BenchReport
    from edgeml_devices.targets import Target
    from edgeml_runtime.progress import Progress

__all__ = ["bench_on"]


def bench_on(
    session: Session, model: Path, names: Sequence[str], ssh_config: Path | None, options: Mapping[str, Any]
) -> int:
    """Bench on every target and print the reports.

    Args:
        session: How to print.
        model: What to bench.
        names: The targets, at least one.
        ssh_config: ssh configuration in place of the user's, or None.
        options: The other arguments of :func:`edgeml_devices.bench.bench`.

    Returns:
        The exit code.

    Raises:
        EdgemlError: A name is no target, the model cannot be measured, or the only target cannot be reached.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working

    with working(session) as progress:
        from edgeml_devices.bench import bench
        from edgeml_devices.remote import bench_targets

        def run(target: Target, progress: Progress) -> BenchReport:
            return bench(model, target=target, progress=progress, **options)

        result = bench_targets(model, names, run, config=ssh_config, progress=progress)
    report = result.to_dict()
    targets = report["targets"]
    emit(session, targets[0] if len(targets) == 1 else report, partial(_render, targets=targets))
    return result.exit_code


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
