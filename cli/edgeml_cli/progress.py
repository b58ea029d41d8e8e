"""Drawing :class:`~edgeml_runtime.progress.ProgressEvent` on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from edgeml_runtime.progress import Progress, ProgressEvent

__all__ = ["BarDrawer", "LineDrawer", "announce_loading", "progress_on"]

LINE_INTERVAL_S = 5.0
NEWS_INTERVAL_S = 0.5
STEP_WIDTH = 21


class _CountColumn(ProgressColumn):
    """``3/10`` where the total is known, ``3`` where it is not."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(str(int(task.completed)), style="progress.download")
        return MofNCompleteColumn().render(task)


class BarDrawer:
    """One bar per step, the finished ones left standing above.

    Args:
        console: Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            _CountColumn(),
            TimeElapsedColumn(),
            TextColumn(
                "{task.fields[message]}",
                style="dim",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            expand=True,
        )
        self._step: str | None = None
        self._task: TaskID | None = None

    def __call__(self, event: ProgressEvent) -> None:
        """Draw one event."""
        if self._task is None or event.step != self._step:
            self._finish_step()
            self._step = event.step
            self._task = self._bars.add_task(event.step.ljust(STEP_WIDTH), total=event.total, message="")
        self._bars.update(self._task, completed=event.done, total=event.total, message=event.message)

    def _finish_step(self) -> None:
        if self._task is None:
            return
        task = self._bars.tasks[-1]
        whole = task.total or task.completed or 1
        self._bars.update(self._task, total=whole, completed=whole)
        self._bars.stop_task(self._task)

    def start(self) -> None:
        """Begin drawing."""
        self._bars.start()

    def stop(self, *, complete: bool) -> None:
        """End drawing.

        Args:
            complete: Whether the last step was finished, rather than broken off.
        """
        if complete:
            self._finish_step()
        self._bars.stop()


class LineDrawer:
    """One line when a step begins, when it ends, and between: soon for a new message, every few seconds for a count.

    A step of one unit has one line in all.

    Args:
        stream: Where to write.
        clock: Seconds, monotonic.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._step: str | None = None
        self._message = ""
        self._written_s = 0.0

    def __call__(self, event: ProgressEvent) -> None:
        """Write the event when it is due."""
        now_s = self._clock()
        finished = event.total is not None and event.done >= event.total
        fresh = event.step != self._step
        wait_s = LINE_INTERVAL_S if event.message == self._message else NEWS_INTERVAL_S
        due = fresh or finished or now_s >= self._written_s + wait_s
        if not due or (event.total == 1 and not fresh):
            return
        self._step, self._message, self._written_s = event.step, event.message, now_s
        count = f" {event.done}/{event.total}" if event.total not in (None, 1) else ""
        message = f"  {event.message}" if event.message else ""
        self._stream.write(f"{event.step}{count}{message}\n")
        self._stream.flush()

    def start(self) -> None:
        """Begin; nothing to prepare."""

    def stop(self, *, complete: bool) -> None:
        """End; nothing to clean up."""


def announce_loading(progress: Progress, what: str) -> None:
    """Show that something is being imported that takes seconds.

    Args:
        progress: The callback that draws.
        what: What is imported, such as ``"PyTorch"``.
    """
    from edgeml_runtime.progress import ProgressEvent

    progress(ProgressEvent(step="load", done=0, total=1, message=what))


@contextmanager
def progress_on(stream: TextIO) -> Iterator[BarDrawer | LineDrawer]:
    """Draw the progress of one piece of work.

    Args:
        stream: Usually stderr, or a copy of it.

    Yields:
        The callback to hand to the library.
    """
    console = Console(file=stream)
    drawer = BarDrawer(console) if console.is_terminal else LineDrawer(stream)
    drawer.start()
    complete = False
    try:
        yield drawer
        complete = True
    finally:
        drawer.stop(complete=complete)
