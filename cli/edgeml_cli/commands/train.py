"""``edgeml train``: the baselines, then the model."""

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
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of [data] or [train], such as data.split=authors. May be given several times.",
)
@common_options
@click.pass_obj
def command(session: Session, folder: Path, overrides: tuple[str, ...]) -> int:
    """Train a project: baselines first, then the model.

    An interrupted training goes on where it stopped. Every run is kept as an MLflow run.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.progress import announce_loading
    from edgeml_cli.quick_check import check_contract
    from edgeml_cli.quiet import working
    from edgeml_cli.render import render_training

    check_contract(folder)
    with working(session) as progress:
        announce_loading(progress, "PyTorch")
        from edgeml_train.pipeline import train_project
        from edgeml_train.project import Project

        report = train_project(Project.open(folder, overrides), progress=progress).to_dict()

    def render(console: Console) -> None:
        render_training(console, report)
        console.print(f"next: [bold]edgeml export {folder}[/]")

    emit(session, report, render)
    return 0
