"""One connection with the agent on a device: started, asked, and ended so that nothing is left behind there."""

from __future__ import annotations

import json
import logging
import os
import queue
import select
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgeml_devices.remote.link import AGENT_BANNER
from edgeml_devices.remote.parcel import agent_source
from edgeml_runtime.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from edgeml_devices.remote.link import Link

__all__ = ["OLDEST_PYTHON", "RefusedError", "Session"]

OLDEST_PYTHON = (3, 10)
_ALIVE = b'{"said": "alive"}\n'
_MAX_ANSWER_BYTES = 128 << 20
_MAX_MESSAGES_BYTES = 16_000
_FAREWELL_S = 30.0
_LOOK_S = 0.5
_LOG = logging.getLogger(__name__)


class RefusedError(TargetError):
    """The device cannot do what it was asked for; the connection stands.

    Args:
        kind: The agent's word for it: ``space``, ``request`` or ``system``.
        text: Why.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Session:
    """A running agent on a device.

    Attributes:
        interpreter: Which Python runs it: ``executable``, ``python``, ``bits``, ``numpy``.
        left: What the device could not remove; known once the connection was closed.

    Args:
        link: The way to the device.

    Raises:
        TargetError: The device cannot be reached, or has no Python that will do.
    """

    def __init__(self, link: Link) -> None:
        self._link, self._name, self._limits = link, link.name, link.limits
        command = link.command()
        self.left: tuple[str, ...] = ()
        try:
            # Of a session of its own: an interrupt is for the driver, which ends the connection in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise TargetError(link.no_client) from error
        assert self._process.stdin is not None
        self._descriptor = self._process.stdin.fileno()
        os.set_blocking(self._descriptor, False)
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._messages = bytearray()
        self._greeted = False
        self._unanswered_since: float | None = None
        self._threads = [threading.Thread(target=job, daemon=True) for job in (self._listen, self._keep_messages)]
        for thread in self._threads:
            thread.start()
        try:
            self.interpreter: Mapping[str, Any] = self._greet()
        except BaseException:
            self._end()
            raise
        self._threads.append(threading.Thread(target=self._beat, daemon=True))
        self._threads[-1].start()

    def _greet(self) -> dict[str, Any]:
        """Learn which Python this is, and hand it the agent."""
        deadline = time.monotonic() + self._limits.connect_s + self._limits.answer_s
        banner = AGENT_BANNER.encode("ascii") + b" "
        line = b""
        while not line.startswith(banner):  # start-up files of the device's shell may print something first
            line = self._next(deadline)
        major, minor = map(int, line.split()[1].split(b"."))
        python = self._link.python
        if (major, minor) < OLDEST_PYTHON:
            needed = ".".join(map(str, OLDEST_PYTHON))
            raise TargetError(
                f"{self._name}: {python} is Python {major}.{minor}, and {needed} or newer is needed; where there is "
                f"one, name it: {self._name}/path/of/python"
            )
        source = agent_source()
        self._send(b"%d\n" % len(source), [source])
        ready = self._read(deadline, None)
        self._greeted = True
        return ready

    def ask(
        self,
        do: str,
        *,
        content: Iterable[bytes] = (),
        within_s: float | None = None,
        line: Callable[[str], None] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            do: Name of the request.
            content: The bytes that follow it.
            within_s: Seconds to wait, or None for what a request takes that does not measure.
            line: Told every line that a running process writes to standard error.
            **fields: The request.

        Returns:
            The answer.

        Raises:
            RefusedError: The device cannot do it.
            TargetError: The connection is lost, or there was no answer in time.
        """
        self._send(json.dumps({"do": do, **fields}).encode("ascii") + b"\n", content)
        answer = self._read(time.monotonic() + (within_s or self._limits.answer_s), line)
        if answer["said"] == "refused":
            raise RefusedError(answer["kind"], f"{self._name}: {answer['text']}")
        if answer["said"] == "gone":  # somebody said goodbye meanwhile
            self.left = tuple(answer["left"])
            raise TargetError(f"{self._name}: cancelled")
        return answer

    def close(self) -> None:
        """Say goodbye and wait until the device has cleaned up; never raises."""
        if not self._ended.is_set():
            try:
                self.say_goodbye()
                deadline = time.monotonic() + _FAREWELL_S
                while (answer := self._read(deadline, None))["said"] != "gone":
                    pass
                self.left = tuple(answer["left"])
            except TargetError as error:
                _LOG.debug("%s: no goodbye: %s", self._name, error)
        self._end()

    def say_goodbye(self) -> None:
        """Have the device stop what it does and clean up; from any thread, without waiting for it.

        Raises:
            TargetError: The connection is lost.
        """
        self._send(b'{"do": "bye"}\n', ())

    def _send(self, request: bytes, content: Iterable[bytes]) -> None:
        try:
            with self._writing:
                self._write(request)
                for part in content:
                    self._write(part)
        except BrokenPipeError as error:
            raise self._loss() from error
        except BaseException:  # half a request was sent: nothing that follows would be understood
            self._end()
            raise

    def _write(self, data: bytes) -> None:
        """Hand bytes to the client; a device that takes none for too long is given up."""
        view, deadline = memoryview(data), time.monotonic() + self._limits.answer_s
        while view:
            if self._ended.is_set():
                raise BrokenPipeError
            try:
                view = view[os.write(self._descriptor, view) :]
                deadline = time.monotonic() + self._limits.answer_s
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TargetError(f"{self._name}: takes no more data; the device may be stuck") from None
                select.select([], [self._descriptor], [], _LOOK_S)

    def _read(self, deadline: float, line: Callable[[str], None] | None) -> dict[str, Any]:
        while True:
            try:
                answer = json.loads(self._next(deadline))
                said = answer["said"]
            except (ValueError, KeyError, TypeError) as error:
                self._end()
                raise TargetError(f"{self._name}: the answer makes no sense: {error}") from error
            if said != "line":
                return dict(answer)
            if line is not None:
                line(answer["text"])

    def _next(self, deadline: float) -> bytes:
        try:
            answer = self._answers.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            self._end()
            raise TargetError(f"{self._name}: no answer in time; the device may be stuck") from None
        if answer is None:
            self._answers.put(None)  # for whoever asks next
            raise self._loss()
        return answer

    def _loss(self) -> TargetError:
        status = self._end()
        messages = self._messages.decode("utf-8", "replace")
        return TargetError(self._link.explain_end(status, messages, python_ran=self._greeted))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while (answer := stream.readline(_MAX_ANSWER_BYTES)).endswith(b"\n"):
                self._unanswered_since = None
                if answer != _ALIVE:
                    self._answers.put(answer)
        self._answers.put(None)

    def _keep_messages(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for message in stream:
                self._messages += message
                del self._messages[:-_MAX_MESSAGES_BYTES]

    def _beat(self) -> None:
        while not self._ended.wait(self._limits.beat_s):
            if self._is_silent():
                self._messages += f"no sign of life for {self._link.silent_s:g} s\n".encode("ascii")
                self._process.kill()  # whoever waits for an answer is told that there is none to come
                return
            self._unanswered_since = self._unanswered_since or time.monotonic()
            with suppress(TargetError):
                self._send(b'{"do": "beat"}\n', ())

    def _is_silent(self) -> bool:
        since, patience_s = self._unanswered_since, self._link.silent_s
        return since is not None and patience_s is not None and time.monotonic() - since > patience_s

    def _end(self) -> int | None:
        """End the connection; the agent notices the end of its input. Gives the status, None where it was killed."""
        self._ended.set()
        assert self._process.stdin is not None
        with self._writing, suppress(OSError):  # a writer that waits looks at the event
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None
        finally:
            for thread in self._threads:
                if thread is not threading.current_thread():
                    thread.join(5.0)
        return self._process.returncode
