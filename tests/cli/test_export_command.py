"""``edgeml export``: its options on a small project, and how they contradict each other."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from edgeml_runtime import Model
from edgeml_runtime.bundle import Bundle

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
shape = [3]

[[outputs]]
name = "scores"
role = "scores"
shape = [3]
labels = ["a", "b", "c"]

[target]
name = "blob"
kind = "classification"

[metric]
primary = "accuracy"
floor = 0.5

[slices]
by = ["label"]
min_items = 5

[export]
variants = ["onnx-fp32"]
required = ["onnx-fp32"]

[budgets.host]
latency_ms_p95 = { limit = 5.0, variant = "onnx-fp32" }

[train]
epochs = 2
"""

TASK = """
import numpy as np
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_train import Splits, Task


class Tiny(Task):
    def splits(self):
        rng = np.random.default_rng(3)
        parts = {}
        for part, n in (("train", 150), ("validation", 60), ("test", 60)):
            targets = rng.integers(0, 3, n)
            x = np.clip(targets[:, None] * 4.0 + rng.normal(0, 1, (n, 6)), -100, 100).astype(np.float32)
            parts[part] = LabelledData(inputs={"x": x}, targets=targets)
        return Splits(**parts, name="at random")

    def features(self):
        return nn.Flatten()

    def network(self):
        return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A trained project."""
    from edgeml_train import Project, train_project

    folder = tmp_path_factory.mktemp("export") / "tiny"
    folder.mkdir()
    (folder / "edgeml.toml").write_text(TOML)
    (folder / "task.py").write_text(TASK)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        train_project(Project.open(folder))
    return folder


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_precisions_in_the_formats_of_the_contract(edgeml, project, tmp_path):
    outcome = edgeml("export", project, "--precision", "w8, int16x8", "--out", tmp_path, "--json")
    assert outcome.code == 0, outcome.stderr
    report = outcome.json()
    assert [variant["id"] for variant in report["variants"]] == ["onnx-w8"]
    assert report["choice"] == {
        "variants": ["onnx-w8"],
        "search": False,
        "missing": ["onnx-int16x8"],
        "no_longer_required": ["onnx-fp32"],
        "dropped_budgets": ["host.latency_ms_p95 of onnx-fp32"],
    }
    assert report["report"] is None
    with Bundle.open(report["bundle"]) as bundle:
        rules = bundle.manifest.contract["export"]
    assert (rules["variants"], rules["required"]) == (["onnx-w8"], [])


def test_a_search_and_its_explanation(edgeml, project, tmp_path):
    outcome = edgeml("export", project, "--precision", "auto", "--explain", "--out", tmp_path / "my.edgeml", "--json")
    assert outcome.code == 0, outcome.stderr
    report = outcome.json()
    int8, fp32 = report["variants"]
    assert (int8["id"], fp32["id"]) == ("onnx-int8", "onnx-fp32")
    assert int8["search"][-1]["validation_loss"]["n"] == 60
    assert fp32["search"] == []
    assert report["measured_as"] == "onnx-int8"
    assert [layer["path"] for layer in report["layers"]] == ["network.0", "network.2"]
    assert [layer["precisions"] for layer in report["layers"]] == [{"onnx-int8": "int8", "onnx-fp32": "fp32"}] * 2
    page = Path(report["report"])
    assert page == tmp_path / "tiny-1.0.0-export.html"
    text = page.read_text(encoding="utf-8")
    assert "network.2" in {"".join(cell.itertext()) for cell in ET.fromstring(text.partition("\n")[2]).iter("th")}
    assert str(tmp_path) not in text


def test_an_explanation_for_a_person(edgeml, project, tmp_path):
    page = tmp_path / "why.html"
    outcome = edgeml("export", project, "--variants", "onnx-fp32", "--explain", "--report", page, "--out", tmp_path)
    assert outcome.code == 0, outcome.stderr
    words = " ".join(outcome.stdout.split())
    assert "no layers to explain: no variant has calibrated activations" in words
    assert "x preprocessing: " in words
    assert f"explained in {page}" in words
    assert "next: edgeml bench tiny-1.0.0.edgeml" in words
    assert page.is_file()


