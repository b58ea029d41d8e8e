"""Write docs/cli.md from the help of every command; ``--check`` only says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.testing import CliRunner

from edgeml_cli.main import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).with_name("cli.md")
INTRODUCTION = """\
# The command line

Generated from `--help` by `make docs`.

Every command prints its result on stdout and its progress on stderr. With `--json` the result is one JSON object on
stdout, also when the command fails: `{"error": {"type": …, "message": …, "exit_code": …}}`. Keys that exist stay.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a gate or a budget said no, or a required variant failed |
| 2 | wrong usage, project, bundle or input |
| 3 | a target or a service is unreachable |
| 4 | the evidence does not suffice: inconclusive, or not measured |
| 70 | a defect of edgeml |
| 130 | interrupted |
"""


def help_text(words: list[str]) -> str:
    """The help of one command, or of ``edgeml`` itself, 80 columns wide."""
    arguments = [*words, "--help"]
    result = CliRunner().invoke(cli, arguments, prog_name="edgeml", terminal_width=80, catch_exceptions=False)
    return result.output.rstrip()


def commands() -> Iterator[list[str]]:
    """The words of every command, those of a group behind it."""
    yield []
    for name in COMMANDS:
        yield [name]
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            yield from ([name, part] for part in command.list_commands(click.Context(command)))


def document() -> str:
    """The whole of docs/cli.md."""
    parts = (f"## {' '.join(['edgeml', *words])}\n\n```text\n{help_text(words)}\n```\n" for words in commands())
    return "\n".join([INTRODUCTION, *parts])


def main() -> int:
    """Write the document, or compare it."""
    text = document()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{TARGET.name} is not current: run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
