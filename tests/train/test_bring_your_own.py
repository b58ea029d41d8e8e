"""docs/bring-your-own.md runs as it stands: a plain PyTorch file becomes a project, with and without training."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from edgeml_runtime import Model
from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, export_project, init_project, train_project
from edgeml_train.fused import predict_array
from edgeml_train.pipeline import load_run

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
COLOURS = {"apple": (200, 30, 40), "banana": (220, 210, 60), "kiwi": (110, 140, 30)}
VARIANTS = {"onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"}

# Notices of the exporters themselves, about their own use of PyTorch and Python.
exporting = pytest.mark.filterwarnings("ignore")


def block(language, word):
    """The only code block in that language that holds the word."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if word in text]
    return found


TOML = block("toml", "[model]")
TASK = block("python", "import FruitNet, preprocess")
NETWORK = block("python", "class FruitNet")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Flat colours under different light, with noise."""
    folder = tmp_path_factory.mktemp("data") / "photographs"
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for index in range(80):
            pixels = np.array(colour) * rng.uniform(0.8, 1.15) + rng.normal(0, 12, (60, 50, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def write_fruit(tmp_path, photographs, empty_store):
    """Start from the blank template, then fill it in."""

    def write(toml=TOML, task=TASK):
        folder = init_project(tmp_path / "fruit", "blank")
        shutil.copyfile(empty_store, folder / ".edgeml" / "mlflow.db")
        shutil.copytree(photographs, folder / "photographs")
        (folder / "fruit_net.py").write_text(NETWORK)
        (folder / "edgeml.toml").write_text(toml)
        (folder / "task.py").write_text(task)
        return folder

    return write


def user_module():
    spec = importlib.util.spec_from_loader("fruit_net_of_the_user", loader=None)
    module = importlib.util.module_from_spec(spec)
    exec(NETWORK, module.__dict__)
    return module


def test_the_user_writes_fewer_than_forty_lines():
    lines = [line for text in (TOML, TASK) for line in text.splitlines() if line.strip()]
    assert len(lines) < 40
    assert f"two short files, {len(lines)} lines here" in DOCUMENT


@exporting
def test_a_plain_network_becomes_a_project(write_fruit, photographs, tmp_path):
    folder = write_fruit()
    report = train_project(Project.open(folder, ["train.epochs=6"]))
    export = export_project(Project.open(folder), out=tmp_path)

    assert report.floor_met
    assert {variant.id for variant in export.variants if not variant.reason} == VARIANTS
    for variant in sorted(VARIANTS):
        model = Model.load(export.bundle, variant=variant)
        for name in COLOURS:
            assert model.predict_file(photographs / name / "0.png").label == name


def fit_outside(network, photographs, preprocess):
    """Train as somebody else would, with PyTorch alone."""
    images = np.stack(
        [
            np.asarray(Image.open(photographs / name / f"{i}.png").resize((48, 48)))
            for name in COLOURS
            for i in range(60)
        ]
    )
    x, y = preprocess(torch.from_numpy(images)), torch.arange(3).repeat_interleave(60)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network.eval()


@exporting
def test_weights_that_exist_are_kept_as_they_are(write_fruit, photographs, tmp_path):
    torch.manual_seed(0)
    user = user_module()
    network = fit_outside(user.FruitNet(3), photographs, user.preprocess)
    load_import, _, method = block("python", "import load_pretrained").partition("\n\n")
    table = block("toml", "weights = ")
    folder = write_fruit(
        TOML[: TOML.index("[data]")] + table,
        f"{load_import}\n{TASK[: TASK.index('    def network')]}{method}",
    )
    torch.save({"epoch": 7, "state_dict": network.state_dict()}, folder / "weights.pt")

    report = train_project(Project.open(folder))
    run = load_run(Project.open(folder))
    export = export_project(Project.open(folder), out=tmp_path)

    assert (report.epochs, report.best_epoch) == (0, 0)
    assert [baseline.name for baseline in report.baselines] == ["majority class"]
    assert report.floor_met
    images = run.splits.test.inputs["image"]
    with torch.no_grad():
        expected = network(user.preprocess(torch.from_numpy(images))).numpy()
    np.testing.assert_allclose(predict_array(run.fused, {"image": images}), expected, atol=1e-5)
    assert export.ok


def test_weights_need_no_items_of_every_class_but_training_does(write_fruit):
    task = TASK.replace(
        "        return load_splits(files",
        "        files = [f for f in files if f.part.value != 'train' or f.target]\n        return load_splits(files",
    )
    folder = write_fruit(task=task)
    assert train_project(Project.open(folder, ["train.epochs=0"])).items["train"] > 0
    with pytest.raises(ProjectError, match=r"training items of every label .*, found none of 1 of 3: apple"):
        train_project(Project.open(folder, ["train.epochs=1"]))


def test_a_change_of_the_users_own_file_is_noticed(write_fruit):
    folder = write_fruit()
    train_project(Project.open(folder, ["train.epochs=0"]))
    assert load_run(Project.open(folder)).run_id
    (folder / "fruit_net.py").write_text(NETWORK.replace("127.5 - 1", "127.5 - 2"))
    with pytest.raises(ProjectError, match="in it or in a file of the project that it imports"):
        load_run(Project.open(folder))
