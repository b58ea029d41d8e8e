"""A student learns from its teacher's outputs, on the same augmented items, and from nobody who has seen its test."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, load_run, train_project
from edgeml_train.distil import Teacher, blend_loss, load_teacher
from edgeml_train.fit import build_fused, fit, repeatable
from edgeml_train.settings import TrainSettings

SETTINGS = TrainSettings(epochs=4, batch_size=16, patience=6, threads=1, seed=1)


def fresh(project, seed=1):
    splits = project.task.splits()
    with repeatable(1):
        fused = build_fused(project.task, seed)
        fused.features.fit(splits.train.inputs)
    return fused, splits


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def teacher(project):
    fused, _ = fresh(project, seed=7)
    fused.requires_grad_(requires_grad=False)
    return Teacher(run_id="f" * 32, folder=None, parameters=100, fused=fused, classes=True)


def trained(project, settings=SETTINGS, **arguments):
    fused, splits = fresh(project)
    fit(fused, project.task, splits, settings, **arguments)
    return fused


def test_the_loss_is_hinton_s():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    temperature, divergence = 2.0, 0.0
    for own, other in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(x / temperature) for x in row] for row in (other, own))
        p, q = ([x / sum(row) for x in row] for row in (p, q))
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    loss = blend_loss(torch.tensor(3.0), student, teacher, weight=0.25, temperature=temperature)

    assert float(loss) == pytest.approx(0.75 * 3.0 + 0.25 * 4.0 * divergence, rel=1e-5)


def test_values_are_compared_by_squared_error():
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [4.0]])

    assert float(blend_loss(torch.tensor(1.0), student, teacher, weight=0.5, temperature=None)) == 0.5 + 0.5 * 2.5


def test_no_gradient_flows_into_the_teacher():
    student, teacher = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    blend_loss(student.sum(), student, teacher * 2, weight=0.5, temperature=1.0).backward()

    assert student.grad is not None
    assert teacher.grad is None


def test_the_gradient_keeps_its_size_whatever_the_temperature():
    sizes = []
    for temperature in (10.0, 40.0):
        student = torch.zeros(1, 3, requires_grad=True)
        other = torch.tensor([[0.3, 0.0, -0.3]])
        blend_loss(torch.tensor(0.0), student, other, weight=1.0, temperature=temperature).backward()
        sizes.append(float(student.grad.norm()))

    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_a_student_comes_nearer_to_its_teacher(project, teacher):
    def distance(fused):
        x = torch.from_numpy(project.task.splits().validation.inputs["x"])
        with torch.no_grad():
            own, other = (torch.log_softmax(model.logits(x), dim=1) for model in (fused, teacher.fused))
        return float(torch.nn.functional.kl_div(own, other, reduction="batchmean", log_target=True))

    alone = trained(project)
    taught = trained(project, replace(SETTINGS, distil_weight=1.0, distil_temperature=1.0), teacher=teacher)

    assert distance(taught) < 0.5 * distance(alone)


def test_a_teacher_without_weight_changes_nothing(project, teacher):
    assert same(trained(project, replace(SETTINGS, distil_weight=0.0), teacher=teacher), trained(project))


@pytest.mark.parametrize("change", [{"distil_weight": 0.7}, {"distil_temperature": 2.0}])
def test_the_settings_reach_the_loss(project, teacher, change):
    assert not same(trained(project, replace(SETTINGS, **change), teacher=teacher), trained(project, teacher=teacher))


def test_the_teacher_sees_the_student_s_augmented_items_and_stays_as_it_is(project, teacher):
    seen = {"student": [], "teacher": []}
    fused, splits = fresh(project)
    before = {name: value.clone() for name, value in teacher.fused.state_dict().items()}
    for name, model in (("student", fused), ("teacher", teacher.fused)):
        model.network.register_forward_pre_hook(lambda module, args, name=name: seen[name].append(args[0].clone()))
    fit(fused, project.task, splits, replace(SETTINGS, epochs=1), teacher=teacher)
    batches = len(seen["teacher"])

    assert batches == len(splits.train) // 16
    assert all(torch.equal(a, b) for a, b in zip(seen["student"][:batches], seen["teacher"], strict=True))
    assert any(float(batch.eq(0).sum()) for batch in seen["teacher"])  # masks of the augmentation
    assert not teacher.fused.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.fused.state_dict().items())


class Stop(Exception):
    """Stands for whatever ends the process."""


def test_resuming_ends_with_the_weights_of_an_uninterrupted_training(project, teacher, tmp_path):
    def stop(event):
        if event.done > 22:
            raise Stop

    checkpoint = tmp_path / "last.ckpt"
    with pytest.raises(Stop):
        trained(project, teacher=teacher, checkpoint=checkpoint, progress=stop)
    size = checkpoint.stat().st_size
    resumed = trained(project, teacher=teacher, checkpoint=checkpoint)

    assert same(resumed, trained(project, teacher=teacher))
    assert size < 60_000  # the teacher's weights are no part of it


@pytest.fixture(scope="module")
def taught_once(write_project):
    folder = write_project("tiny")
    teacher = train_project(Project.open(folder, ["train.epochs=2", "train.seed=5"]))
    student = train_project(Project.open(folder, ["train.epochs=2"]), teacher=teacher.run_id[:8])
    return folder, teacher, student


@pytest.fixture
def taught(taught_once, tmp_path):
    shutil.copytree(taught_once[0], tmp_path / "tiny")
    return tmp_path / "tiny", *taught_once[1:]


def test_a_run_names_its_teacher(taught):
    from edgeml_train.tracking import Tracking

    folder, teacher, student = taught
    record = Tracking(folder, "tiny").find(student.run_id)

    assert student.to_dict()["teacher"] == {
        "run_id": teacher.run_id,
        "project": None,
        "parameters": teacher.parameters,
    }
    assert record.params["teacher"] == record.tags["edgeml.teacher_run"] == teacher.run_id
    assert record.tags["edgeml.command"].endswith(f"--teacher {teacher.run_id}")
    assert load_run(Project.open(folder), student.run_id).report["metric"]["value"] == student.metric.value


def test_another_project_can_teach(taught, make_project, tmp_path):
    folder, teacher, _ = taught
    wider = make_project("wide", task=("nn.Linear(6, 16), nn.BatchNorm1d(16)", "nn.Linear(6, 40), nn.BatchNorm1d(40)"))
    (wider / "task.py").write_text((wider / "task.py").read_text().replace("nn.Linear(16, 3)", "nn.Linear(40, 3)"))
    train_project(Project.open(wider, ["train.epochs=1"]))
    project = Project.open(folder, ["train.epochs=1"])
    splits = project.task.splits()

    latest = load_teacher(project, str(wider), splits)
    named = load_teacher(project, f"{wider}:{latest.run_id[:6]}", splits)
    assert latest.run_id == named.run_id
    assert latest.parameters > teacher.parameters
    assert latest.to_dict()["project"] == "wide"
    report = train_project(project, teacher=f"{wider}:{latest.run_id}")
    assert report.teacher.folder == wider


def test_the_teacher_keeps_its_own_data_settings(taught):
    folder, teacher, _ = taught
    project = Project.open(folder, ["data.seed=3"])
    loaded = load_teacher(project, teacher.run_id, project.task.splits())

    assert same(loaded.fused, load_run(Project.open(folder), teacher.run_id).fused)
    assert not any(parameter.requires_grad for parameter in loaded.fused.parameters())


@pytest.mark.parametrize("source", ["0000", "nowhere/project", "nowhere:1234"])
def test_an_unknown_teacher_is_refused_before_a_run_begins(taught, source):
    from edgeml_train.tracking import Tracking

    folder = taught[0]
    before = len(Tracking(folder, "tiny").runs())
    with pytest.raises(ProjectError) as caught:
        train_project(Project.open(folder), teacher=source)

    assert "expected" in str(caught.value)
    assert "found" in str(caught.value)
    assert len(Tracking(folder, "tiny").runs()) == before


CHANGES = {
    "shape": ('name = "x"\ndtype = "float32"\nshape = [6]', 'name = "x"\ndtype = "float32"\nshape = [7]', "inputs"),
    "unit": ('unit = "1"', 'unit = "mV"', "inputs"),
    "name": ('name = "x"', 'name = "y"', "inputs"),
    "labels": ('labels = ["a", "b", "c"]', 'labels = ["a", "c", "b"]', "outputs"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_teacher_with_other_inputs_or_outputs_is_refused(taught, make_project, name):
    old, new, what = CHANGES[name]
    other = make_project("other")
    toml = (other / "edgeml.toml").read_text()
    assert old in toml
    (other / "edgeml.toml").write_text(toml.replace(old, new))
    task = (other / "task.py").read_text()
    if name == "shape":
        task = task.replace("(n, 6)", "(n, 7)").replace("columns=6", "columns=7").replace("Linear(6", "Linear(7")
    if name == "name":
        task = task.replace('{"x": x}', '{"y": x}')
    (other / "task.py").write_text(task)
    train_project(Project.open(other, ["train.epochs=1"]))

    project = Project.open(taught[0])
    with pytest.raises(ProjectError, match=f"expected the same {what} as the student's"):
        load_teacher(project, str(other), project.task.splits())


def test_a_teacher_that_has_seen_test_items_is_refused(taught):
    folder, teacher, _ = taught
    project = Project.open(folder)
    splits = project.task.splits()
    train, test = splits.train, splits.test
    moved = np.concatenate([train.inputs["x"][:7], test.inputs["x"][7:]])
    leaking = replace(
        splits, test=replace(test, inputs={"x": moved}), train=train.take(slice(7, None)), name="another split"
    )
    with pytest.raises(ProjectError, match=r"another split\), found 7 of 60 among those it was trained with"):
        load_teacher(project, teacher.run_id, leaking)

    # Items that the student trains with as well are nothing that the teacher could give away.
    load_teacher(project, teacher.run_id, replace(leaking, train=train))
