"""The Free Spoken Digit Dataset itself, where it lies beside the checkout or ``EDGEML_FSDD`` names its folder."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeml_train.project import Project
from edgeml_train.templates import init_project

BESIDE = Path(__file__).parents[2] / ".." / "shared" / "data" / "fsdd"
FSDD = Path(os.environ.get("EDGEML_FSDD", BESIDE)).resolve()

pytestmark = pytest.mark.skipif(not FSDD.is_dir(), reason="the Free Spoken Digit Dataset is not on this machine")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of the template on the real recordings."""
    folder = tmp_path_factory.mktemp("real") / "my-words"
    init_project(folder, "spoken-digits", FSDD)
    return folder


def test_held_out_speakers_are_in_one_split_only(project: Path) -> None:
    splits = Project.open(project, ()).task.splits()
    speakers = [set(part.attributes["speaker"]) for part in (splits.train, splits.validation, splits.test)]
    assert [len(names) for names in speakers] == [3, 1, 2]
    assert len(set.union(*speakers)) == 6
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1500, 500, 1000]
    assert "theo" in splits.name


def test_the_authors_split_is_theirs(project: Path) -> None:
    splits = Project.open(project, ("data.split=authors",)).task.splits()
    assert (len(splits.test), len(set(splits.test.attributes["speaker"]))) == (300, 6)
    assert "authors" in splits.name


def test_a_recording_comes_in_as_it_was_written(project: Path) -> None:
    splits = Project.open(project, ()).task.splits()
    row, path = next(iter(splits.files.items()))
    with wave.open(str(path)) as recording:
        samples = np.frombuffer(recording.readframes(8000), "<i2")
    assert np.array_equal(splits.test.inputs["waveform"][row][: len(samples)], samples)


@pytest.mark.long
def test_the_six_commands_on_real_recordings(edgeml: Any, tmp_path: Path) -> None:
    assert edgeml("init", "my-words", "--template", "spoken-digits", "--data", str(FSDD), cwd=tmp_path).code == 0
    trained = edgeml("train", "my-words", "--set", "data.split=authors", "--json", cwd=tmp_path, timeout_s=900)
    assert trained.json()["metric"]["value"] >= 0.98
    exported = edgeml("export", "my-words", "--json", cwd=tmp_path)
    assert all(variant["shipped"] for variant in exported.json()["variants"])
    bundle = "my-words-1.0.0.edgeml"
    assert edgeml("inspect", bundle, cwd=tmp_path).code == 0
    assert edgeml("bench", bundle, "--device", "host", cwd=tmp_path).code in (0, 1, 4)
    predicted = edgeml("predict", bundle, str(FSDD / "recordings" / "7_theo_3.wav"), "--json", cwd=tmp_path)
    assert predicted.json()["label"] == "7"