def test_an_open_batch(edgeml, project, tmp_path):
    outcome = edgeml("export", project, "--dynamic-batch", "--out", tmp_path, "--json")
    assert outcome.code == 0, outcome.stderr
    with Model.load(outcome.json()["bundle"]) as model:
        results = model.predict_batch(np.zeros((5, 6), np.float32))
    assert len({result.score for result in results}) == 1
    assert len(results) == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--precision", "int4"], "--precision: expected auto alone, or some of fp32"),
        (["--precision", "w8,,fp32"], "expected words with commas between, found 'w8,,fp32'"),
        (["--variants", "onnx-int4"], "--variants: expected some of onnx-fp32"),
        (["--variants", "onnx-fp32,tflite-fp32", "--dynamic-batch"], "add --variants onnx-fp32"),
        (["--report", "x.html"], "--report says where --explain writes: add --explain"),
        (["--explain", "--report", "no/such/x.html"], "--report: expected a file in a folder that exists"),
        (["--from", __file__, "--contract", __file__], "expected either PROJECT, or a model with --from FILE"),
        (["--unscored", "--data", __file__], "--data, --unscored: only with --from"),
    ],
)
def test_options_that_cannot_be_meant(edgeml, project, tmp_path, arguments, says):
    outcome = edgeml("export", project, *arguments, "--out", tmp_path)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert says in " ".join(outcome.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected either PROJECT, or a model with --from FILE --contract FILE"),
        (["--from", __file__], "add --contract FILE, an edgeml.toml"),
        (["--from", __file__, "--contract", __file__, "--run", "1"], "--run chooses a run of PROJECT"),
    ],
)
def test_a_model_from_elsewhere_needs_its_contract(edgeml, arguments, says):
    outcome = edgeml("export", *arguments)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert says in " ".join(outcome.stderr.split())


@pytest.fixture
def onnx_file(edgeml, project, tmp_path):
    """The network as a file that someone else might have made."""
    outcome = edgeml("export", project, "--out", tmp_path / "first.edgeml")
    assert outcome.code == 0, outcome.stderr
    path = tmp_path / "elsewhere.onnx"
    with Bundle.open(tmp_path / "first.edgeml") as bundle:
        path.write_bytes(bundle.read("variants/onnx-fp32.onnx"))
    return path


def test_a_model_from_elsewhere_is_wrapped(edgeml, project, onnx_file, tmp_path):
    from edgeml_train import Project

    test = Project.open(project).task.splits().test
    np.savez(tmp_path / "items.npz", x=test.inputs["x"], targets=test.targets)
    given = ["--from", onnx_file, "--contract", project / "edgeml.toml", "--out", tmp_path]
    scored = edgeml("export", *given, "--data", tmp_path / "items.npz", "--json")
    assert scored.code == 0, scored.stderr
    report = scored.json()
    assert (report["scored"], report["choice"], report["report"]) == (True, None, None)
    (variant,) = report["variants"]
    assert (variant["id"], variant["metric"]["n"], variant["shipped"]) == ("onnx-fp32", 60, True)
    assert report["bundle"] == str(tmp_path / "tiny-1.0.0.edgeml")

    unscored = edgeml("export", *given, "--unscored")
    assert unscored.code == 0, unscored.stderr
    assert "onnx-fp32" in unscored.stdout
    assert "next: edgeml bench tiny-1.0.0.edgeml" in unscored.stdout


def test_a_program_from_elsewhere_is_searched_and_explained(edgeml, project, tmp_path):
    import torch

    from edgeml_train import Project, load_run

    run = load_run(Project.open(project))
    splits = run.splits
    program = torch.export.export(run.fused.eval(), (torch.from_numpy(splits.test.inputs["x"][:1].copy()),))
    torch.export.save(program, tmp_path / "elsewhere.pt2")
    arrays = {"x": splits.test.inputs["x"], "targets": splits.test.targets}
    arrays |= {"calibration.x": splits.train.inputs["x"]}
    arrays |= {"validation.x": splits.validation.inputs["x"], "validation.targets": splits.validation.targets}
    np.savez(tmp_path / "items.npz", **arrays)
    outcome = edgeml(
        "export", "--from", tmp_path / "elsewhere.pt2", "--contract", project / "edgeml.toml",
        "--data", tmp_path / "items.npz", "--precision", "auto", "--explain", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    report = outcome.json()
    assert report["source"] == {"name": "elsewhere.pt2", "format": "pt2"}
    assert report["choice"]["variants"] == ["onnx-int8", "onnx-fp32"]
    assert report["variants"][0]["search"]
    assert [layer["precisions"]["onnx-int8"] for layer in report["layers"]] == ["int8", "int8"]
    assert report["report"] == str(tmp_path / "tiny-1.0.0-export.html")


def test_a_file_is_not_converted(edgeml, project, onnx_file, tmp_path):
    outcome = edgeml(
        "export", "--from", onnx_file, "--contract", project / "edgeml.toml", "--unscored", "--explain",
        "--precision", "auto",
    )  # fmt: skip
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "--precision, --explain: elsewhere.onnx is wrapped as it is" in " ".join(outcome.stderr.split())
