"""Names of targets, the ssh command line, what ssh's messages mean, and the text that runs on the device."""

from __future__ import annotations

import ast
import io
import shlex
import sys
import zipfile
from pathlib import Path

import pytest

import edgeml_runtime
from edgeml_devices import profilers
from edgeml_devices.remote import SshAddress, SshLimits, agent, channel, estate, parse_target
from edgeml_devices.remote.parcel import agent_source, module_archive
from edgeml_devices.remote.session import OLDEST_PYTHON
from edgeml_devices.remote.ssh import explain_end, ssh_command
from edgeml_runtime.errors import InputError

PI = SshAddress(host="pi5", user="pi", port=2222)

NAMES = [
    ("ssh://pi5", SshAddress(host="pi5")),
    ("ssh://pi5/", SshAddress(host="pi5")),
    ("ssh://pi@pi5:2222", PI),
    ("ssh://Lab-Pi", SshAddress(host="Lab-Pi")),
    ("ssh://pi@[fe80::1]:22", SshAddress(host="fe80::1", user="pi", port=22)),
    ("ssh://pi5/opt/venv/bin/python", SshAddress(host="pi5", python="/opt/venv/bin/python")),
    ("ssh://pi5/~/my%20venv/bin/python", SshAddress(host="pi5", python="my venv/bin/python")),
]


@pytest.mark.parametrize(("text", "address"), NAMES)
def test_a_name_is_read(text, address):
    assert parse_target(text) == address


def test_this_machine_has_a_name():
    assert parse_target("local") is None


@pytest.mark.parametrize("address", [address for _, address in NAMES])
def test_an_address_is_written_as_it_is_read(address):
    read = parse_target(str(address))
    assert (read.host, read.user, read.port) == (address.host, address.user, address.port)


WRONG = [
    ("", "unknown target ''"),
    ("raspberry", "unknown target 'raspberry': expected local, emulator"),
    ("http://pi5", "unknown target"),
    ("ssh://", "unknown target"),
    ("ssh://pi@:22", "unknown target"),
    ("ssh://pi5:many", "Port could not be cast"),
    ("ssh://pi5:99999", "Port out of range"),
    ("ssh://pi:secret@pi5", "log in by key, not by password"),
    ("ssh://pi5?python=3", "log in by key"),
    ("ssh://-oProxyCommand=reboot", "must not begin with -"),
    ("ssh://-l@pi5", "must not begin with -"),
    ("ssh://pi5/a\x07", "control characters"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_no_name_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_target(text)


def test_the_command_line_asks_nothing_and_shares_nothing():
    words = ssh_command(PI, SshLimits(connect_s=7), config=Path("my config"))
    assert words[:4] == ["ssh", "-T", "-F", "my config"]
    assert words[-7:-1] == ["-p", "2222", "-l", "pi", "--", "pi5"]
    options = [words[at + 1] for at, word in enumerate(words) if word == "-o"]
    assert {"BatchMode=yes", "ControlPath=none", "ConnectTimeout=7", "ForwardAgent=no"} <= set(options)
    assert not [option for option in options if option.startswith("StrictHostKeyChecking")]


@pytest.mark.parametrize("python", ["/opt/my venv/bin/python", "/opt/it's/python"])
def test_the_path_of_a_python_is_one_word(python):
    command = ssh_command(SshAddress(host="pi5", python=python), SshLimits())[-1]
    assert shlex.split(command)[:4] == ["exec", python, "-B", "-c"]
    assert "\n" not in command


ENDS = [
    (255, "ssh: connect to host pi5 port 22: No route to host\n", False, "cannot be reached (ssh: connect"),
    (255, "", False, "cannot be reached (no message): `ssh -p 2222 pi@pi5` has to log in"),
    (255, "Warning: remote port forwarding failed\n", False, "cannot be reached (no message)"),
    (
        255,
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n",
        False,
        "'[pi5]:2222'",
    ),
    (255, "Host key verification failed.\n", False, "log in once with `ssh -p 2222 pi@pi5`"),
    (255, "pi@pi5: Permission denied (publickey).\n", False, "accepts none of your keys"),
    (127, "sh: 1: exec: python3: not found\n", False, "there is no python3"),
    (1, "boom\n", False, "did not start, status 1 (boom)"),
    (255, "Timeout, server pi5 not responding.\n", True, "the connection was lost (Timeout, server"),
    (None, "", True, "the connection was lost"),
]


@pytest.mark.parametrize(("status", "messages", "ran", "text"), ENDS)
def test_an_end_is_explained(status, messages, ran, text):
    found = explain_end(PI, status, messages, python_ran=ran)
    assert found.startswith("ssh://pi@pi5:2222: ")
    assert text in found


def test_commands_that_are_advised_use_the_same_configuration():
    refused = "Host key verification failed.\n"
    found = explain_end(SshAddress(host="board"), 255, refused, python_ran=False, config=Path("my config"))
    assert "log in once with `ssh -F 'my config' board`" in found


def test_the_old_key_is_forgotten_under_the_name_that_ssh_has_for_it():
    messages = (
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nOffending ED25519 key in /home/me/known:3\n"
        "Host key for [10.0.0.7]:2222 has changed and you have requested strict checking.\n"
    )
    found = explain_end(SshAddress(host="board"), 255, messages, python_ran=False)
    assert "(ssh-keygen -f /home/me/known -R '[10.0.0.7]:2222')" in found


def _sent():
    with zipfile.ZipFile(io.BytesIO(module_archive()[0])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


CARING = ("conditions.py", "memory.py")


def test_the_whole_runtime_is_sent():
    root = Path(edgeml_runtime.__file__).parent
    here = {f"edgeml_runtime/{path.relative_to(root).as_posix()}" for path in root.rglob("*.py")}
    devices = {"__init__.py", *CARING, "ceilings_child.py", "ceilings_model.py"}
    devices |= {f"profilers/{path.name}" for path in Path(profilers.__file__).parent.glob("*.py")}
    assert set(_sent()) == here | {f"edgeml_devices/{name}" for name in devices}


FIRST = {Path(module.__file__).name: Path(module.__file__).read_bytes() for module in (agent, channel, estate)}


@pytest.mark.parametrize(("name", "source"), [("all", agent_source()), *FIRST.items(), *_sent().items()])
def test_what_runs_on_the_device_is_written_for_its_python(name, source):
    ast.parse(source, filename=name, feature_version=OLDEST_PYTHON)


def _imported(source):
    """The modules that are not Python's own."""
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    return {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}


@pytest.mark.parametrize("source", [*FIRST.values(), *(_sent()[f"edgeml_devices/{name}"] for name in CARING)])
def test_what_looks_after_the_device_needs_the_standard_library_only(source):
    sent = {"conditions", "memory", "remote.channel", "remote.estate"}
    assert _imported(source) <= {f"edgeml_devices.{name}" for name in sent}


@pytest.mark.parametrize("source", [text for name, text in _sent().items() if name.startswith("edgeml_devices/")])
def test_what_measures_on_the_device_needs_numpy_and_what_is_sent(source):
    sent = {name.removesuffix(".py").replace("/", ".") for name in _sent()}
    others = {name for name in _imported(source) if name.partition(".")[0] != "numpy"}
    assert others - {name for name in others if f"{name}.__init__" in sent} <= sent
