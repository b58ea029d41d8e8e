"""A device with a Python of its own, as a target of the bench: over ssh, or over adb."""

from __future__ import annotations

import base64
import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Self

from edgeml_devices.conditions import Conditions, Watch
from edgeml_devices.memory import MemoryLimit
from edgeml_devices.remote.adb import AdbLimits, AdbLink
from edgeml_devices.remote.parcel import module_archive
from edgeml_devices.remote.session import Session
from edgeml_devices.remote.ssh import SshLimits, SshLink
from edgeml_devices.targets import MODEL, Ended, limited_arguments, measure_arguments, progress_event, read_answer
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.machine import Machine
from edgeml_runtime.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeml_devices.remote.address import AdbAddress, SshAddress
    from edgeml_devices.remote.link import Link
    from edgeml_runtime.measure.cli import MeasureRequest
    from edgeml_runtime.measure.report import Measurement
    from edgeml_runtime.progress import Progress

__all__ = ["AdbTarget", "PythonTarget", "SshTarget"]

_CHUNK = 1 << 16
_SLACK_S = 30.0
_SPARE_BYTES = 1_000_000
# A system of 64 bits runs a Python of 32 bits as well, and the kernel then names its own architecture (uname(2)).
_NARROW = {"aarch64": "armv8l", "x86_64": "i686"}


class _RemoteWatch(Watch):
    """The machine on the device meanwhile, as the agent saw it."""

    def __init__(self, target: PythonTarget) -> None:
        super().__init__()
        self._target = target

    def __enter__(self) -> _RemoteWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.conditions = self._target.last_conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class _RemoteLimit(MemoryLimit):
    """A limit on the device; the script that enters it lies there."""

    target: PythonTarget
    counts_used: bool
    script_there: str

    @property
    def exact(self) -> bool:
        """Whether used memory is counted, and not reserved memory."""
        return self.counts_used

    def remove(self) -> None:
        """Remove it; a device that is lost does so by itself."""
        self.target.free_memory()


