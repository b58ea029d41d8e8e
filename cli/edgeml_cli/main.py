"""The ``edgeml`` command: a lazy group, so that ``edgeml --help`` imports click and nothing else."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import click

from edgeml_cli.failure import report_failure, report_interrupt, report_usage
from edgeml_cli.named_group import NamedGroup
from edgeml_cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: dict[str, str] = {
    "init": "edgeml_cli.commands.init:command",
    "train": "edgeml_cli.commands.train:command",
    "export": "edgeml_cli.commands.export:command",
    "inspect": "edgeml_cli.commands.inspect:command",
    "bench": "edgeml_cli.commands.bench:command",
    "devices": "edgeml_cli.commands.devices:command",
    "compare": "edgeml_cli.commands.compare:command",
    "predict": "edgeml_cli.commands.predict:command",
    "demo": "edgeml_cli.commands.demo:command",
    "schema": "edgeml_cli.commands.schema:command",
}
"""Name of each command → where it lives, in the order in which they are used."""


class LazyGroup(NamedGroup):
    """A group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 a gate or budget said no; 2 wrong usage, project or bundle; 3 a target is "
    "unreachable; 4 the evidence does not suffice; 70 a defect of edgeml; 130 interrupted.",
)
@click.version_option(package_name="edgeml-toolkit", prog_name="edgeml", message="%(prog)s %(version)s")
def cli() -> None:
    """Take a model, its preprocessing included, to a device with an ordinary CPU.

    \b
    edgeml init my-words --template spoken-digits --data PATH
    edgeml train my-words
    edgeml export my-words
    edgeml bench my-words-1.0.0.edgeml
    """  # noqa: D301 - \b keeps click from joining the lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name, or None for the process's own.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    session = Session(as_json="--json" in arguments, debug="--debug" in arguments)
    try:
        code = cli.main(args=arguments, prog_name="edgeml", standalone_mode=False, obj=session)
    except click.ClickException as error:
        return report_usage(error, session)
    except (click.Abort, KeyboardInterrupt):
        return report_interrupt(session)
    except Exception as error:  # noqa: BLE001 - whatever a command raises ends as one block of text
        return report_failure(error, session)
    return code if isinstance(code, int) else 0
