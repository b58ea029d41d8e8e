"""``edgeml --help`` is quick, every command is documented, and wrong usage says what would be right."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeml_cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
LIGHT = {"click", "edgeml_cli"}

REPORT_IMPORTS = """
import sys
sys.stdlib_module_names
before = set(sys.modules)
from edgeml_cli.main import main
code = main(sys.argv[1:])
import json
names = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps([code, sorted(names - sys.stdlib_module_names)]), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS), ["trian"]])
def test_help_imports_click_and_nothing_else(arguments):
    done = subprocess.run(
        [sys.executable, "-c", REPORT_IMPORTS, *arguments], capture_output=True, text=True, check=True
    )
    _, names = json.loads(done.stderr.splitlines()[-1])
    assert set(names) <= LIGHT


def test_version_is_the_distribution_s(edgeml):
    from importlib.metadata import version

    outcome = edgeml("--version")
    assert (outcome.code, outcome.stdout) == (0, f"edgeml {version('edgeml-toolkit')}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_json_and_debug(edgeml, name):
    outcome = edgeml(name, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.stdout
    assert "--debug" in outcome.stdout


def test_cli_reference_is_current():
    spec = importlib.util.spec_from_file_location("build_cli", ROOT / "docs" / "build_cli.py")
    build_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_cli)
    assert build_cli.TARGET.read_text(encoding="utf-8") == build_cli.document(), "run `make docs`"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "did you mean 'train'?"),
        (["zzz"], "the commands are init, train"),
        (["train"], "Missing argument 'PROJECT'"),
        (["train", "no-such-folder"], "'no-such-folder' does not exist"),
        (["bench", "no-such.edgeml"], "'no-such.edgeml' does not exist"),
        (["bench", __file__, "--threads", "0"], "0 is not in the range"),
        (["init", "x"], "Missing option '--template'"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(edgeml, arguments, says):
    outcome = edgeml(*arguments)
    assert outcome.code == 2
    assert says in outcome.stderr
    assert outcome.stdout == ""


def test_wrong_usage_is_one_json_object_with_json(edgeml):
    outcome = edgeml("train", "no-such-folder", "--json")
    assert outcome.code == 2
    assert outcome.json()["error"]["exit_code"] == 2
    assert "no-such-folder" in outcome.json()["error"]["message"]