class PythonTarget:
    """A device that has a Python; a context manager that leaves nothing behind there.

    The connection is made on first use. What is measured, is measured by the device's own Python with its own numpy
    and backends; the runtime and the model are sent there, into a temporary folder.

    Args:
        link: The way to the device.
        room_bytes: Size of what will be measured, so that a place with that much space is chosen.
    """

    def __init__(self, link: Link, *, room_bytes: int = 0) -> None:
        self.last_conditions = Conditions()
        self._link, self._name, self._limits = link, link.name, link.limits
        self._room_bytes = room_bytes
        self._session: Session | None = None
        self._cancelled = False
        self._sent: dict[str, tuple[tuple[int, int], str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def left(self) -> tuple[str, ...]:
        """Paths the device could not remove; known once the target was closed."""
        return () if self._session is None else self._session.left

    def close(self) -> None:
        """Clean up on the device and end the connection."""
        if self._session is not None:
            self._session.close()

    def cancel(self) -> None:
        """Have the device stop and clean up, from another thread; what is being waited for ends with an error."""
        self._cancelled = True
        if self._session is not None:
            with suppress(TargetError):
                self._session.say_goodbye()

    def probe(self) -> Machine:
        """What the device is, with the limits of its control groups applied.

        Raises:
            TargetError: It cannot be reached, or cannot measure.
        """
        session = self._connect()
        answer = self._run(["-m", "edgeml_runtime.measure", "machine"], self._limits.answer_s)
        try:
            machine = Machine.from_dict(json.loads(answer["text"]))
        except (ValueError, KeyError, TypeError) as error:
            detail = "\n".join(answer["messages"]) or f"status {answer['status']}"
            raise TargetError(f"{self._name}: the runtime does not run there: {detail}") from error
        narrow = _NARROW.get(machine.arch) if session.interpreter["bits"] == 32 else None
        return machine if narrow is None else replace(machine, arch=narrow)

    def watch(self) -> Watch:
        """The device while a measurement is running there."""
        return _RemoteWatch(self)

    def limit_memory(self, memory_bytes: int) -> MemoryLimit | None:
        """A limit on the device, or None where it has no way; the caller removes it.

        Raises:
            TargetError: The connection is lost.
        """
        answer = self._connect().ask("limit", memory_bytes=memory_bytes)
        if answer["exact"] is None:
            return None
        return _RemoteLimit(
            memory_bytes=memory_bytes,
            group=None,
            target=self,
            counts_used=answer["exact"],
            script_there=answer["script"],
        )

    def free_memory(self) -> None:
        """Remove the limit; a device that is lost does so by itself."""
        if self._session is not None:
            with suppress(TargetError):
                self._session.ask("free")

    def measure(
        self, request: MeasureRequest, *, variants: int, limit: MemoryLimit | None = None, progress: Progress
    ) -> Measurement:
        """Measure a model there, in fresh processes of the device's Python.

        Args:
            request: What to measure; its path names a file on this machine, which is sent once.
            variants: How many variants that are.
            limit: The memory they may use, from :meth:`limit_memory`, or None for all there is.
            progress: Told after every start.

        Returns:
            What was measured.

        Raises:
            InputError: The file cannot be measured at all.
            TargetError: The connection is lost, the device is full, or the measuring process crashed or hung.
        """
        there = self._send_model(request.path)
        words = measure_arguments(replace(request, path=there))
        if isinstance(limit, _RemoteLimit):
            words = limited_arguments(words, limit.script_there)
        limit_s = request.longest_s(variants)
        answer = self._run(words, limit_s, progress)
        if answer["expired"]:
            raise TargetError(f"{self._name}: the measuring process did not end in time and was killed")
        self.last_conditions = Conditions(**answer["conditions"])
        messages = "\n".join(answer["messages"]).replace(there, request.path)
        return read_answer(request.path, answer["status"], answer["text"], messages)

    def run_python(self, words: Sequence[str], *, model: str | None, limit_s: float, progress: Progress) -> Ended:
        """Run a fresh process of the device's Python, which finds the modules that were sent.

        Args:
            words: What comes after ``python``; :data:`~edgeml_devices.targets.MODEL` stands for the model's place.
            model: A model on this machine that the words name, and that is sent once; or None.
            limit_s: Seconds after which it is killed.
            progress: Told what the process tells.

        Returns:
            How it ended.

        Raises:
            InputError: The model cannot be read.
            TargetError: The connection is lost, the device is full, or the process did not end in time.
        """
        there = "" if model is None else self._send_model(model)
        placed = [word.replace(MODEL, json.dumps(there)[1:-1]) for word in words]
        answer = self._run(placed, limit_s, progress)
        if answer["expired"]:
            raise TargetError(f"{self._name}: a process did not end within {limit_s:g} s and was killed")
        output, messages = answer["text"], "\n".join(answer["messages"])
        if model is not None:
            output, messages = (text.replace(there, model) for text in (output, messages))
        return Ended(status=answer["status"], output=output, messages=messages)

    def _connect(self) -> Session:
        if self._cancelled:
            raise TargetError(f"{self._name}: cancelled")
        if self._session is None:
            self._session = Session(self._link)
            if self._cancelled:  # cancel() came while there was no session to tell
                raise TargetError(f"{self._name}: cancelled")
            self._prepare(self._session)
        return self._session

    def _prepare(self, session: Session) -> None:
        found = session.interpreter
        if found["numpy"] is None:
            raise TargetError(
                f"{self._name}: {found['executable']} (Python {found['python']}) has no numpy, which the runtime "
                f"needs: {found['executable']} -m pip install numpy and a backend, or name another Python: "
                f"{self._name}/path/of/python"
            )
        archive, unpacked = module_archive()
        needed = unpacked + self._room_bytes + _SPARE_BYTES
        session.ask("begin", needed_bytes=needed, lost_after_s=self._limits.lost_after_s)
        session.ask("lib", size=len(archive), content=[archive])

    def _send_model(self, path: str) -> str:
        session = self._connect()
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                state = (found.st_size, found.st_mtime_ns)
                if path not in self._sent or self._sent[path][0] != state:
                    name = os.path.basename(path)
                    content = _parts(path, file, found.st_size)
                    answer = session.ask("put", name=name, size=found.st_size, content=content)
                    self._sent[path] = (state, answer["path"])
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        return self._sent[path][1]

    def _run(self, words: list[str], limit_s: float, progress: Progress = silent) -> dict[str, Any]:
        """Run the device's Python; gives the agent's answer with ``text``, the output, and ``messages`` beside it."""
        messages: list[str] = []

        def take(line: str) -> None:
            event = progress_event(line)
            if event is None:
                messages.append(line)
            else:
                progress(event)

        # -P came with Python 3.11; the agent sets PYTHONSAFEPATH, which older ones ignore, and an empty folder.
        words = [word for word in words if word != "-P"]
        answer = self._connect().ask("run", words=words, limit_s=limit_s, within_s=limit_s + _SLACK_S, line=take)
        text = zlib.decompress(base64.b64decode(answer["output"])).decode("utf-8", "replace")
        return {**answer, "text": text, "messages": messages}


class SshTarget(PythonTarget):
    """A device reached over ssh.

    Args:
        address: The device.
        config: ssh configuration in place of the user's, or None.
        room_bytes: Size of what will be measured.
        limits: Bounds of the connection.
    """

    def __init__(
        self,
        address: SshAddress,
        *,
        config: Path | None = None,
        room_bytes: int = 0,
        limits: SshLimits | None = None,
    ) -> None:
        super().__init__(SshLink(address, config=config, limits=limits), room_bytes=room_bytes)


class AdbTarget(PythonTarget):
    """A device reached over adb.

    Args:
        address: The device.
        room_bytes: Size of what will be measured.
        limits: Bounds of the connection.
    """

    def __init__(self, address: AdbAddress, *, room_bytes: int = 0, limits: AdbLimits | None = None) -> None:
        super().__init__(AdbLink(address, limits=limits), room_bytes=room_bytes)


def _parts(path: str, file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        part = file.read(min(size, _CHUNK))
        if not part:
            raise InputError(f"{path}: became shorter while it was sent")
        size -= len(part)
        yield part
