"""The documentation is true: its commands, options, targets and links exist.

That the README's tour runs is tested in e2e/test_readme_tour.py.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from edgeml_cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = sorted({README, ROOT / "runtime" / "README.md", *(ROOT / "docs").rglob("*.md")})


def blocks(path, *languages):
    """Fenced code blocks of a document in one of these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands_in(path):
    """Every ``edgeml …`` and ``make …`` in console blocks and in `inline code`."""
    text = path.read_text(encoding="utf-8")
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = "\n".join(blocks(path, "console", "bash", "sh")).splitlines() + inline
    lines = [line.strip().removeprefix("$ ").partition("  #")[0].strip() for line in lines]
    return [line for line in lines if re.match(r"(edgeml|make)( |$)", line)]


def unknown_parts(line):
    """What of an ``edgeml`` command line does not exist."""
    words = [word for word in shlex.split(line)[1:] if word not in {"…", "..."}]
    if not words or words[0].startswith("-"):
        known = {"--help", "-h", "--version", "--json", "--debug"}
        return [word for word in words if word not in known]
    if words[0] not in COMMANDS:
        return words[:1]
    command, words = cli.get_command(click.Context(cli), words[0]), words[1:]
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0] not in command.list_commands(click.Context(command)):
            return words[:1]
        command, words = command.get_command(click.Context(command), words[0]), words[1:]
    known = {"--help", "-h"} | {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("-") and word != "-" and word.partition("=")[0] not in known]


CASES = [pytest.param(line, id=f"{path.relative_to(ROOT)}: {line}") for path in DOCUMENTS for line in commands_in(path)]


def test_documents_hold_commands():
    assert len(CASES) > 20


@pytest.mark.parametrize("line", CASES)
def test_command_and_its_options_exist(line):
    if line.startswith("make"):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        words = line.partition("&&")[0].split()[1:]
        assert [word for word in words if "=" not in word and word not in targets] == []
    else:
        assert unknown_parts(line) == []


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("edgeml trian x", ["trian"]),
        ("edgeml train x --no-such y", ["--no-such"]),
        ("edgeml train x --set a.b=1 --json", []),
        ("edgeml predict x -", []),
        ("edgeml --help", []),
    ],
)
def test_an_unknown_part_is_seen(line, unknown):
    assert unknown_parts(line) == unknown


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_the_templates_are_all_named():
    from edgeml_train.templates import TEMPLATES

    texts = (README.read_text(encoding="utf-8"), (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"))
    assert [name for name in TEMPLATES for text in texts if name not in text] == []
