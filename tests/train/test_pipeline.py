from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import edgeml_export
from edgeml_evaluate import LabelledData, score_predictions
from edgeml_export.choice import choose_variants
from edgeml_export.export import ExportOptions
from edgeml_export.prepared import prepare
from edgeml_export.scheme import variant_spec
from edgeml_export.tracing import trace
from edgeml_export.variant_maker import VariantMaker
from edgeml_runtime.contract import AnomalyRules
from edgeml_runtime.errors import ProjectError, StorageError
from edgeml_train import Project, export_project, load_run, train_project
from edgeml_train.calibration import calibration_items
from edgeml_train.checkpoint import ResumeFolder
from edgeml_train.fused import predict_array
from edgeml_train.tracking import Tracking


def runs(folder):
    return Tracking(folder, "tiny").runs()


def same_weights(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def trained_once(write_project):
    folder = write_project("tiny")
    return folder, train_project(Project.open(folder, ["train.epochs=3"]))


@pytest.fixture
def trained(trained_once, tmp_path):
    """A trained project, in a copy of its own, with the report of its training."""
    shutil.copytree(trained_once[0], tmp_path / "tiny")
    return Project.open(tmp_path / "tiny", ["train.epochs=3"]), trained_once[1]


def test_the_report(trained):
    _, report = trained
    values = json.loads(json.dumps(report.to_dict()))

    assert values["split"] == "by machine: H, I"
    assert values["metric"]["name"] == "accuracy"
    assert 0 <= values["metric"]["value"] <= 1
    assert values["baseline"]["name"] == "linear model"
    assert [baseline["name"] for baseline in values["baselines"]] == ["majority class", "linear model"]
    assert values["baseline"]["value"] == values["baselines"][1]["value"]
    assert [part["name"] for part in values["slices"]] == ["machine=H", "machine=I", "label=a", "label=b", "label=c"]
    assert values["items"] == {"train": 150, "validation": 60, "test": 60}
    assert (values["epochs"], values["resumed_at"]) == (3, None)
    assert values["floor_met"] is (values["metric"]["value"] >= 0.6)


def test_the_run_on_record(trained):
    project, report = trained
    (record,) = runs(project.folder)

    assert (record.run_id, record.status) == (report.run_id, "FINISHED")
    assert record.params["train.epochs"] == "3"
    assert record.params["data.seed"] == "3"
    assert record.params["data_sha256"] == report.data_sha256
    assert record.metrics["test_accuracy"] == report.metric.value
    assert record.metrics["baseline_linear_model_accuracy"] == report.baseline.metric.value
    assert record.metrics["test_accuracy/machine/H"] == report.slices[0].value
    assert {"val_loss", "val_accuracy"} <= set(record.metrics)
    assert record.tags["edgeml.command"] == "edgeml train tiny --set train.epochs=3"
    assert record.tags["edgeml.task_sha256"] == project.task_sha256
    assert not list((project.folder / ".edgeml" / "resume").glob("*/*"))


def test_every_epoch_is_on_record(trained):
    from mlflow.tracking import MlflowClient

    project, report = trained
    history = MlflowClient(Tracking(project.folder, "tiny").uri).get_metric_history(report.run_id, "val_loss")

    assert [metric.step for metric in history] == [0, 1, 2]


def test_a_loaded_run_gives_the_reported_figures(trained):
    project, report = trained
    run = load_run(Project.open(project.folder))

    assert run.run_id == report.run_id
    assert run.project.settings.epochs == 3
    logits = predict_array(run.fused, run.splits.test.inputs)
    score = score_predictions(project.contract, run.splits.test, logits)
    assert score.metric == report.metric
    assert score.slices == report.slices
    assert run.report == json.loads(json.dumps(report.to_dict()))


def test_the_fused_model_gives_logits_and_their_softmax(trained):
    run = load_run(trained[0])
    x = torch.from_numpy(run.splits.test.inputs["x"][:5])
    with torch.no_grad():
        outputs = run.fused(x)
        named = run.fused(x=x)

    assert list(outputs) == ["logits", "scores"]
    assert torch.equal(outputs["scores"], torch.softmax(outputs["logits"], dim=1))
    assert torch.equal(named["logits"], outputs["logits"])


def test_training_again_makes_another_run_with_the_same_weights(trained):
    project, report = trained
    again = train_project(Project.open(project.folder, ["train.epochs=3"]))

    assert again.run_id != report.run_id
    assert again.metric == report.metric
    assert same_weights(load_run(project, report.run_id).fused, load_run(project, again.run_id).fused)


def test_a_run_keeps_its_overrides(make_project):
    folder = make_project()
    train_project(Project.open(folder, ["data.seed=8", "train.epochs=1"]))

    run = load_run(Project.open(folder))

    assert run.project.data == {"seed": 8}
    assert run.project.settings.epochs == 1


CHANGES = [
    ("task.py", ("1.5", "1.6"), "expected task.py as in run"),
    ("edgeml.toml", ("[-100, 100]", "[-99, 100]"), "inputs, outputs or target in edgeml.toml"),
    ("edgeml.toml", ("seed = 3", "seed = 4"), "expected the data it was trained on"),
]


@pytest.mark.parametrize(("file", "change", "words"), CHANGES)
def test_what_has_changed_since_is_refused(trained, file, change, words):
    path = trained[0].folder / file
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ProjectError, match=words):
        load_run(Project.open(trained[0].folder))


