"""The real ``adb`` client and server, and a device for them: an adbd that really runs what it is sent, and misbehaves.

The device speaks adb's transport over TCP (Android, ``packages/modules/adb/protocol.txt``; ``shell_protocol.h`` for the
packets of ``shell,v2``; SYNC.TXT for ``push``), and runs shell commands in a folder of its own with this machine's
``/bin/sh``. Everything listens on 127.0.0.1, the server on a port of its own and with a home of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

ADB = shutil.which("adb")
WITHIN_S = 60
MAX_DATA = 1 << 16
CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (int.from_bytes(word, "little") for word in
                                      (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))  # fmt: skip
VERSION = 0x01000001  # from this one on nobody checks the sums
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


def wait_until(true, what):
    """Until ``true()`` gives something, which is returned."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.02)
    return found


class Stream:
    """One service that the client opened: bytes both ways, each answered before the next."""

    def __init__(self, link, local, remote):
        self.link, self.local, self.remote = link, local, remote
        self.data, self.changed, self.closed, self.free = bytearray(), threading.Condition(), False, 1

    def take(self, data):
        with self.changed:
            self.data += data
            self.changed.notify_all()

    def acknowledge(self):
        with self.changed:
            self.free += 1
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def read(self, size):
        """Exactly that many bytes; EOFError where the client is gone."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.data) >= size)
            if len(self.data) < size:
                raise EOFError
            part = bytes(self.data[:size])
            del self.data[:size]
            return part

    def write(self, data):
        for begin in range(0, len(data), MAX_DATA):
            with self.changed:
                self.changed.wait_for(lambda: self.closed or self.free)
                if self.closed:
                    raise EOFError
                self.free -= 1
            self.link.send(WRTE, self.local, self.remote, data[begin : begin + MAX_DATA])

    def close(self):
        if not self.closed:
            self.link.send(CLSE, self.local, self.remote)
        self.link.streams.pop(self.local, None)
        self.end()


class Link:
    """One connection of an adb server."""

    def __init__(self, device, connection):
        self.device, self.connection = device, connection
        self.writing, self.streams, self.number = threading.Lock(), {}, 0

    def send(self, command, first, second, data=b""):
        head = struct.pack("<6I", command, first, second, len(data), 0, command ^ 0xFFFFFFFF)
        with self.writing, contextlib.suppress(OSError):
            self.connection.sendall(head + data)

    def _exactly(self, size):
        found = b""
        while len(found) < size:
            part = self.connection.recv(size - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    def serve(self):
        try:
            while True:
                command, first, second, size, _, _ = struct.unpack("<6I", self._exactly(24))
                data = self._exactly(size)
                while self.device.frozen.is_set():
                    time.sleep(0.02)
                self._take(command, first, second, data)
        except (EOFError, OSError):
            pass
        finally:
            self.connection.close()
            for stream in list(self.streams.values()):
                stream.end()

    def _take(self, command, first, second, data):
        if command in (CNXN, AUTH):
            if self.device.state == "unauthorized":
                self.send(AUTH, 1, 0, bytes(20))
            elif self.device.state == "device":
                banner = f"device::ro.product.name=scripted;features={self.device.features}"
                self.send(CNXN, VERSION, MAX_DATA, banner.encode())
        elif command == OPEN:
            self.number += 1
            stream = self.streams[self.number] = Stream(self, self.number, first)
            self.send(OKAY, stream.local, stream.remote)
            threading.Thread(target=self.device.run, args=(stream, data.rstrip(b"\0").decode()), daemon=True).start()
        elif (stream := self.streams.get(second)) is None:
            if command == WRTE:
                self.send(CLSE, 0, first)
        elif command == WRTE:
            stream.take(data)
            self.send(OKAY, stream.local, stream.remote)
        elif command == OKAY:
            stream.acknowledge()
        elif command == CLSE:
            self.streams.pop(second, None)
            stream.end()


class Device:
    """A device: a folder, a shell, and what is wrong with it.

    Attributes:
        state: ``device``, ``unauthorized``, or ``offline`` (it never answers).
        frozen: While set, it takes nothing and answers nothing, as a device out of reach of the radio.
        room: Bytes that ``push`` stores before the disk is full, or None.
        path: ``PATH`` of its shell.
    """

    def __init__(self, folder, *, state="device", features="shell_v2,cmd", room=None, path=None, environment=()):
        self.folder, self.state, self.features, self.room = folder, state, features, room
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.frozen = threading.Event()
        self.environment = {
            "PATH": path or f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TMPDIR": str(self.temporary),
            "EDGEML_TEST_DEVICE": str(folder),
            **dict(environment),
        }
        self.commands, self.links = [], []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def name(self):
        """The target's name."""
        return f"adb://{self.serial}"

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.links.append(Link(self, connection))
            threading.Thread(target=self.links[-1].serve, daemon=True).start()

    def run(self, stream, service):
        """Serve what the client opened."""
        try:
            if service.startswith("shell,v2"):
                self._shell(stream, service.partition(":")[2])
            elif service.startswith("sync:"):
                self._sync(stream)
        except EOFError:
            pass
        finally:
            stream.close()

    def _shell(self, stream, command):
        self.commands.append(command)
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd="/", env=self.environment, start_new_session=True,
        )  # fmt: skip
        say = threading.Lock()

        def forward(source, kind):
            with contextlib.suppress(EOFError), source:
                while data := os.read(source.fileno(), MAX_DATA - 5):
                    with say:
                        stream.write(struct.pack("<BI", kind, len(data)) + data)

        jobs = [
            threading.Thread(target=forward, args=pair, daemon=True)
            for pair in ((process.stdout, STDOUT), (process.stderr, STDERR))
        ]
        for job in jobs:
            job.start()
        feeder = threading.Thread(target=self._feed, args=(stream, process), daemon=True)
        feeder.start()
        for job in jobs:
            job.join()
        status = process.wait()
        stream.write(struct.pack("<BIB", EXIT, 1, status % 256 if status >= 0 else 128 - status))

    def _feed(self, stream, process):
        """Input for the shell; where the client is gone, as adbd does: no more input, and a hang-up for the shell."""
        with contextlib.suppress(OSError):
            try:
                while True:
                    kind, size = struct.unpack("<BI", stream.read(5))
                    data = stream.read(size)
                    if kind == STDIN:
                        process.stdin.write(data)
                        process.stdin.flush()
                    elif kind == CLOSE_STDIN:
                        process.stdin.close()
            except (EOFError, ValueError):
                if process.poll() is None:
                    process.send_signal(signal.SIGHUP)
            finally:
                process.stdin.close()

    def _sync(self, stream):
        while True:
            kind, size = struct.unpack("<4sI", stream.read(8))
            if kind == b"QUIT":
                return
            path = stream.read(size).decode()
            if kind == b"STAT":
                with contextlib.suppress(OSError):
                    found = os.stat(path)
                    stream.write(struct.pack("<4s3I", b"STAT", found.st_mode, found.st_size, int(found.st_mtime)))
                    continue
                stream.write(struct.pack("<4s3I", b"STAT", 0, 0, 0))
            elif kind == b"SEND":
                self._store(stream, *path.rsplit(",", 1))

    def _store(self, stream, path, mode):
        failure = None
        with open(path, "wb") as file:
            while True:
                kind, size = struct.unpack("<4sI", stream.read(8))
                if kind == b"DONE":
                    break
                data = stream.read(size)
                if failure is not None:
                    continue
                if self.room is not None:
                    self.room -= len(data)
                    failure = b"couldn't write: No space left on device" if self.room < 0 else None
                file.write(data)
        os.chmod(path, int(mode) & 0o777 | 0o600)
        if failure is None:
            stream.write(struct.pack("<4sI", b"OKAY", 0))
        else:
            stream.write(struct.pack("<4sI", b"FAIL", len(failure)) + failure)

    def install(self, name, text):
        """Put a program on the device's PATH."""
        path = self.programs / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def drop(self):
        """Cut every connection, as when the cable is pulled."""
        for link in self.links:
            with contextlib.suppress(OSError):
                link.connection.shutdown(socket.SHUT_RDWR)

    def processes(self):
        """Everything that runs on the device."""
        return with_environment(f"EDGEML_TEST_DEVICE={self.folder}\0")

    def wait_for(self, word):
        """Until a process with that in its command line runs on the device."""

        def runs():
            for pid in self.processes():
                with contextlib.suppress(OSError):
                    if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return True
            return False

        wait_until(runs, f"{word} runs")

    def left(self):
        """What a bench left: files, and processes."""
        return [path.name for path in self.temporary.iterdir()] + [f"process {pid}" for pid in self.processes()]

    def assert_nothing_is_left(self):
        wait_until(lambda: not self.left(), f"everything is removed, left is {self.left()}")

    def stop(self):
        """Out of reach for good."""
        self.frozen.clear()
        self._listener.close()
        self.drop()


