"""Quantization-aware training of whole projects: a hard network that it saves, and a small one for everything else."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, export_project, init_project, load_run, train_project, train_qat_project
from edgeml_train.qat.report import Stage
from edgeml_train.qat.store import PARENT_TAG
from edgeml_train.tracking import Tracking

BOTH = 'variants = ["onnx-int8", "tflite-int8", "onnx-fp32"]'

# What a depthwise convolution reads is made small in a few channels. Its normalisation makes up for that, so that the
# folded weights of those channels are 64 times as large as the others', which leaves these next to nothing of one scale
# for all (Nagel et al., "Data-Free Quantization", 2019, arXiv:1906.04721, figure 2, saw such weights in MobileNetV2).
HARD = """
import torch
from torch import nn

from edgeml_train import Splits, Task
from edgeml_train.data import handwritten_digits, stratified_parts
from edgeml_train.features import ImageFeatures


class Uneven(nn.Module):
    def __init__(self, channels):
        super().__init__()
        scale = torch.ones(channels, 1, 1)
        scale[:2] = 1 / 64
        self.register_buffer("scale", scale)

    def forward(self, x):
        return x * self.scale


def separable(channels, wider):
    return [
        Uneven(channels),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, wider, 1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
    ]


class Hard(Task):
    def splits(self):
        data = handwritten_digits()
        train, validation, test = (data.take(part) for part in stratified_parts(data.targets, (0.6, 0.15), seed=0))
        return Splits(train=train, validation=validation, test=test, name="random, stratified by digit")

    def features(self):
        return ImageFeatures(channels=1)

    def network(self):
        stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
        return nn.Sequential(*stem, *separable(16, 32), *separable(32, 32), *head)
