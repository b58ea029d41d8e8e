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
    help="handwritten-digits or sensor-table (they bring data); spoken-digits, sign-digits or machine-temperature "
    "(they need --data); or blank.",
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
        if template == "blank":
            console.print("next: fill in both, see docs/bring-your-own.md; what is left is named by")
            console.print(f"      [bold]edgeml train {folder}[/]")
        else:
            console.print(f"next: [bold]edgeml train {folder}[/]")

    emit(session, report, render)
    return 0
