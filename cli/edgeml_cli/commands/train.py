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
@click.option("--fast", is_flag=True, help="A first result in minutes: apply [fast] of edgeml.toml, or train 3 epochs.")
@click.option(
    "--teacher",
    metavar="RUN",
    help="Learn from the outputs of a trained run as well: its id, or FOLDER or FOLDER:RUN of another project.",
)
@click.option("--slim", "slim_run", metavar="RUN", help="Start from a trained run with fewer channels (train.keep).")
@click.option(
    "--slim-to",
    "profile",
    metavar="PROFILE",
    help="Remove channels until the contract's budgets for this device profile, its name or file, are met; without "
    "--slim, from the latest run that was not slimmed.",
)
@click.option("--qat", is_flag=True, help="Train a finished run on with the rounding of its int8 variants.")
@click.option(
    "--run", "run_id", metavar="RUN", help="With --qat: the run to start from; the latest float one by default."
)
@common_options
@click.pass_obj
def command(
    session: Session,
    folder: Path,
    overrides: tuple[str, ...],
    fast: bool,
    teacher: str | None,
    slim_run: str | None,
    profile: str | None,
    qat: bool,
    run_id: str | None,
) -> int:
    """Train a project: baselines first, then the model.

    An interrupted training goes on where it stopped. Every run is kept as an MLflow run.

    With --qat, a finished run is trained on instead, rounding as its int8 variants will; the next export takes the
    ranges that it has learned.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.progress import announce_loading
    from edgeml_cli.quick_check import check_contract
    from edgeml_cli.quiet import working
    from edgeml_cli.render import render_training

    _check_options(qat=qat, run_id=run_id, fast=fast, teacher=teacher, slim=slim_run or profile)
    check_contract(folder)
    if qat:
        return _train_qat(session, folder, overrides, run_id)
    with working(session) as progress:
        announce_loading(progress, "PyTorch")
        from edgeml_train.pipeline import train_project
        from edgeml_train.project import Project
        from edgeml_train.slim import SlimRequest

        slim = SlimRequest(run_id=slim_run, profile=profile) if slim_run or profile else None
        project = Project.open(folder, overrides, fast=fast)
        report = train_project(project, teacher=teacher, slim=slim, progress=progress).to_dict()

    def render(console: Console) -> None:
        render_training(console, report)
        console.print(f"next: [bold]edgeml export {folder}[/]")

    emit(session, report, render)
    return 0


def _check_options(*, qat: bool, run_id: str | None, fast: bool, teacher: str | None, slim: str | None) -> None:
    """Refuse options that do not go together."""
    if run_id is not None and not qat:
        raise click.UsageError("--run names the run that --qat starts from: add --qat")
    others = {"--fast": fast, "--teacher": teacher, "--slim": slim}
    if qat and (given := [flag for flag, value in others.items() if value]):
        raise click.UsageError(f"{', '.join(given)}: shapes a float run; train that first, then --qat from it")


def _train_qat(session: Session, folder: Path, overrides: tuple[str, ...], run_id: str | None) -> int:
    from edgeml_cli.output import emit
    from edgeml_cli.progress import announce_loading
    from edgeml_cli.quiet import working
    from edgeml_cli.render_qat import render_qat

    with working(session) as progress:
        announce_loading(progress, "PyTorch and the converters")
        from edgeml_train.project import Project
        from edgeml_train.qat.run import train_qat_project

        report = train_qat_project(Project.open(folder, overrides), run_id=run_id, progress=progress).to_dict()

    def render(console: Console) -> None:
        render_qat(console, report)
        console.print(f"next: [bold]edgeml export {folder}[/]")

    emit(session, report, render)
    return 0
