"""A tiny project for the tests of the train room: six numbers in, one of three classes out."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOML = """
[model]
name = "tiny"
version = "1.0.0"
description = "Three blobs."

[[inputs]]
name = "x"
dtype = "float32"
shape = [6]
range = [-100, 100]
unit = "1"
source = "test bench"

[[outputs]]
name = "logits"
role = "logits"
dtype = "float32"
shape = [3]

[[outputs]]
name = "scores"
role = "scores"
dtype = "float32"
shape = [3]
labels = ["a", "b", "c"]

[target]
name = "blob"
kind = "classification"

[metric]
primary = "accuracy"
floor = 0.6

[slices]
by = ["machine", "label"]
min_items = 5

[groups]
key = "machine"

[export]
variants = ["onnx-fp32"]
required = ["onnx-fp32"]

[data]
seed = 3

[train]
epochs = 6
batch_size = 16
patience = 6
threads = 1
"""

TASK = """
import numpy as np
import torch
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_train import Splits, Task
from edgeml_train.features import Standardise


class Jitter:
    def inputs(self, inputs, generator):
        return tuple(x + 0.2 * torch.randn(x.shape, generator=generator) for x in inputs)

    def features(self, features, generator):
        return features * (torch.rand(features.shape, generator=generator) > 0.1)


class Tiny(Task):
    def splits(self):
        rng = np.random.default_rng(self.data["seed"])
        parts = {}
        for part, n, machines in (("train", 150, "ABCDE"), ("validation", 60, "FG"), ("test", 60, "HI")):
            targets = rng.integers(0, 3, n)
            x = np.clip(targets[:, None] * 2.0 + rng.normal(0, 1.5, (n, 6)), -100, 100).astype(np.float32)
            machine = np.array([machines[i % len(machines)] for i in range(n)])
            parts[part] = LabelledData(inputs={"x": x}, targets=targets, attributes={"machine": machine})
        return Splits(**parts, name="by machine: H, I")

    def features(self):
        return Standardise(columns=6)

    def network(self):
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
        )

    def augment(self):
        return Jitter()
"""


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An MLflow database with its tables made, which takes seconds; to be copied."""
    from edgeml_train.tracking import Tracking

    folder = tmp_path_factory.mktemp("store")
    Tracking(folder, "unused")
    return folder / ".edgeml" / "mlflow.db"


def write(folder: Path, store: Path, *, task: tuple[str, str] = ("", "")) -> Path:
    """Write a tiny project; ``task`` is a replacement (old, new) in task.py."""
    (folder / ".edgeml").mkdir(parents=True)
    shutil.copyfile(store, folder / ".edgeml" / "mlflow.db")
    (folder / "edgeml.toml").write_text(TOML)
    assert task[0] in TASK
    (folder / "task.py").write_text(TASK.replace(*task) if task[0] else TASK)
    return folder


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def make_project(tmp_path, empty_store) -> Callable[..., Path]:
    """Write a tiny project for one test."""
    return lambda name="tiny", **changes: write(tmp_path / name, empty_store, **changes)


@pytest.fixture(scope="session")
def write_project(tmp_path_factory, empty_store) -> Callable[[str], Path]:
    """Write a tiny project for several tests."""
    return lambda name: write(tmp_path_factory.mktemp("projects") / name, empty_store)


@pytest.fixture
def project(make_project):
    """The tiny project, opened."""
    from edgeml_train import Project

    return Project.open(make_project())
