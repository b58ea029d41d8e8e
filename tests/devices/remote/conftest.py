"""A real OpenSSH server on loopback with keys of its own, and Pythons for the device that have what a test says."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeml_devices.remote import SshLimits, SshTarget, parse_target

# Debian's own path: daemons are not on everybody's.
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")
WITHIN_S = 60
LIMITS = SshLimits(connect_s=30, answer_s=60)


def wait_until(true, what):
    """Until ``true()`` gives something, which is returned."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)
    return found


def make_key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text(encoding="ascii")


class Server:
    """``sshd`` on 127.0.0.1, the home of one device, and the ssh configuration with which it is reached."""

    def __init__(self, folder, *, environment=(), file_blocks=None):
        self.folder = folder
        self.temporary, self.home = folder / "temporary", folder / "home"
        for place in (self.temporary, self.home):
            place.mkdir()
        self.host_key = make_key(folder / "host_key")
        (folder / "authorized_keys").write_text(make_key(folder / "user_key"), encoding="ascii")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        places = {"TMPDIR": self.temporary, "HOME": self.home}
        variables = " ".join(f'"{name}={value}"' for name, value in {**places, **dict(environment)}.items())
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSetEnv {variables}\n",
            encoding="utf-8",
        )
        limit = "" if file_blocks is None else f"ulimit -f {file_blocks}; "
        self.log = folder / "sshd.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    "/bin/sh",
                    "-c",
                    f'{limit}exec "$0" "$@"',
                    SSHD,
                    "-D",
                    "-e",
                    "-f",
                    folder / "sshd_config",
                    "-p",
                    str(self.port),
                ],
                stderr=log,
                start_new_session=True,
            )
        self.know(self.host_key)
        self.config = self.configure("config")
        wait_until(self._answers, f"sshd listens; its log: {self.log.read_text()}")

    def _answers(self):
        assert self.process.poll() is None, f"sshd ended: {self.log.read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def know(self, key):
        """Make ``key`` the one that the client expects; an empty text makes it expect none."""
        line = f"[127.0.0.1]:{self.port} {key}" if key else ""
        (self.folder / "known_hosts").write_text(line, encoding="ascii")

    def configure(self, name, *, key="user_key", more=""):
        """Write an ssh configuration."""
        path = self.folder / name
        path.write_text(
            f"UserKnownHostsFile {self.folder}/known_hosts\nGlobalKnownHostsFile none\nIdentitiesOnly yes\n"
            f"IdentityAgent none\nIdentityFile {self.folder}/{key}\n{more}",
            encoding="ascii",
        )
        return path

    def name(self, python):
        """The target's name."""
        return f"ssh://127.0.0.1:{self.port}{python}"

    def target(self, python, *, config=None, limits=LIMITS, **options):
        """The target, not yet connected."""
        return SshTarget(parse_target(self.name(python)), config=config or self.config, limits=limits, **options)

    def left(self):
        """What a bench left: files in the temporary folder and at home, and processes that know of the former."""
        files = [path.name for place in (self.temporary, self.home) for path in place.iterdir()]
        return files + [f"process {pid}" for pid in self.measuring()]

    def measuring(self):
        """The running processes of a bench, the agent and its janitor apart."""
        return with_environment(f"EDGEML_BENCH_FOLDER={self.temporary}/")

    def agents(self):
        """The agent, and after it its janitor, which is its child: process ids start over at some point."""
        marked = set(self.measuring())
        mine = with_environment(f"TMPDIR={self.temporary}\0")
        found = [pid for pid in mine if pid not in marked and b"edgeml-agent" in _read(pid, "cmdline")]
        return sorted(found, key=lambda pid: _parent(pid) in found)

    def connections(self):
        """The processes of ``sshd`` that serve a connection."""
        children = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        found, parents = [], {self.process.pid}
        for pid in sorted(children):
            if _parent(pid) in parents and b"sshd" in _read(pid, "comm"):
                found.append(pid)
                parents.add(pid)
        return found

    def assert_nothing_is_left(self):
        wait_until(lambda: not self.left() and not self.agents(), "everything is removed")

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _parent(pid):
    stat = _read(pid, "stat").rpartition(b")")[2].split()
    return int(stat[1]) if len(stat) > 1 else None


def with_environment(text):
    return [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and text.encode() in _read(path.name, "environ")
    ]


@pytest.fixture(scope="session", autouse=True)
def _needs_sshd():
    if SSHD is None or shutil.which("ssh") is None or not Path("/proc/self/environ").exists():
        pytest.skip("no OpenSSH server and client here, or no /proc")
    if os.getuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)


@pytest.fixture
def start_server(tmp_path_factory):
    """Starts a :class:`Server`; what it still runs at the end is killed with it."""
    servers = []

    def start(**options):
        servers.append(Server(tmp_path_factory.mktemp("server"), **options))
        return servers[-1]

    yield start
    for server in servers:
        for pid in [*server.connections(), *server.agents(), *server.measuring()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        server.stop()


@pytest.fixture
def server(start_server):
    return start_server()


@pytest.fixture(scope="session")
def crashing_python(tmp_path_factory, make_python):
    """A Python whose ONNX Runtime ends the process with a segmentation fault where the graph is called ``bang``."""
    python = make_python(tmp_path_factory.mktemp("python") / "crashing", [np, onnxruntime])
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    real = Path(onnxruntime.__file__).parent
    (site / "onnxruntime").unlink()
    (site / "onnxruntime").mkdir()
    for entry in real.iterdir():
        if entry.name not in {"__init__.py", "__pycache__"}:
            (site / "onnxruntime" / entry.name).symlink_to(entry)
    text = (real / "__init__.py").read_text(encoding="utf-8")
    crash = (
        "\n_Whole = InferenceSession\n"
        "class InferenceSession(_Whole):\n"
        "    def __init__(self, model, *rest, **options):\n"
        "        import os, signal\n"
        "        if isinstance(model, bytes) and b'bang' in model:\n"
        "            os.kill(os.getpid(), signal.SIGSEGV)\n"
        "        super().__init__(model, *rest, **options)\n"
    )
    (site / "onnxruntime" / "__init__.py").write_text(text + crash, encoding="utf-8")
    return python


@pytest.fixture
def altered_python(tmp_path, device_python):
    """A Python that runs a statement before anything else."""

    def write(statement):
        path = tmp_path / "altered-python"
        path.write_text(f'#!/bin/sh\nexec {device_python} -B -c "{statement}\n$3"\n', encoding="utf-8")
        path.chmod(0o755)
        return path

    return write
