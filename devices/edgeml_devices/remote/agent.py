"""What runs on the device: takes what it is sent, runs the measuring, answers, and leaves nothing behind.

The driver hands the text of this file, of :mod:`edgeml_devices.remote.channel` and of
:mod:`edgeml_devices.remote.estate` to the device's own Python (:mod:`edgeml_devices.remote.session`): standard library
only, for Python 3.10 and later, on Linux and other POSIX systems. Requests and answers are one JSON object per line on
standard input and output; the bytes of a file follow its request.

=========  ====================================================  =================================================
request    fields                                                answer
=========  ====================================================  =================================================
``begin``  ``needed_bytes``, ``lost_after_s``                    ``begun`` with ``folder``
``lib``    ``size``, then a ZIP file of Python modules           ``stored``
``put``    ``name``, ``size``, then the file                     ``stored`` with ``path``
``limit``  ``memory_bytes``                                      ``limited`` with ``exact`` and ``script``, both null
                                                                 where there is no way
``free``                                                         ``freed``
``run``    ``words``, ``limit_s``                                ``line`` …, then ``ended`` with ``status``,
                                                                 ``expired``, ``output``, ``conditions``
``beat``                                                         ``alive``
``bye``                                                          ``gone`` with ``left``
=========  ====================================================  =================================================

What cannot be done is answered by ``refused`` with ``kind`` and ``text``.

Cleaning up is the work of a second process, the janitor, which waits for the first one to end, in whatever way: it
kills what was started, and removes the folder and control groups. The first one ends when its input ends, which is when
the connection or the driver does, and when it has heard nothing for a minute. Should both be killed at once, the next
bench on this device removes what they left.
"""

from __future__ import annotations

import base64
import compileall
import contextlib
import errno
import fcntl
import importlib.metadata
import importlib.util
import io
import os
import platform
import resource
import secrets
import selectors
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

from edgeml_devices.remote.channel import LOST_AFTER_S, Channel, Lost
from edgeml_devices.remote.estate import MARKER, PREFIX, Janitor, kill_group, sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.memory import MemoryLimit

__all__ = ["Agent", "main"]

MAX_OUTPUT_BYTES = 64 << 20
MAX_LINES_BYTES = 1 << 20
_CHUNK = 1 << 16
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Refused(Exception):  # noqa: N818 - an answer to the driver
    """Something cannot be done on this device.

    Args:
        kind: ``space``, ``request`` or ``system``.
        text: Why, for a person.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def _bases() -> list[str]:
    """Where the folder may be: where the device's owner wants temporary files, else the usual places."""
    named = os.environ.get("TMPDIR")
    return [named] if named else ["/tmp", "/var/tmp", "/data/local/tmp", os.path.expanduser("~")]


