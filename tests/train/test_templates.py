from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from edgeml_runtime.errors import EdgemlError, InputError, ProjectError, StorageError
from edgeml_runtime.loaders import load_tensor
from edgeml_train import TEMPLATES, Project, init_project, train_project
from edgeml_train.checks import check_splits
from edgeml_train.data import handwritten_digits, stratified_parts

SPEAKERS = ("ann", "bob", "cid", "dora")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Four speakers, ten digits, twelve takes: tones whose pitch says the digit."""
    folder = tmp_path_factory.mktemp("fsdd")
    time = np.arange(2000) / 8000
    for speaker_index, speaker in enumerate(SPEAKERS):
        for digit in range(10):
            for index in range(12):
                tone = np.sin(2 * np.pi * (300 + 150 * digit + 10 * speaker_index + index) * time)
                with wave.open(str(folder / f"{digit}_{speaker}_{index}.wav"), "wb") as file:
                    file.setparams((1, 2, 8000, 0, "NONE", ""))
                    file.writeframes((tone * 8000).astype("<i2").tobytes())
    return folder


@pytest.fixture
def digits(tmp_path):
    return init_project(tmp_path / "my-digits", "handwritten-digits")


@pytest.fixture
def words(tmp_path, recordings):
    data = shutil.copytree(recordings, tmp_path / "data", copy_function=lambda a, b: Path(b).hardlink_to(a))
    return init_project(tmp_path / "my-words", "spoken-digits", data)


OVERRIDES = ['data.test_speakers=["dora"]', 'data.validation_speakers=["cid"]']


def texts_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "blank"])
def test_what_a_template_writes(tmp_path, recordings, template):
    data = recordings if TEMPLATES[template].needs_data else None
    folder = init_project(tmp_path / "My Model", template, data)

    example = [TEMPLATES[template].example[0]] if TEMPLATES[template].example else []
    written = sorted([".edgeml", ".gitignore", "edgeml.toml", "task.py", *example])
    assert sorted(path.name for path in folder.iterdir()) == written
    assert json.loads((folder / ".edgeml" / "edgeml.schema.json").read_text())["properties"]["train"]
    project = Project.open(folder)
    assert (project.contract.name, project.contract.version) == ("my-model", "1.0.0")
    assert "__" not in (folder / "edgeml.toml").read_text()
    assert len((folder / "task.py").read_text().splitlines()) < 80
    assert sorted(path.name for path in tmp_path.iterdir()) == ["My Model"]


def test_the_templates_fit_their_schema(digits, words):
    import tomllib

    import jsonschema

    for folder in (digits, words):
        schema = json.loads((folder / ".edgeml" / "edgeml.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(tomllib.loads((folder / "edgeml.toml").read_text()))


def test_an_empty_folder_can_be_used(tmp_path):
    (tmp_path / "digits").mkdir()

    assert Project.open(init_project(tmp_path / "digits", "handwritten-digits")).contract.name == "digits"


REFUSED = [
    ("digits", "handwriten-digits", None, InputError, "expected a template of handwritten-digits, spoken-digits"),
    ("digits", "spoken-digits", None, InputError, "needs a data folder: pass --data PATH"),
    ("digits", "spoken-digits", "nowhere", InputError, "expected a folder, found nothing there"),
    ("digits", "handwritten-digits", ".", InputError, "brings its data"),
    ("table", "sensor-table", ".", InputError, r"expected a file \*\.csv or \*\.parquet, found a folder there"),
    ("table", "sensor-table", "full/file", InputError, "found another file there"),
    ("table", "sensor-table", "t.csv", InputError, r"expected a file \*\.csv or \*\.parquet, found nothing there"),
    ("123", "handwritten-digits", None, ProjectError, "begins with a letter"),
    ("full", "handwritten-digits", None, ProjectError, "expected a new or an empty folder"),
    ("full/file", "handwritten-digits", None, ProjectError, "expected a new or an empty folder"),
    ("full/file/digits", "handwritten-digits", None, StorageError, "cannot write the project"),
]


@pytest.mark.parametrize(("name", "template", "data", "error", "message"), REFUSED)
def test_init_refuses_and_writes_nothing(tmp_path, monkeypatch, name, template, data, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    before = texts_below(tmp_path)

    with pytest.raises(error, match=message):
        init_project(tmp_path / name, template, data)

    assert texts_below(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_path_with_quotes_survives_the_toml(tmp_path, recordings):
    odd = tmp_path / 'a "b" \\ ü'
    odd.symlink_to(recordings)
    project = Project.open(init_project(tmp_path / "words", "spoken-digits", odd))

    assert Path(project.data["path"]) == recordings.resolve()


def test_handwritten_digits_keep_all_levels_apart():
    from sklearn.datasets import load_digits

    data = handwritten_digits()

    assert data.inputs["image"].shape == (1797, 8, 8, 1)
    assert len(np.unique(data.inputs["image"])) == 17
    assert (data.inputs["image"].min(), data.inputs["image"].max()) == (0, 255)
    restored = np.rint(data.inputs["image"][..., 0] * (16 / 255))
    np.testing.assert_array_equal(restored, load_digits().images)


def test_the_digits_split(digits):
    project = Project.open(digits)
    splits = project.task.splits()
    check_splits(project.contract, splits)
    sizes = [len(part) for part in (splits.train, splits.validation, splits.test)]

    assert sum(sizes) == 1797
    assert sizes[2] == 450
    for part in (splits.train, splits.validation, splits.test):
        shares = np.bincount(part.targets) / len(part)
        assert shares.min() > 0.09
        assert shares.max() < 0.11
    again = Project.open(digits).task.splits()
    np.testing.assert_array_equal(again.test.inputs["image"], splits.test.inputs["image"])


def test_image_files_decode_to_their_test_items(digits):
    project = Project.open(digits)
    splits = project.task.splits()

    assert len(splits.files) == 20
    assert {int(splits.test.targets[row]) for row in splits.files} == set(range(10))
    for row, path in splits.files.items():
        np.testing.assert_array_equal(load_tensor(project.contract.inputs[0], path), splits.test.inputs["image"][row])


def test_handwritten_digits_train(digits):
    """The whole way on the real data; the bar of this template, and a baseline below it."""
    report = train_project(Project.open(digits))

    assert report.metric.value >= 0.97
    assert 0.9 < report.baseline.metric.value < report.metric.value
    assert report.split == "random, stratified by digit"
    assert [part.name for part in report.slices] == [f"label={digit}" for digit in range(10)]


def test_speakers_are_held_out_by_default(words):
    project = Project.open(words, OVERRIDES)
    splits = project.task.splits()
    check_splits(project.contract, splits)

    assert splits.name == "held-out speakers: dora"
    assert set(splits.test.attributes["speaker"]) == {"dora"}
    assert set(splits.validation.attributes["speaker"]) == {"cid"}
    assert set(splits.train.attributes["speaker"]) == {"ann", "bob"}
    assert len(splits.test) == 120
    assert not splits.shared_groups


def test_the_authors_split_shares_speakers(words):
    project = Project.open(words, ["data.split=authors"])
    splits = project.task.splits()
    check_splits(project.contract, splits)

    assert "authors" in splits.name
    assert "shared" in splits.name
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [80, 200, 200]
    assert set(splits.test.attributes["speaker"]) == set(SPEAKERS)
    assert all(int(path.stem.split("_")[2]) < 5 for path in splits.files.values())


def test_recordings_decode_to_their_test_items(words):
    project = Project.open(words, OVERRIDES)
    splits = project.task.splits()

    assert len(splits.files) == len(splits.test)
    for row in (0, 57, 119):
        path = splits.files[row]
        assert int(path.name[0]) == splits.test.targets[row]
        decoded = load_tensor(project.contract.inputs[0], path)
        np.testing.assert_array_equal(decoded, splits.test.inputs["waveform"][row])


def empty(data):
    for path in data.iterdir():
        path.unlink()


def corrupt(data):
    path = data / "3_bob_7.wav"
    path.unlink()
    path.write_bytes(b"RIFF\x00\x00")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"data\.path names .*data, which does not exist"),
        (empty, r"data: expected WAV files named like 7_theo_12\.wav, found none"),
        (corrupt, r"3_bob_7\.wav"),
        (lambda data: (data / "x_bob_1.wav").write_bytes(b""), r"x_bob_1\.wav: expected a name like"),
        (lambda data: (data / "3_bob_07.wav.wav").write_bytes(b""), r"3_bob_07\.wav\.wav: expected a name like"),
    ],
)
def test_a_data_folder_that_cannot_be_used(words, damage, message):
    damage(words.parent / "data")
    before = texts_below(words)
    with pytest.raises(EdgemlError, match=message):
        train_project(Project.open(words, OVERRIDES))

    assert texts_below(words) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.split=author", "expected data.split to be one of speakers, authors, found 'author'"),
        ("data.path=", "expected data.path to be a path, found ''"),
        ("data.test_speakers=dora", "expected data.test_speakers to be a list of speakers, found 'dora'"),
        ('data.test_speakers=["nobody"]', "found .* in validation, 0 in test"),
    ],
)
def test_settings_that_make_no_split(words, override, message):
    project = Project.open(words, [*OVERRIDES, override])
    with pytest.raises(ProjectError, match=message):
        check_splits(project.contract, project.task.splits())


def test_the_subfolder_of_the_data_set_is_found(words):
    inner = words.parent / "data" / "recordings"
    inner.mkdir()
    for path in (words.parent / "data").glob("*.wav"):
        path.rename(inner / path.name)

    assert len(Project.open(words, OVERRIDES).task.splits().test) == 120


def test_stratified_parts_are_a_partition():
    targets = np.repeat([0, 1, 2], [50, 30, 20])
    parts = stratified_parts(targets, (0.6, 0.2), seed=3)

    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert [np.bincount(targets[part]).tolist() for part in parts] == [[30, 18, 12], [10, 6, 4], [10, 6, 4]]
    assert not np.array_equal(parts[0], stratified_parts(targets, (0.6, 0.2), seed=4)[0])
