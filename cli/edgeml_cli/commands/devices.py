"""``edgeml devices``: the hardware that budgets are for, and this machine as such hardware."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml_cli.commands.setup_emulator import setup_emulator_command
from edgeml_cli.named_group import NamedGroup
from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]

_PROJECT = click.option(
    "--project",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Project whose devices/*.toml count as well; the current folder by default, if it is a project.",
)


@click.group(cls=NamedGroup)
@common_options
def command() -> None:
    """Show device profiles, or write one of this machine.

    A profile says what a kind of hardware is; budgets name profiles, and `edgeml bench --device NAME` measures for one.
    """


def _project(given: Path | None) -> Path | None:
    from edgeml_devices.profile_files import CONTRACT_FILE

    here = Path.cwd()
    return given or (here if (here / CONTRACT_FILE).is_file() else None)


@command.command("list")
@_PROJECT
@common_options
@click.pass_obj
def list_command(session: Session, project: Path | None) -> int:
    """List every device profile there is.

    The ones that come along, those of the project, and `host`, which is this machine. The last column says whether this
    machine counts as the device.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.render_devices import render_list
    from edgeml_devices.catalogue import list_profiles

    report = {"profiles": [entry.to_dict() for entry in list_profiles(_project(project))]}

    def render(console: Console) -> None:
        render_list(console, report)

    emit(session, report, render)
    return 0


@command.command("show")
@click.argument("name", metavar="NAME")
@_PROJECT
@common_options
@click.pass_obj
def show_command(session: Session, name: str, project: Path | None) -> int:
    """Show a device profile, with the source of every figure.

    NAME is a name of `edgeml devices list`, or the path of a .toml file. Says as well whether this machine counts as
    the device, and if not, why.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.render_devices import render_profile
    from edgeml_devices.catalogue import describe_profile

    report = describe_profile(name, _project(project)).to_dict()

    def render(console: Console) -> None:
        render_profile(console, report)

    emit(session, report, render)
    return 0


@command.command("probe")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--output",
    metavar="FILE",
    help="Where to write it; devices/NAME.toml in a project, else NAME.toml. A dash prints it.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@common_options
@click.pass_obj
def probe_command(session: Session, name: str | None, output: str | None, force: bool) -> int:
    """Write a device profile of this machine.

    Reads what the system says of cores, CPU features, clock and memory, and measures bandwidth and the rate of
    multiply-accumulates on one core, for about three seconds. The profile tells how that was measured and how noisy it
    was. NAME is what to call it, the machine's own name by default; with --output it is the name of the file.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working
    from edgeml_cli.render_devices import render_probe
    from edgeml_devices.probe import probe_profile, suggested_name
    from edgeml_devices.profile_write import check_vacant, profile_toml, write_profile
    from edgeml_runtime.machine import probe_machine

    printed = output == "-"
    if name is None:
        name = suggested_name(probe_machine()) if output is None or printed else Path(output).stem
    file = None if printed else Path(output) if output is not None else _place(name)
    if file is not None:
        check_vacant(file, name, overwrite=force)
    with working(session) as progress:
        found = probe_profile(name, progress=progress)
    if file is not None:
        write_profile(found.profile, file, overwrite=force)
    report: dict[str, Any] = {"file": file, **found.to_dict()}

    def render(console: Console) -> None:
        if file is None:
            sys.stdout.write(profile_toml(found.profile))
        else:
            render_probe(console, report)

    emit(session, report, render)
    return 0


def _place(name: str) -> Path:
    """Where a profile of that name goes: into the project that the current folder is, or into the folder itself."""
    from edgeml_devices.profile_files import CONTRACT_FILE, PROJECT_FOLDER

    return Path(PROJECT_FOLDER, f"{name}.toml") if Path(CONTRACT_FILE).is_file() else Path(f"{name}.toml")


command.add_command(setup_emulator_command)
