"""``edgeml export``: a trained run becomes a verified bundle."""

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
@click.option("--run", "run_id", metavar="ID", help="Run to export; the latest finished one by default.")
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Where to write the bundle: a file, or a folder that exists; the current folder by default.",
)
@common_options
@click.pass_obj
def command(session: Session, folder: Path, run_id: str | None, out: Path | None) -> int:
    """Export a trained project to a verified bundle.

    Converts and quantizes the model of PROJECT and writes NAME-VERSION.edgeml. Every variant is checked against
    PyTorch and scored on the test set; one that fails is left out. Exits 1 when a variant fails that the contract
    requires; there is no bundle then.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.progress import announce_loading
    from edgeml_cli.quick_check import check_contract
    from edgeml_cli.quiet import working
    from edgeml_cli.render import render_export

    check_contract(folder)
    with working(session) as progress:
        announce_loading(progress, "PyTorch and the converters")
        from edgeml_train.pipeline import export_project
        from edgeml_train.project import Project

        result = export_project(Project.open(folder), run_id=run_id, out=out, progress=progress)
    report = result.to_dict()

    def render(console: Console) -> None:
        render_export(console, report)
        if result.ok:
            console.print(f"next: [bold]edgeml bench {Path(report['bundle']).name}[/]")

    emit(session, report, render)
    return 0 if result.ok else 1