"""


@pytest.fixture(scope="module")
def small(write_project):
    """The tiny project for both formats, trained in float and with rounding."""
    folder = write_project("tiny")
    edit(folder, 'variants = ["onnx-fp32"]', BOTH)
    parent = train_project(Project.open(folder, ["train.epochs=4"]))
    report = train_qat_project(Project.open(folder, ["train.qat_epochs=3"]))
    return folder, parent, report


@pytest.fixture
def copied(small, tmp_path):
    """The same in a copy of its own."""
    shutil.copytree(small[0], tmp_path / "tiny")
    return tmp_path / "tiny", small[1], small[2]


def edit(folder, old, new, file="edgeml.toml"):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def record_of(folder, run_id):
    return next(record for record in Tracking(folder, "tiny").runs() if record.run_id == run_id)


def same_model(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def stored(folder, run_id, name):
    return Tracking(folder, "tiny").file(run_id, name).read_bytes()


# --- what it is for


def test_it_wins_back_at_least_half_of_what_one_scale_per_tensor_loses(tmp_path):
    folder = tmp_path / "hard"
    init_project(folder, "handwritten-digits")
    (folder / "task.py").write_text(HARD)
    edit(folder, "[export]", '[export]\nvariants = ["onnx-int8", "tflite-int8"]\nweights = "per_tensor"')
    edit(folder, "required = [", "required = [] # [")
    train_project(Project.open(folder, ["train.epochs=8"]))
    report = train_qat_project(Project.open(folder, ["train.qat_epochs=20"]))

    drops = {(row.stage, row.model): row.loss.drop for row in report.rows if row.loss is not None}
    assert report.rows[0].metric.value > 0.9
    for variant in ("onnx-int8", "tflite-int8"):
        assert drops[Stage.POST_TRAINING, variant] > 0.05, drops
        assert report.won_back()[variant] >= 0.5, drops
    assert drops[Stage.QUANTIZATION_AWARE, "PyTorch"] < 0.03, drops


# --- the run


def test_the_report(small):
    _, parent, report = small
    values = json.loads(json.dumps(report.to_dict()))
    rows = [(row["stage"], row["model"]) for row in values["rows"]]
    assert rows == [
        ("float", "PyTorch"),
        ("post_training", "onnx-int8"),
        ("post_training", "tflite-int8"),
        ("quantization_aware", "PyTorch"),
        ("quantization_aware", "onnx-int8"),
        ("quantization_aware", "tflite-int8"),
    ]
    assert values["parent_run_id"] == parent.run_id
    assert values["rows"][0]["metric"] == json.loads(json.dumps(parent.metric.to_dict()))
    assert values["rows"][0]["loss"] is None
    assert values["epochs"] == 3
    assert set(values["won_back"]) == {"onnx-int8", "tflite-int8"}
    for row in values["rows"][4:]:
        assert row["simulation_rms"] < row["float_rms"]


def test_it_is_a_run_of_its_own(small):
    folder, parent, report = small
    record = record_of(folder, report.run_id)
    assert record.status == "FINISHED"
    assert record.tags[PARENT_TAG] == parent.run_id
    assert record.tags["edgeml.command"].endswith(f"--set train.qat_epochs=3 --qat --run {parent.run_id}")
    assert record.params["qat.parent_run"] == parent.run_id
    assert {"val_loss", "val_accuracy", "test_accuracy", "quantization_aware_onnx-int8_accuracy"} <= set(record.metrics)
    assert not list((folder / ".edgeml" / "resume").glob("*/*"))
    assert PARENT_TAG not in record_of(folder, parent.run_id).tags


@pytest.fixture(scope="module")
def exports(small, tmp_path_factory):
    """The latest run, exported twice."""
    folder = tmp_path_factory.mktemp("exports")
    return [export_project(Project.open(small[0]), out=folder / f"{name}.edgeml") for name in "ab"]


def test_the_latest_run_is_exported_with_its_ranges_and_the_same_bytes_twice(small, exports):
    _, _, report = small
    assert [export.run_id for export in exports] == [report.run_id] * 2
    assert exports[0].bundle.read_bytes() == exports[1].bundle.read_bytes()
    variants = {variant.id: variant for variant in exports[0].variants}
    assert variants["onnx-fp32"].ranges is None
    for row in report.rows[4:]:
        variant = variants[row.model]
        assert (variant.ranges.learned > 0, variant.ranges.calibrated) == (True, 0)
        assert variant.metric.value == row.metric.value
        assert variant.evidence()["ranges"] == {"learned": variant.ranges.learned, "calibrated": 0}


def test_the_card_says_where_ranges_come_from(small, exports):
    with Bundle.open(exports[0].bundle) as bundle:
        card = bundle.read("card.md").decode()
    assert f"- Learned ranges of activations: {small[2].ranges}" in card
    assert "- onnx-int8: " in card
    assert "learned by quantization-aware training, none calibrated" in card
    assert small[2].run_id not in card


@pytest.mark.long
def test_the_float_run_is_exported_as_before(copied, tmp_path):
    folder, parent, _ = copied
    export = export_project(Project.open(folder), run_id=parent.run_id, out=tmp_path / "a.edgeml")
    assert [variant.ranges for variant in export.variants] == [None] * 3


@pytest.mark.long
def test_training_again_gives_the_same_weights_and_ranges(copied):
    folder, parent, report = copied
    again = train_qat_project(Project.open(folder, ["train.qat_epochs=3"]))
    assert again.run_id != report.run_id
    assert again.parent_run_id == parent.run_id
    for name in ("weights.safetensors", "ranges.json"):
        assert stored(folder, again.run_id, name) == stored(folder, report.run_id, name)


def test_normalisations_are_folded_in_what_is_stored(small):
    folder, parent, report = small
    project = Project.open(folder)
    before, after = (load_run(project, run_id).fused for run_id in (parent.run_id, report.run_id))
    norm = after.network[1]
    assert torch.equal(norm.running_mean, torch.zeros(16))
    assert torch.equal(norm.weight, torch.ones(16))
    assert not torch.equal(before.network[1].weight, torch.ones(16))


@pytest.mark.long
def test_no_epoch_better_than_the_start_keeps_the_start(copied):
    folder, _, _ = copied
    report = train_qat_project(Project.open(folder, ["train.qat_epochs=1", "train.qat_learning_rate=1"]))
    assert report.best_epoch == 0
    started = {row.model: row for row in report.rows if row.stage is Stage.POST_TRAINING}
    for row in report.rows[4:]:
        assert abs(row.metric.value - started[row.model].metric.value) <= 0.04


# --- interruptions

INTERRUPTED = """
import sys
from edgeml_train import Project, train_qat_project
from edgeml_train.callbacks import BestWeights
import os, signal