def with_environment(text):
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if text.encode() in (path / "environ").read_bytes():
                    found.append(int(path.name))
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session", autouse=True)
def _needs_adb():
    if ADB is None or not Path("/proc/self/environ").exists():
        pytest.skip("no adb here, or no /proc")


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory):
    """An adb server with nothing of the user's; gives the environment that leads to it."""
    home = tmp_path_factory.mktemp("adb")
    port = free_port()
    environment = {
        "HOME": str(home),
        "ANDROID_SDK_HOME": str(home),
        "ANDROID_ADB_SERVER_PORT": str(port),
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "0",  # it would look for emulators on this machine
    }
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            [ADB, "-P", str(port), "nodaemon", "server"],
            env={**os.environ, **environment}, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def answers():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, "the adb server listens")
    yield environment
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def adb(adb_server, monkeypatch):
    """The client, for this process and those that it starts."""
    for name, value in adb_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)

    def run(*words):
        return subprocess.run([ADB, *words], capture_output=True, text=True, timeout=WITHIN_S, check=False).stdout

    return run


@pytest.fixture
def start_device(tmp_path_factory, adb):
    """Starts a :class:`Device` that the server knows; ends what it still runs."""
    devices = []

    def start(*, connect=True, **options):
        device = Device(tmp_path_factory.mktemp("device"), **options)
        devices.append(device)
        if connect:
            adb("connect", device.serial)
        return device

    yield start
    for device in devices:
        device.stop()
        adb("disconnect", device.serial)
        for pid in device.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def device(start_device):
    return start_device()