def test_tolerances_and_budgets_may_change(trained):
    path = trained[0].folder / "edgeml.toml"
    path.write_text(path.read_text().replace("floor = 0.6", "floor = 0.1").replace("Three blobs", "3 blobs"))

    assert load_run(Project.open(trained[0].folder)).project.contract.metric.floor == 0.1


def test_broken_weights_are_refused(trained):
    project, report = trained
    path = Tracking(project.folder, "tiny").file(report.run_id, "weights.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProjectError, match=r"weights\.safetensors: expected weights, found a broken file"):
        load_run(project)


@pytest.fixture(scope="module")
def uninterrupted(write_project):
    folder = write_project("reference")
    report = train_project(Project.open(folder))
    return report, load_run(Project.open(folder)).fused


# In a process of its own: a signal that comes a moment late would end the tests' process.
END = """
import os, signal, sys
from edgeml_train import Project, train_project

def end(event):
    if event.step == "train" and event.done > 25:
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))

train_project(Project.open(sys.argv[1]), progress=end)
"""


def ended_by(name, folder):
    command = [sys.executable, "-c", END, str(folder), name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_ctrl_c_leaves_a_run_that_is_taken_up(make_project, uninterrupted):
    folder = make_project()
    done = ended_by("SIGINT", folder)
    assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr
    (killed,) = runs(folder)
    assert killed.status == "KILLED"

    report = train_project(Project.open(folder))

    assert report.run_id == killed.run_id
    assert report.resumed_at == 3
    assert report.metric == uninterrupted[0].metric
    assert same_weights(load_run(Project.open(folder)).fused, uninterrupted[1])
    assert [run.status for run in runs(folder)] == ["FINISHED"]


def test_a_killed_process_leaves_a_run_that_is_taken_up(make_project, uninterrupted):
    folder = make_project()
    done = ended_by("SIGKILL", folder)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (killed,) = runs(folder)
    assert killed.status == "RUNNING"

    report = train_project(Project.open(folder))

    assert (report.run_id, report.resumed_at) == (killed.run_id, 3)
    assert same_weights(load_run(Project.open(folder)).fused, uninterrupted[1])


def test_other_settings_do_not_take_up_an_interrupted_run(make_project):
    project = Project.open(make_project())

    def interrupt(event):
        if event.step == "train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_project(project, progress=interrupt)
    (killed,) = runs(project.folder)

    report = train_project(Project.open(project.folder, ["train.seed=9", "train.epochs=1"]))

    assert report.run_id != killed.run_id
    assert report.resumed_at is None


def test_two_processes_do_not_share_a_training(make_project):
    folder = ResumeFolder(make_project() / ".edgeml" / "resume", "k" * 64)
    with folder.locked(), pytest.raises(ProjectError, match="going on in another process"), folder.locked():
        pass
    with folder.locked():
        pass


RAISING = ("        return nn.Sequential(", "        raise ZeroDivisionError('net')\n        return nn.Sequential(")
LOSS = (
    "    def augment",
    "    def loss(self, logits, targets):\n        raise ZeroDivisionError('loss')\n\n    def augment",
)
WIDE = ("nn.Linear(16, 3)", "nn.Linear(16, 4)")
NARROW = ("nn.Linear(6, 16)", "nn.Linear(5, 16)")
DATA = ('name="by machine: H, I")', 'name="by machine: H, I", shared=1)')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (RAISING, r"task\.py:\d+: building the model raised ZeroDivisionError: net"),
        (LOSS, r"task\.py:\d+: training raised ZeroDivisionError: loss"),
        (WIDE, r"expected network\(\) to give \[2, 3\] for 2 items.*found \[2, 4\]"),
        (NARROW, "running the model raised RuntimeError"),
        (DATA, r"task\.py:\d+: splits\(\) raised TypeError"),
    ],
)
def test_a_task_that_raises_is_placed(make_project, change, words):
    project = Project.open(make_project(task=change))
    with pytest.raises(ProjectError, match=words):
        train_project(project)
    assert not [run for run in runs(project.folder) if run.status != "FAILED"]


