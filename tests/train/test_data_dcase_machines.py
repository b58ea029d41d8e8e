"""Machine sounds in the layout of DCASE 2020, task 2."""

from __future__ import annotations

import importlib.util
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import ProjectError
from edgeml_runtime.loaders import load_tensor
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec
from edgeml_train.data import Part, find_machine_sounds, load_splits


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_sets = load("public_sets")
SPEC = InputSpec(
    name="sound",
    dtype=DType.INT16,
    shape=(8000,),
    range=(-32768, 32767),
    unit="PCM sample",
    source="microphone",
    loader=LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 16_000}),
)


@pytest.fixture
def published(tmp_path):
    return public_sets.write_machines(tmp_path / "dev_data") / "ToyCar"


def test_the_challenges_test_is_kept_and_training_is_normal(published):
    found = find_machine_sounds(published)
    assert {item.path for item in found} == set(published.rglob("*.wav"))
    for item in found:
        assert item.target == int(item.path.name.startswith("anomaly"))
        assert (item.part is Part.TEST) == (item.path.parent.name == "test")
    assert Counter((item.part, item.target) for item in found) == {
        (Part.TRAIN, 0): 36,
        (Part.VALIDATION, 0): 4,
        (Part.TEST, 0): 6,
        (Part.TEST, 1): 4,
    }


def test_every_machine_is_in_every_part_and_each_nth_recording_is_held_out(published):
    found = find_machine_sounds(published, validation_every=5)
    held_out = [item for item in found if item.part is Part.VALIDATION]
    assert Counter(item.attributes["machine_id"] for item in held_out) == {"ToyCar id_01": 4, "ToyCar id_02": 4}
    assert {item.path.stem[-2:] for item in held_out} == {"04", "09", "14", "19"}
    assert {item.attributes["machine"] for item in found} == {"ToyCar"}


def test_several_types_of_machines(published):
    public_sets.write_machines(published.parent, machine="fan")
    found = find_machine_sounds(published.parent)
    assert Counter(item.attributes["machine"] for item in found) == {"ToyCar": 50, "fan": 50}
    assert "fan id_02" in {item.attributes["machine_id"] for item in found}


def test_recordings_load(published):
    splits = load_splits(find_machine_sounds(published), SPEC, name="the challenge's", shared_groups=True)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [36, 4, 10]
    assert splits.test.targets.sum() == 4
    for row, path in splits.files.items():
        assert np.array_equal(splits.test.inputs["sound"][row], load_tensor(SPEC, path))


def test_unreadable_recordings_are_counted_and_named(published):
    (published / "test" / "anomaly_id_02_00000001.wav").write_bytes(b"")
    with pytest.raises(ProjectError, match=r"1 of 10 files cannot be read[\s\S]*anomaly_id_02_00000001\.wav"):
        load_splits(find_machine_sounds(published), SPEC, name="the challenge's")


def rename(folder, old, new):
    (folder / old).rename(folder / new)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "train"), "found train missing"),
        (
            lambda folder: [path.unlink() for path in folder.glob("test/anomaly*")],
            "expected normal and anomalous recordings, found 6 and 0",
        ),
        (
            lambda folder: rename(folder, "test/anomaly_id_01_00000000.wav", "train/anomaly_id_01_00000000.wav"),
            r"found 1 anomalies among 41 files: anomaly_id_01_00000000\.wav",
        ),
        (
            lambda folder: rename(folder, "test/normal_id_01_00000000.wav", "test/id_01_00000000.wav"),
            r"found 1 of 10 without: id_01_00000000\.wav",
        ),
        (
            lambda folder: rename(folder, "test/normal_id_01_00000000.wav", "test/section_00_target.wav"),
            r"found 1 outside this layout: section_00_target\.wav",
        ),
        (
            lambda folder: [path.unlink() for path in folder.glob("train/*")],
            r"train: expected files named like normal_id_01_00000000\.wav, found none",
        ),
    ],
)
def test_what_breaks_the_layout_is_counted_and_named(published, change, message):
    change(published)
    with pytest.raises(ProjectError, match=message):
        find_machine_sounds(published)


def test_a_folder_without_machines_is_refused(tmp_path):
    with pytest.raises(ProjectError, match="found neither"):
        find_machine_sounds(tmp_path)
    (tmp_path / "ToyCar").mkdir()
    with pytest.raises(ProjectError, match="found train and test missing"):
        find_machine_sounds(tmp_path)


@pytest.mark.parametrize("every", [0, 1])
def test_holding_out_everything_is_refused(published, every):
    with pytest.raises(ProjectError, match="at least 2"):
        find_machine_sounds(published, validation_every=every)
