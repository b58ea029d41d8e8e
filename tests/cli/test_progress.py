"""Progress: plain lines where there is no terminal, bars where there is one."""

from __future__ import annotations

import io

from rich.console import Console

from edgeml_cli.progress import LINE_INTERVAL_S, NEWS_INTERVAL_S, BarDrawer, LineDrawer, progress_on
from edgeml_runtime.progress import ProgressEvent


def event(step, done, total=None, message=""):
    return ProgressEvent(step=step, done=done, total=total, message=message)


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_lines_at_the_beginning_the_end_and_every_few_seconds():
    stream, clock = io.StringIO(), Clock()
    draw = LineDrawer(stream, clock)
    for done in range(5):
        draw(event("score", done, 4))
        clock.now_s += LINE_INTERVAL_S / 2
    assert stream.getvalue().splitlines() == ["score 0/4", "score 2/4", "score 4/4"]


def test_a_new_message_is_written_soon():
    stream, clock = io.StringIO(), Clock()
    draw = LineDrawer(stream, clock)
    for done in range(5):
        draw(event("train", done, 9, f"epoch {done}"))
        clock.now_s += NEWS_INTERVAL_S / 2
    assert stream.getvalue().splitlines() == ["train 0/9  epoch 0", "train 2/9  epoch 2", "train 4/9  epoch 4"]


def test_a_new_step_is_written_at_once():
    stream = io.StringIO()
    draw = LineDrawer(stream, Clock())
    draw(event("data", 0))
    draw(event("convert", 0, 1))
    draw(event("convert", 1, 1, "12 kB"))
    assert stream.getvalue() == "data\nconvert\n"


def test_without_a_terminal_there_are_no_control_characters():
    stream = io.StringIO()
    with progress_on(stream) as draw:
        draw(event("data", 2, 2, "3,000 files"))
    assert stream.getvalue() == "data 2/2  3,000 files\n"


def test_bars_show_every_step_and_brackets_in_messages():
    stream = io.StringIO()
    draw = BarDrawer(Console(file=stream, force_terminal=True, width=80, legacy_windows=False))
    draw.start()
    draw(event("train", 1, 4, "loss [0.5]"))
    draw(event("convert", 0, None))
    draw.stop(complete=True)
    text = stream.getvalue()
    assert "train" in text
    assert "4/4" in text
    assert "loss [0.5]" in text
    assert "convert" in text
