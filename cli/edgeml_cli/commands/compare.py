"""``edgeml compare``: runs of a project side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]


@click.command()
@click.argument("folder", metavar="PROJECT", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--variant", metavar="ID", help="Whose size and time; by default the first that every exported run has.")
@click.option("--seconds", type=click.FloatRange(0.05, 600), default=1.0, help="How long each run is timed.")
@common_options
@click.pass_obj
def command(session: Session, folder: Path, runs: tuple[str, ...], variant: str | None, seconds: float) -> int:
    """Compare runs of a project.

    Quality on the same test items, with the paired difference to the first RUN; parameters and work; and, of the
    runs that were exported, size and time on this machine, measured in turns. Without RUN, the latest runs of the
    same data are compared.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.progress import announce_loading
    from edgeml_cli.quick_check import check_contract
    from edgeml_cli.quiet import working
    from edgeml_cli.render_compare import render_comparison

    check_contract(folder)
    with working(session) as progress:
        announce_loading(progress, "PyTorch")
        from edgeml_train.compare import compare_runs
        from edgeml_train.project import Project

        comparison = compare_runs(Project.open(folder), runs, variant=variant, seconds=seconds, progress=progress)
    report = comparison.to_dict()

    def render(console: Console) -> None:
        render_comparison(console, report)

    emit(session, report, render)
    return 0
