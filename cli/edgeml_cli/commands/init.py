"""``edgeml init``: start a project from a template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]


@click.command()
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@click.option(
    "--template",
    metavar="TEMPLATE",
    required=True,
    help="handwritten-digits (its data comes with scikit-learn) or spoken-digits (needs --data).",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the data, where the template needs one.")
@common_options
@click.pass_obj
def command(session: Session, folder: Path, template: str, data: Path | None) -> int:
    """Start a project from a template.

    Writes a folder NAME with edgeml.toml, the contract, and task.py: data, preprocessing and network.
    """
    from edgeml_cli.output import emit
    from edgeml_train.templates import init_project

    init_project(folder, template, data)
    report = {"project": str(folder.resolve()), "name": folder.resolve().name, "template": template}

    def render(console: Console) -> None:
        console.print(f"[bold]{folder}[/] is a project now:\n")
        console.print("  edgeml.toml   what the model promises: inputs, outputs, metric, budgets")
        console.print("  task.py       data, preprocessing and network\n")
        console.print(f"next: [bold]edgeml train {folder}[/]")

    emit(session, report, render)
    return 0
