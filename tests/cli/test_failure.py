"""How a command ends when its work fails: exit code, one block of text, clean stdout."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import click
import pytest

from edgeml_cli import main as main_module
from edgeml_cli.quiet import working
from edgeml_cli.session import common_options
from edgeml_runtime.errors import BundleIntegrityError, DefectError, ProjectError, TargetError


@pytest.fixture
def failing(monkeypatch):
    """Put a command ``boom`` into the group that raises what it is given while it works."""

    def install(error):
        @click.command()
        @common_options
        @click.pass_obj
        def boom(session):
            with working(session):
                os.write(1, b"native library chatter\n")
                os.write(2, b"native library trouble\n")
                print("printed by task.py")
                raise error

        monkeypatch.setitem(main_module.COMMANDS, "boom", f"{__name__}:boom")
        monkeypatch.setattr(main_module.LazyGroup, "get_command", lambda *_: boom)

    return install


def disk_full():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/x.edgeml")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ProjectError("no edgeml.toml here"), 2, "error: no edgeml.toml here"),
        (BundleIntegrityError("altered"), 2, "error: altered"),
        (TargetError("unreachable"), 3, "error: unreachable"),
        (DefectError("impossible"), 70, "error: impossible"),
        (ZeroDivisionError("oops"), 70, "This is a defect of edgeml"),
        (disk_full(), 2, "/somewhere/x.edgeml: No space left on device; free some disk space"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_code_and_message(edgeml, failing, error, code, says):
    failing(error)
    outcome = edgeml("boom")
    assert outcome.code == code
    assert says in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""


def test_a_full_disk_is_recognised_behind_another_error(edgeml, failing):
    error = RuntimeError("database gave up")
    error.__cause__ = disk_full()
    failing(error)
    assert edgeml("boom").code == 2


def test_debug_shows_the_traceback(edgeml, failing):
    failing(ProjectError("broken"))
    outcome = edgeml("boom", "--debug")
    assert outcome.code == 2
    assert "Traceback" in outcome.stderr
    assert "error: broken" in outcome.stderr


@pytest.mark.parametrize(
    ("error", "code"), [(ProjectError("broken"), 2), (ValueError("x"), 70), (KeyboardInterrupt(), 130)]
)
def test_json_failure_is_one_object_on_stdout(edgeml, failing, error, code):
    failing(error)
    outcome = edgeml("boom", "--json")
    assert outcome.code == code
    assert outcome.json()["error"]["exit_code"] == code


def test_native_chatter_is_hidden_but_shown_after_a_defect(edgeml, failing):
    failing(ProjectError("broken"))
    foreseen = edgeml("boom")
    assert "native library" not in foreseen.stdout + foreseen.stderr
    assert "printed by task.py" in foreseen.stderr
    failing(ValueError("x"))
    assert "native library trouble" in edgeml("boom").stderr


def test_descriptors_lead_where_they_led_before(edgeml, failing, capfd):
    failing(ProjectError("broken"))
    edgeml("boom")
    os.write(1, b"to stdout\n")
    os.write(2, b"to stderr\n")
    print("printed")
    captured = capfd.readouterr()
    assert captured.out in {"to stdout\nprinted\n", "printed\nto stdout\n"}
    assert captured.err == "to stderr\n"
    assert sys.stdout is not sys.stderr


@pytest.mark.parametrize("words", [["devices", "list"], ["devices", "list", "--json"], ["bench", "missing", "--json"]])
def test_an_output_on_a_full_disk_is_no_verdict(words):
    code = "import sys; from edgeml_cli.main import main; sys.exit(main(sys.argv[1:]))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert ("No space left on device; free some disk space" in done.stderr) == (words[0] == "devices")
