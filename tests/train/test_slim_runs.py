"""Slimmed runs: trained on, stored, built again, exported, slimmed again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from edgeml_evaluate import score_predictions
from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_train import Project, SlimRequest, export_project, load_run, train_project
from edgeml_train.distil import Teacher
from edgeml_train.fused import predict_array
from edgeml_train.lineage import Lineage
from edgeml_train.provenance import run_key
from edgeml_train.runs import load_shape
from edgeml_train.tracking import Tracking


@pytest.fixture(scope="module")
def slimmed_once(write_project):
    folder = write_project("tiny")
    whole = train_project(Project.open(folder, ["train.epochs=3", "data.seed=3"]))
    slim = train_project(Project.open(folder, ["train.epochs=2"]), slim=SlimRequest(run_id=whole.run_id[:8]))
    return folder, whole, slim


@pytest.fixture
def slimmed(slimmed_once, tmp_path):
    """A project with a run and a slimmed one, in a copy of its own."""
    shutil.copytree(slimmed_once[0], tmp_path / "tiny")
    return tmp_path / "tiny", *slimmed_once[1:]


def same(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_report_says_what_went(slimmed):
    _, whole, slim = slimmed
    values = json.loads(json.dumps(slim.to_dict()))["slimming"]

    assert values["run_id"] == whole.run_id
    assert (values["keep"], values["profile"], values["steps"]) == (0.5, None, [])
    assert values["layers"] == [{"path": "network.0", "before": 16, "after": 8}]
    assert values["left_alone"] == {"network.4": "they are the model's outputs"}
    assert values["parameters_before"] == whole.parameters == 6 * 16 + 16 + 32 + 16 * 3 + 3
    assert slim.parameters == 6 * 8 + 8 + 16 + 8 * 3 + 3
    assert "shape" not in values


def test_the_run_says_what_it_was(slimmed):
    folder, whole, slim = slimmed
    record = Tracking(folder, "tiny").find(slim.run_id)

    assert record.params["slim.run"] == record.tags["edgeml.slimmed_run"] == whole.run_id
    assert record.params["slim.keep"] == "0.5"
    assert record.params["parameters"] == str(slim.parameters)
    command = f"edgeml train tiny --set train.epochs=2 --set data.seed=3 --slim {whole.run_id}"
    assert record.tags["edgeml.command"] == command


def test_a_loaded_run_is_slim_and_gives_the_reported_figures(slimmed):
    folder, _, slim = slimmed
    run = load_run(Project.open(folder), slim.run_id)

    assert run.fused.network[0].out_features == 8
    assert run.fused.network[1].num_features == 8
    score = score_predictions(run.project.contract, run.splits.test, predict_array(run.fused, run.splits.test.inputs))
    assert score.metric == slim.metric
    assert run.report["slimming"] == json.loads(json.dumps(slim.to_dict()))["slimming"]


def test_the_features_and_the_data_settings_are_the_run_s(slimmed):
    folder, whole, slim = slimmed
    project = Project.open(folder)
    before, after = (load_run(project, report.run_id) for report in (whole, slim))

    assert same(before.fused.features, after.fused.features)
    assert after.project.data["seed"] == 3
    assert after.data_sha256 == before.data_sha256
    # The run that was slimmed is as it was.
    assert before.fused.network[0].out_features == 16


def test_training_goes_on_from_what_is_left(slimmed):
    folder, whole, _ = slimmed
    project = Project.open(folder, ["train.epochs=1", "train.learning_rate=1e-9"])
    report = train_project(project, slim=SlimRequest(run_id=whole.run_id))
    before, after = (load_run(Project.open(folder), run_id).fused.network for run_id in (whole.run_id, report.run_id))
    left = torch.tensor(load_shape(project, report.run_id).kept["0.weight"][0])

    torch.testing.assert_close(after[0].weight, before[0].weight[left], atol=1e-6, rtol=0)
    torch.testing.assert_close(after[4].weight, before[4].weight[:, left], atol=1e-6, rtol=0)


def test_the_same_slimming_gives_the_same_weights(slimmed):
    folder, whole, slim = slimmed
    again = train_project(Project.open(folder, ["train.epochs=2"]), slim=SlimRequest(run_id=whole.run_id))

    assert again.run_id != slim.run_id
    assert same(*(load_run(Project.open(folder), report.run_id).fused for report in (again, slim)))


def test_another_share_leaves_another_network(slimmed):
    folder, whole, _ = slimmed
    project = Project.open(folder, ["train.epochs=1", "train.keep=1.0"])
    report = train_project(project, slim=SlimRequest(run_id=whole.run_id))

    assert report.parameters == whole.parameters


def test_slimming_again_is_built_again(slimmed):
    folder, whole, slim = slimmed
    project = Project.open(folder, ["train.epochs=1"])
    report = train_project(project, slim=SlimRequest(run_id=slim.run_id))
    run = load_run(Project.open(folder), report.run_id)
    once, twice = (load_shape(project, run_id).kept["0.weight"][0] for run_id in (slim.run_id, report.run_id))

    assert run.fused.network[0].out_features == 4
    assert set(twice) < set(once)
    assert report.slimming.parameters_before == slim.parameters < whole.parameters


def test_without_a_run_the_latest_whole_one_is_slimmed(slimmed):
    folder, whole, _ = slimmed
    report = train_project(Project.open(folder, ["train.epochs=1"]), slim=SlimRequest())

    assert report.slimming.run_id == whole.run_id


def test_slimming_and_a_teacher_go_together(slimmed):
    folder, whole, slim = slimmed
    project = Project.open(folder, ["train.epochs=2"])
    report = train_project(project, teacher=whole.run_id, slim=SlimRequest(run_id=whole.run_id))
    command = Tracking(folder, "tiny").find(report.run_id).tags["edgeml.command"]

    assert report.teacher.run_id == report.slimming.run_id == whole.run_id
    assert command.endswith(f"--teacher {whole.run_id} --slim {whole.run_id}")
    assert not same(*(load_run(Project.open(folder), entry.run_id).fused for entry in (report, slim)))


class Stop(BaseException):
    """Stands for whatever ends the process."""


def test_an_interrupted_slimming_is_taken_up(slimmed):
    folder, whole, _ = slimmed

    def stop(event):
        if event.step == "train" and event.done > 12:
            raise Stop

    project = Project.open(folder, ["train.epochs=2", "train.batch_size=15"])
    request = SlimRequest(run_id=whole.run_id)
    with pytest.raises(Stop):
        train_project(project, slim=request, progress=stop)
    interrupted = Tracking(folder, "tiny").runs()[0]
    (decision,) = (folder / ".edgeml" / "resume").glob("*/slimming.json")
    changed = json.loads(decision.read_text())
    changed["keep"] = 0.123  # what was decided is not decided again
    decision.write_text(json.dumps(changed))
    resumed = train_project(project, slim=request)

    assert interrupted.status == "FAILED"
    assert resumed.run_id == interrupted.run_id
    assert resumed.resumed_at == 2
    assert resumed.slimming.keep == 0.123
    assert not list((folder / ".edgeml" / "resume").glob("*/*"))
    straight = train_project(project, slim=request)
    assert straight.run_id != resumed.run_id
    assert same(*(load_run(Project.open(folder), report.run_id).fused for report in (resumed, straight)))


def test_a_slimmed_run_is_exported(slimmed, tmp_path):
    folder, whole, slim = slimmed
    exports = {
        report.run_id: export_project(Project.open(folder), run_id=report.run_id, out=tmp_path / f"{name}.edgeml")
        for name, report in (("whole", whole), ("slim", slim))
    }
    variants = {run_id: export.variants[0] for run_id, export in exports.items()}

    assert exports[slim.run_id].ok
    assert variants[slim.run_id].metric == slim.metric
    assert variants[slim.run_id].weight_bytes < variants[whole.run_id].weight_bytes


def test_an_interrupted_training_is_taken_up_by_its_like_only(project):
    teacher = Teacher(run_id="t", folder=None, parameters=1, fused=None, classes=True)
    lineages = (
        Lineage(),
        Lineage(teacher=teacher),
        Lineage(slimmed_run="a"),
        Lineage(slimmed_run="b"),
        Lineage(slimmed_run="a", profile="host"),
        Lineage(slimmed_run="a", teacher=teacher),
    )
    keys = [run_key(project, "0" * 64, lineage) for lineage in lineages]

    assert len(set(keys)) == len(keys)


def test_an_unknown_run_is_refused(slimmed):
    folder, whole, slim = slimmed
    with pytest.raises(ProjectError, match="exactly one finished run whose id begins with 0000") as caught:
        train_project(Project.open(folder), slim=SlimRequest(run_id="0000"))

    assert whole.run_id in str(caught.value)
    assert slim.run_id in str(caught.value)


def test_without_any_run_there_is_nothing_to_slim(project):
    with pytest.raises(ProjectError, match="expected a finished run, found none"):
        train_project(project, slim=SlimRequest())


def test_a_network_without_channels_that_can_go_is_refused(make_project):
    network = (
        "nn.Sequential(\n            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), "
        "nn.Linear(16, 3)\n        )"
    )
    folder = make_project("linear", task=(network, "nn.Linear(6, 3)"))
    whole = train_project(Project.open(folder, ["train.epochs=1"]))
    with pytest.raises(ProjectError, match="expected layers whose channels can be removed, found none") as caught:
        train_project(Project.open(folder), slim=SlimRequest(run_id=whole.run_id))

    assert "network: they are the model's outputs" in str(caught.value)
    assert len(Tracking(folder, "tiny").runs()) == 1


@pytest.mark.parametrize(
    "setting", ["keep=0", "keep=1.5", "keep=half", "distil_weight=1.1", "distil_weight=-0.1", "distil_temperature=0"]
)
def test_settings_out_of_range_are_refused(make_project, setting):
    with pytest.raises(ContractError, match=f"train.{setting.partition('=')[0]}"):
        Project.open(make_project(), [f"train.{setting}"])


def test_a_stored_shape_that_does_not_fit_is_refused(slimmed):
    folder, _, slim = slimmed
    path = Tracking(folder, "tiny").file(slim.run_id, "slimming.json")
    values = json.loads(path.read_text())
    values["shape"]["0.weight"]["0"] = [0, 99]
    path.write_text(json.dumps(values))

    with pytest.raises(ProjectError, match="the slimmed network: expected"):
        load_run(Project.open(folder), slim.run_id)


def test_the_linear_model_of_a_slimmed_run_loads(slimmed):
    folder, whole, _ = slimmed
    project = Project.open(folder, ["train.epochs=1", "train.prefer_simpler=true"])
    project = replace(project, settings=replace(project.settings, learning_rate=1e-9))
    report = train_project(project, slim=SlimRequest(run_id=whole.run_id))
    run = load_run(Project.open(folder), report.run_id)

    assert report.choice is not None
    score = score_predictions(run.project.contract, run.splits.test, predict_array(run.fused, run.splits.test.inputs))
    assert score.metric == report.metric
