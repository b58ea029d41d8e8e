"""A step of the demo is skipped exactly when it was done for the same thing and what it made is still there."""

from __future__ import annotations

import pytest

from edgeml_cli.demo_steps import DemoSteps, StepRecord


@pytest.fixture
def steps(tmp_path):
    return DemoSteps(tmp_path)


def record(value=1, exit_code=0):
    return lambda: StepRecord(report={"value": value}, exit_code=exit_code)


def test_the_same_key_is_skipped_and_gives_the_same_report(steps):
    first = steps._once("train", "key", record(1))
    second = steps._once("train", "key", record(2))
    assert (first.skipped, second.skipped) == (False, True)
    assert second.report == {"value": 1}


@pytest.mark.parametrize(
    ("step", "key", "is_there"),
    [("train", "other", None), ("export", "key", None), ("train", "key", lambda report: report["value"] != 1)],
)
def test_anything_else_is_done(steps, step, key, is_there):
    steps._once("train", "key", record(1))
    again = steps._once(step, key, record(2), is_there)
    assert not again.skipped
    assert again.report == {"value": 2}


def test_other_steps_stay_remembered(steps):
    steps._once("train", "key", record(1))
    steps._once("bench", "key", record(2))
    assert steps._once("train", "key", record(3)).skipped


def test_a_step_that_failed_is_done_again(steps):
    steps._once("bench", "key", record(1, exit_code=1))
    assert not steps._once("bench", "key", record(2)).skipped


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_broken_memory_is_no_memory(steps, tmp_path, content):
    (tmp_path / ".edgeml").mkdir()
    (tmp_path / ".edgeml" / "demo.json").write_text(content)
    assert not steps._once("train", "key", record(1)).skipped
    assert steps._once("train", "key", record(2)).skipped


@pytest.mark.parametrize("name", ["edgeml.toml", "task.py"])
def test_a_changed_project_has_another_key(steps, tmp_path, name):
    before = steps._project_key()
    (tmp_path / name).write_text("x")
    assert steps._project_key() != before
