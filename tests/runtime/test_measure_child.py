"""Processes that answer, crash, hang or say nothing."""

from __future__ import annotations

import time

import pytest

from edgeml_runtime.measure import child as measure_child
from edgeml_runtime.measure.child import ChildFailure, run_child

CASES = [
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal SIGSEGV"),
    ("raise SystemExit(7)", "ended with status 7"),
    ("raise ValueError('unusable')", "status 1: ValueError: unusable"),
    ("print('nothing of the kind')", "ended with status 0"),
    ("print('[1, 2]')", "ended with status 0"),
    ("print('{}'); raise SystemExit(3)", "ended with status 3"),
    ("""print('{"error": "no backend"}')""", "no backend"),
]


@pytest.mark.parametrize(("code", "message"), CASES, ids=[message for _, message in CASES])
def test_a_child_without_an_answer_is_reported(monkeypatch, code, message):
    monkeypatch.setattr(measure_child, "_BOOTSTRAP", code.replace("{", "{{").replace("}", "}}"))
    with pytest.raises(ChildFailure, match=message):
        run_child("measure.start", [], limit_s=60)


def test_a_hanging_child_is_killed(monkeypatch):
    monkeypatch.setattr(measure_child, "_BOOTSTRAP", "import time; time.sleep(600)")
    begun = time.monotonic()
    with pytest.raises(ChildFailure, match=r"no answer within 0\.3 s"):
        run_child("measure.start", [], limit_s=0.3)
    assert time.monotonic() - begun < 300


def test_an_answer_comes_back(monkeypatch):
    monkeypatch.setattr(measure_child, "_BOOTSTRAP", """import sys; print('{{"words": %d}}' % len(sys.argv[1:]))""")
    assert run_child("measure.start", ["a", "b c"], limit_s=60) == {"words": 2}
