"""``edgeml devices setup-emulator``: other CPUs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["setup_emulator_command"]

# As in edgeml_devices.emulator.ARCHITECTURES, which a test compares: the help answers without importing it.
ARCHITECTURES = ("aarch64", "armv7", "x86-64")


@click.command("setup-emulator")
@click.argument("architecture", metavar="[ARCH]", required=False, type=click.Choice(ARCHITECTURES))
@click.option("--verify", is_flag=True, help="Compare the checksum of every file, and repair what is damaged.")
@click.option("--remove", is_flag=True, help="Remove ARCH from the cache, or everything where no ARCH is given.")
@common_options
@click.pass_obj
def setup_emulator_command(session: Session, architecture: str | None, verify: bool, remove: bool) -> int:
    """Set up an emulated CPU: aarch64, armv7 or x86-64.

    Fetches QEMU, Python, numpy and the inference backends of that architecture from Debian and from the package index
    that pip uses, each pinned by checksum, into $EDGEML_CACHE or ~/.cache/edgeml. Needs Linux on x86-64, no rights, and
    about 650 MB of disk for aarch64, the default, of which 450 MB stay. An interrupted set-up goes on where it stopped.
    """
    if remove and verify:
        raise click.UsageError("--remove and --verify exclude each other")
    return _remove(session, architecture) if remove else _set_up(session, architecture or ARCHITECTURES[0], verify)


def _set_up(session: Session, architecture: str, verify: bool) -> int:
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working
    from edgeml_cli.render_emulator import render_set_up
    from edgeml_devices.emulator import set_up_emulator

    with working(session) as progress:
        report = set_up_emulator(architecture, verify=verify, progress=progress).to_dict()

    def render(console: Console) -> None:
        render_set_up(console, report)

    emit(session, report, render)
    return 0


def _remove(session: Session, architecture: str | None) -> int:
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working
    from edgeml_cli.render_emulator import render_removal
    from edgeml_devices.emulator import cache_folder, remove_emulator

    with working(session) as progress:
        freed_bytes = remove_emulator(architecture, progress=progress)
    report: dict[str, Any] = {
        "removed": architecture or "all",
        "folder": str(cache_folder() / "emulator"),
        "freed_bytes": freed_bytes,
    }

    def render(console: Console) -> None:
        render_removal(console, report)

    emit(session, report, render)
    return 0