original = BestWeights.on_train_epoch_end
def stop(self, trainer, module):
    original(self, trainer, module)
    if len(self.history) == 2:
        os.kill(os.getpid(), signal.SIGINT)
BestWeights.on_train_epoch_end = stop
train_qat_project(Project.open(sys.argv[1], ["train.qat_epochs=3"]))
"""


@pytest.mark.long
def test_ctrl_c_and_going_on_end_with_the_same_weights(copied):
    folder, parent, report = copied
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(folder)], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode in (1, 130, -signal.SIGINT)
    killed = next(record for record in Tracking(folder, "tiny").runs() if record.status == "KILLED")
    assert killed.tags[PARENT_TAG] == parent.run_id

    resumed = train_qat_project(Project.open(folder, ["train.qat_epochs=3"]))
    assert (resumed.run_id, resumed.resumed_at) == (killed.run_id, 3)
    for name in ("weights.safetensors", "ranges.json"):
        assert stored(folder, resumed.run_id, name) == stored(folder, report.run_id, name)


# --- what cannot be done


def test_without_a_float_run(make_project):
    folder = make_project()
    edit(folder, 'variants = ["onnx-fp32"]', BOTH)
    with pytest.raises(ProjectError, match="starts from a finished float run, found none"):
        train_qat_project(Project.open(folder))


def test_from_a_run_that_is_one_itself(small):
    folder, parent, report = small
    with pytest.raises(ProjectError, match=f"name the float run that it started from, --run {parent.run_id}"):
        train_qat_project(Project.open(folder), run_id=report.run_id[:8])


def test_a_changed_task(copied):
    folder, _, _ = copied
    (folder / "task.py").write_text((folder / "task.py").read_text() + "\n# changed\n")
    with pytest.raises(ProjectError, match=r"expected task\.py as in run"):
        train_qat_project(Project.open(folder))


def test_a_contract_without_int8(copied):
    folder, _, _ = copied
    edit(folder, BOTH, 'variants = ["onnx-fp32"]')
    with pytest.raises(ProjectError, match="expected an int8 variant such as onnx-int8, found onnx-fp32"):
        train_qat_project(Project.open(folder))


def test_nothing_to_quantize(copied):
    folder, _, _ = copied
    edit(folder, BOTH, 'variants = ["onnx-int8"]\nfloat_scopes = ["features", "network"]')
    edit(folder, 'required = ["onnx-fp32"]', "required = []")
    with pytest.raises(ProjectError, match="found none: all of the model lies in"):
        train_qat_project(Project.open(folder))


def test_a_loss_that_is_never_finite(copied):
    folder, _, _ = copied
    edit(folder, BOTH, 'variants = ["onnx-int8", "onnx-fp32"]')
    with pytest.raises(ProjectError, match=r"no finite validation loss\. Lower train\.qat_learning_rate"):
        train_qat_project(Project.open(folder, ["train.qat_epochs=1", "train.qat_learning_rate=10"]), run_id=None)


def test_broken_ranges(copied, tmp_path):
    folder, _, report = copied
    Tracking(folder, "tiny").file(report.run_id, "ranges.json").write_text("{")
    with pytest.raises(ProjectError, match=r"ranges\.json: expected JSON"):
        export_project(Project.open(folder), out=tmp_path / "a.edgeml")
