"""The projects in docs/datasets.md train on small data in the published formats."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from edgeml_train import Project, export_project, train_project

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")

CIFAR_IMAGES = 20


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_sets = load("public_sets")


def snippet(section, language):
    """The only code block in that language of one section."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return code


@pytest.fixture
def write_documented(tmp_path, empty_store):
    """Write the project of a section; ``changes`` are replacements in task.py."""

    def write(section, *changes, toml=None):
        folder = tmp_path / "project"
        (folder / ".edgeml").mkdir(parents=True)
        shutil.copyfile(empty_store, folder / ".edgeml" / "mlflow.db")
        (folder / "edgeml.toml").write_text(toml or snippet(section, "toml"))
        task = snippet(section, "python")
        for old, new in changes:
            assert task.count(old) == 1
            task = task.replace(old, new)
        (folder / "task.py").write_text(task)
        return folder

    return write


def write_speech(folder):
    public_sets.write_speech_commands(folder / "speech_commands_v0.02")
    public_sets.write_speech_test_set(folder / "speech_commands_test_set_v0.02")


def write_objects(folder):
    public_sets.write_cifar10(folder / "cifar-10-batches-bin", images=CIFAR_IMAGES)


def write_photographs(folder):
    public_sets.write_images(folder / "vw_coco2014_96")


@pytest.mark.parametrize(
    ("section", "write_data", "changes", "items", "parameters"),
    [
        ("Speech Commands v2", write_speech, (), {"train": 45, "validation": 26, "test": 13}, 23_180),
        (
            "CIFAR-10",
            write_objects,
            [('load_cifar10(self.path("path"))', f'load_cifar10(self.path("path"), images_per_file={CIFAR_IMAGES})')],
            {"train": 90, "validation": 10, "test": 20},
            78_186,
        ),
        ("Visual Wake Words", write_photographs, (), None, 216_322),
    ],
    ids=["speech-commands", "cifar-10", "visual-wake-words"],
)
def test_the_project_of_each_data_set_trains(write_documented, section, write_data, changes, items, parameters):
    folder = write_documented(section, *changes)
    write_data(folder)
    report = train_project(Project.open(folder, ["train.epochs=1"]))
    assert report.epochs == 1
    assert report.parameters == parameters
    if items:
        assert report.items == items
    assert sum(part.n for part in report.slices) == report.items["test"]


def test_the_project_of_machine_sounds_trains_and_exports(write_documented, tmp_path):
    """On half a second instead of ten; both formats score as PyTorch does."""
    toml = snippet("Machine sounds", "toml").replace("shape = [160000]", "shape = [8000]")
    folder = write_documented("Machine sounds", toml=toml)
    public_sets.write_machines(folder / "dev_data_ToyCar")
    report = train_project(Project.open(folder, ["train.epochs=3"]))
    assert report.items == {"train": 36, "validation": 4, "test": 10}
    assert report.parameters == 267_928
    assert [part.name for part in report.slices] == ["machine_id=ToyCar id_01", "machine_id=ToyCar id_02"]
    assert [baseline.name for baseline in report.baselines] == ["distance of the features"]
    assert report.anomaly is not None
    assert report.anomaly.alarms.events == 4
    export = export_project(Project.open(folder), out=tmp_path / "listener.edgeml")
    reasons = {variant.id: variant.reason for variant in export.variants}
    assert reasons["onnx-fp32"] is None
    assert reasons["tflite-fp32"] is None