def _free_bytes(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def choose_base(needed_bytes: int) -> str:
    """The first folder with that much space.

    Args:
        needed_bytes: The space.

    Returns:
        Its path.

    Raises:
        Refused: There is none; the text says why, for each of them.
    """
    reasons = []
    for base in _bases():
        try:
            free = _free_bytes(base)
        except OSError as error:
            reasons.append(f"{base}: {error.strerror}")
            continue
        if not os.access(base, os.W_OK | os.X_OK):
            reasons.append(f"{base} is not writable")
        elif free < needed_bytes:
            reasons.append(f"{base} has {free / 1e6:.1f} MB")
        else:
            return base
    raise Refused("space", f"{needed_bytes / 1e6:.1f} MB of space are needed, but {', '.join(reasons)}")


class Agent:
    """One session.

    Args:
        channel: The driver.
        janitor: The process that cleans up.
    """

    def __init__(self, channel: Channel, janitor: Janitor) -> None:
        self._channel, self._janitor = channel, janitor
        self._folder: str | None = None
        self._lock: int | None = None
        self._limit: MemoryLimit | None = None

    def serve(self) -> None:
        """Answer requests until the driver says goodbye.

        Raises:
            Lost: The driver is gone.
        """
        self._channel.say("ready", **_interpreter())
        while (row := self._channel.request())["do"] != "bye":
            if row["do"] == "run":
                try:
                    farewell = self._run(row["words"], row["limit_s"])
                except OSError as error:
                    self._channel.say("refused", kind="system", text=str(error))
                    continue
                if farewell:
                    break
                continue
            try:
                self._answer(row)
            except Refused as refusal:
                self._channel.say("refused", kind=refusal.kind, text=str(refusal))
        self._janitor.clean()
        left = [place for place in (self._folder, self._limit and self._limit.group) if place and os.path.exists(place)]
        self._channel.say("gone", left=[str(place) for place in left])

    def _answer(self, row: dict[str, Any]) -> None:
        what = row["do"]
        try:
            if what == "begin":
                self._begin(row["needed_bytes"], row["lost_after_s"])
            elif what == "lib":
                self._store_modules(b"".join(self._channel.content(row["size"])))
            elif what == "put":
                self._store(row["name"], row["size"])
            elif what == "limit":
                self._limit_memory(row["memory_bytes"])
            elif what == "free":
                self._free()
            else:
                raise Refused("request", f"unknown request {what!r}")
        except OSError as error:
            kind = "space" if error.errno in _NO_SPACE else "system"
            raise Refused(kind, f"{error.strerror} in {self._folder or 'no folder'}") from error

    def _path(self, *parts: str) -> str:
        if self._folder is None:
            raise Refused("request", "nothing was begun")
        return os.path.join(self._folder, *parts)

    def _begin(self, needed_bytes: int, lost_after_s: int) -> None:
        self._channel.lost_after_s = lost_after_s
        for base in _bases():
            with contextlib.suppress(OSError):
                sweep(base)
        folder = os.path.join(choose_base(needed_bytes), PREFIX + secrets.token_hex(8))
        self._janitor.note("folder", folder)
        os.mkdir(folder, 0o700)
        self._folder = folder
        self._lock = os.open(self._path("lock"), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for name in ("lib", "model", "tmp"):
            os.mkdir(self._path(name))
        self._channel.say("begun", folder=folder)

    def _store_modules(self, archive: bytes) -> None:
        """Unpack and compile modules, so that a start finds them as an installed package's."""
        lib = self._path("lib")
        sys.pycache_prefix = None
        with zipfile.ZipFile(io.BytesIO(archive)) as modules:
            modules.extractall(lib)
        if not compileall.compile_dir(lib, quiet=2):
            raise OSError(errno.ENOSPC, "the modules could not be compiled")
        sys.path.insert(0, lib)
        self._channel.say("stored")

    def _store(self, name: str, size: int) -> None:
        content = self._channel.content(size)
        try:
            path, folder = self._path("model", os.path.basename(name)), self._path()
            free = _free_bytes(folder)
            if free < size:
                raise Refused("space", f"{size / 1e6:.1f} MB of space are needed, but {folder} has {free / 1e6:.1f} MB")
            with open(path, "wb") as file:
                file.writelines(content)
        finally:
            for _ in content:  # what was not written has to be read: the next request comes after it
                pass
        self._channel.say("stored", path=path)

    def _limit_memory(self, memory_bytes: int) -> None:
        from edgeml_devices.memory import limit_memory

        self._free_limit()
        self._limit = limit_memory(memory_bytes)
        if self._limit is None:
            self._channel.say("limited", exact=None, script=None)
            return
        if self._limit.group is not None:
            group = str(self._limit.group)
            self._janitor.note("group", group)
            with open(self._path("groups"), "a", encoding="utf-8") as groups:
                groups.write(group + "\n")
        script = self._path("python")
        with open(script, "w", encoding="utf-8") as file:
            file.write(self._limit.script(sys.executable))
        os.chmod(script, 0o700)
        if os.access(script, os.X_OK):
            self._channel.say("limited", exact=self._limit.exact, script=script)
        else:  # the folder is mounted without the right to run programs
            self._free_limit()
            self._channel.say("limited", exact=None, script=None)

    def _free(self) -> None:
        self._free_limit()
        self._channel.say("freed")

    def _free_limit(self) -> None:
        if self._limit is not None:
            self._limit.remove()
            self._limit = None

    def _environment(self) -> dict[str, str]:
        """No module lies in the way, none is compiled elsewhere, and what is written goes where it is removed."""
        # ONNX Runtime keeps a device id and a database of its own use in the user's cache (1.32).
        places = dict.fromkeys(("TMPDIR", "XDG_CACHE_HOME"), self._path("tmp"))
        here = {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", **places}
        search = [self._path("lib"), *filter(None, [os.environ.get("PYTHONPATH")])]
        given = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
        return {**given, **here, "PYTHONPATH": os.pathsep.join(search), MARKER: self._path()}

    def _run(self, words: Sequence[str], limit_s: float) -> bool:
        """Run this interpreter and answer; gives whether the driver said goodbye meanwhile."""
        from edgeml_devices.conditions import Watch

        with Watch() as watch:
            process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._path("tmp"),
                env=self._environment(),
                start_new_session=True,
            )
            self._janitor.note("process", str(process.pid))
            listener = _Listener(process, self._channel, time.monotonic() + limit_s)
            try:
                listener.listen()
            finally:
                kill_group(process.pid)
                process.wait()
                self._janitor.note("ended", str(process.pid))
        if not listener.farewell:
            self._channel.say(
                "ended",
                status=process.returncode,
                expired=listener.expired,
                output=base64.b64encode(zlib.compress(bytes(listener.output))).decode("ascii"),
                conditions=watch.conditions.to_dict(),
            )
        return listener.farewell


class _Listener:
    """Listens to a running process and to the driver at once."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, deadline: float) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._channel, self._deadline = channel, deadline
        self._answer, self._messages = process.stdout, process.stderr
        self._line = bytearray()
        self._forwarded = 0
        self.output = bytearray()
        self.farewell = False
        self.expired = False

    def listen(self) -> None:
        """Return once the process has closed its output, its time is up, or the driver said goodbye."""
        with selectors.DefaultSelector() as selector, self._answer, self._messages:
            streams = (self._answer, self._messages)
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ)
            selector.register(self._channel.source, selectors.EVENT_READ)
            open_streams = len(streams)
            while open_streams and not self.farewell and not self.expired:
                for key, _ in selector.select(max(self._deadline - time.monotonic(), 0)):
                    if key.fileobj == self._channel.source:
                        self._hear()
                    elif not self._take(key.fd, key.fileobj is self._answer):
                        selector.unregister(key.fileobj)
                        open_streams -= 1
                self.expired = time.monotonic() >= self._deadline

    def _hear(self) -> None:
        self._channel.fill()
        while (row := self._channel.pending()) is not None:
            self.farewell = self.farewell or row["do"] == "bye"
            if row["do"] == "beat":
                self._channel.say("alive")

    def _take(self, descriptor: int, is_answer: bool) -> bool:
        data = os.read(descriptor, _CHUNK)
        if is_answer:
            self.output += data[: MAX_OUTPUT_BYTES - len(self.output)]
        else:
            self._line += data
            *lines, self._line = self._line.split(b"\n")
            lines += [] if data else [self._line]
            for line in filter(None, lines):
                self._forward(bytes(line))
            del self._line[:-_CHUNK]
        return bool(data)

    def _forward(self, line: bytes) -> None:
        self._forwarded += len(line)
        if self._forwarded <= MAX_LINES_BYTES:
            self._channel.say("line", text=line.decode("utf-8", "replace"))


def _interpreter() -> dict[str, Any]:
    """What the driver needs to know before it sends anything."""
    numpy = None
    if importlib.util.find_spec("numpy") is not None:
        try:
            numpy = importlib.metadata.version("numpy")
        except importlib.metadata.PackageNotFoundError:
            numpy = "unknown"
    return {
        "executable": sys.executable,
        "python": platform.python_version(),
        "bits": 8 * struct.calcsize("P"),
        "numpy": numpy,
    }


def main() -> None:
    """Serve one driver on standard input and output."""
    signal.alarm(LOST_AFTER_S)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # a backend that crashes would leave a core file
    janitor = Janitor()
    try:
        Agent(Channel(), janitor).serve()
    except Lost:
        return
    finally:
        janitor.clean()


if __name__ == "__main__":
    main()