def test_a_full_disk_is_named_and_the_run_can_be_taken_up(make_project, monkeypatch, uninterrupted):
    project = Project.open(make_project())
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("edgeml_train.checkpoint.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        train_project(project)

    report = train_project(project)
    assert report.resumed_at == 3
    assert report.metric == uninterrupted[0].metric


def test_export_reads_training_items_only_for_calibration(trained, monkeypatch, tmp_path):
    seen = {}

    class Enough(Exception):
        pass

    def record(fused, **arguments):
        seen.update(arguments)
        raise Enough

    monkeypatch.setattr(edgeml_export, "export_bundle", record)
    with pytest.raises(Enough):
        export_project(trained[0], out=tmp_path)

    splits = trained[0].task.splits()
    rows = {row.tobytes() for row in splits.train.inputs["x"]}
    other = {row.tobytes() for part in (splits.validation, splits.test) for row in part.inputs["x"]}
    chosen = {row.tobytes() for row in seen["calibration"].inputs["x"]}
    assert chosen == rows - other
    assert np.array_equal(seen["test"].inputs["x"], splits.test.inputs["x"])
    assert np.array_equal(seen["validation"].inputs["x"], splits.validation.inputs["x"])
    assert seen["contract"] is trained[0].contract
    assert seen["out"] == tmp_path / "tiny-1.0.0.edgeml"
    card = seen["card"]
    assert "by machine: H, I" in card
    assert "baseline: linear model" in card
    assert "machine=H" in card
    assert trained[1].run_id not in card
    assert str(trained[0].folder) not in card


def test_another_contract_and_options_reach_the_export(trained, tmp_path):
    project, _ = trained
    contract = choose_variants(project.contract, precisions=("auto",)).contract
    export = export_project(project, out=tmp_path, contract=contract, options=ExportOptions(search=True, explain=True))
    int8, fp32 = export.variants
    assert (int8.id, fp32.id) == ("onnx-int8", "onnx-fp32")
    assert [step.loss.overall.n for step in int8.search] == [60] * len(int8.search)
    assert [layer.path for layer in export.export.layers] == ["network.0", "network.4"]
    assert "onnx-int8_accuracy" in runs(project.folder)[0].metrics


def test_neither_calibration_nor_search_reads_the_test_split(trained):
    """What they make stays the same whatever the test items are."""
    run = load_run(trained[0])
    rules = replace(run.project.contract.export, max_metric_drop=0.0, max_metric_drop_items=0, calibration_items=100)
    contract = replace(run.project.contract, export=rules)
    calibration = calibration_items(contract, run.splits, seed=0)
    test = run.splits.test
    others = LabelledData(
        inputs={"x": -test.inputs["x"]},
        targets=(test.targets + 1) % 3,
        attributes=test.attributes,
    )
    made = []
    for items in (test, others):
        prepared = prepare(run.fused, contract, calibration, items, run.splits.validation)
        maker = VariantMaker(
            prepared,
            trace(prepared),
            calibration=calibration,
            validation=run.splits.validation,
            progress=lambda event: None,
        )
        made.append(maker.make(variant_spec("onnx-int8"), search=True))
    assert made[0].converted.content == made[1].converted.content
    assert made[0].search == made[1].search
    assert {step.loss.overall.n for step in made[0].search} == {60}


def test_calibration_items_are_a_choice_that_repeats(project):
    splits = project.task.splits()

    def choose(count, seed):
        rules = replace(project.contract.export, calibration_items=count)
        return calibration_items(replace(project.contract, export=rules), splits, seed).inputs["x"]

    first = choose(20, seed=1)
    assert len(first) == 20
    assert np.array_equal(first, choose(20, seed=1))
    assert not np.array_equal(first, choose(20, seed=2))
    assert len(choose(1000, seed=1)) == len(splits.train)


def test_unusual_items_of_the_validation_split_calibrate_an_anomaly_score(project):
    splits = project.task.splits()
    unusual = (np.arange(len(splits.validation)) < 4).astype(np.int64)
    splits = replace(splits, validation=replace(splits.validation, targets=unusual))
    rules = replace(project.contract.export, calibration_items=20)
    anomaly = AnomalyRules(false_alarms_per_day=1.0, item_minutes=1.0)
    items = calibration_items(replace(project.contract, export=rules, anomaly=anomaly), splits, seed=1)
    assert items.targets[16:].tolist() == [1, 1, 1, 1]
    assert np.array_equal(items.inputs["x"][16:], splits.validation.inputs["x"][:4])


def test_export_writes_the_bundle_and_puts_it_on_record(trained, tmp_path):
    project, report = trained
    export = export_project(project, out=tmp_path)
    values = json.loads(json.dumps(export.to_dict()))

    assert export.ok
    assert values["run_id"] == report.run_id
    assert values["split"] == report.split
    assert values["bundle"] == str(tmp_path / "tiny-1.0.0.edgeml")
    (variant,) = values["variants"]
    assert (variant["id"], variant["shipped"]) == ("onnx-fp32", True)
    assert variant["metric"]["value"] == report.metric.value
    (record,) = runs(project.folder)
    assert record.metrics["onnx-fp32_accuracy"] == report.metric.value
    kept = Tracking(project.folder, "tiny").file(report.run_id, "bundle/tiny-1.0.0.edgeml")
    assert kept.read_bytes() == export.bundle.read_bytes()


def test_two_exports_of_a_run_are_the_same_bytes(trained, tmp_path):
    first, second = (export_project(trained[0], out=tmp_path / name).bundle for name in ("a.edgeml", "b.edgeml"))

    assert first.read_bytes() == second.read_bytes()


BARE = ("        return Standardise(columns=6)", "        return nn.Flatten()")


def test_features_without_fit_are_taken_as_they_are(make_project):
    project = Project.open(make_project(task=BARE), ["train.epochs=1"])

    assert train_project(project).metric.n == 60
    assert type(load_run(project).fused.features).__name__ == "Flatten"
