"""Runs side by side: the same items, the shipped files, and times taken in turns."""

from __future__ import annotations

import json
import shutil

import pytest

from edgeml_evaluate import decide, difference_interval
from edgeml_runtime.errors import InputError, ProjectError
from edgeml_train import Project, SlimRequest, compare_runs, export_project, load_run, train_project
from edgeml_train.fused import predict_array


@pytest.fixture(scope="module")
def runs_once(write_project, tmp_path_factory):
    """A project with four runs on the same data, two of them exported, and one on other data."""
    folder = write_project("tiny")
    project = Project.open(folder, ["train.epochs=2"])
    whole = train_project(project)
    taught = train_project(Project.open(folder, ["train.epochs=1"]), teacher=whole.run_id)
    slim = train_project(project, slim=SlimRequest(run_id=whole.run_id))
    both = train_project(project, teacher=taught.run_id, slim=SlimRequest(run_id=whole.run_id))
    other = train_project(Project.open(folder, ["train.epochs=1", "data.seed=4"]))
    for report in (whole, slim):
        export_project(Project.open(folder), run_id=report.run_id, out=tmp_path_factory.mktemp("out"))
    return folder, [report.run_id for report in (whole, taught, slim, both, other)]


@pytest.fixture
def runs(runs_once, tmp_path):
    shutil.copytree(runs_once[0], tmp_path / "tiny")
    return Project.open(tmp_path / "tiny"), *runs_once[1]


def test_quality_is_compared_over_the_same_items(runs):
    project, whole, taught, slim, both, _ = runs
    comparison = compare_runs(project, [whole[:8], taught, slim, both], seconds=0.05)
    first, second = (load_run(project, run_id) for run_id in (whole, taught))
    test = first.splits.test
    decisions = [decide(project.contract, predict_array(run.fused, test.inputs)) for run in (first, second)]
    expected = difference_interval(
        project.contract.metric.primary, test.targets, *decisions, test.attributes["machine"]
    )

    assert comparison.split == "by machine: H, I"
    assert [run.run_id for run in comparison.runs] == [whole, taught, slim, both]
    assert [run.metric.value for run in comparison.runs] == [
        load_run(project, run_id).report["metric"]["value"] for run_id in (whole, taught, slim, both)
    ]
    assert (comparison.runs[0].better, comparison.runs[0].interval) == (None, None)
    better = comparison.runs[1].metric.value - comparison.runs[0].metric.value
    assert comparison.runs[1].better == pytest.approx(better)
    assert comparison.runs[1].interval == expected


def test_how_each_came_about_and_what_it_costs(runs):
    project, whole, taught, slim, both, _ = runs
    comparison = compare_runs(project, [whole, taught, slim, both], seconds=0.05)
    rows = comparison.runs

    assert [row.made for row in rows] == [
        "from scratch",
        f"taught by {whole[:8]}",
        f"slimmed {whole[:8]} to 0.5",
        f"slimmed {whole[:8]} to 0.5, taught by {taught[:8]}",
    ]
    assert [row.macs for row in rows] == [6 * 16 + 16 * 3] * 2 + [6 * 8 + 8 * 3] * 2
    assert rows[0].parameters > rows[2].parameters == rows[3].parameters
    assert comparison.variant == "onnx-fp32"
    assert [row.shipped is None for row in rows] == [False, True, False, True]
    assert [note for note in comparison.notes if "not exported" in note] == [
        f"{run_id[:8]} was not exported: edgeml export PROJECT --run {run_id[:8]}" for run_id in (taught, both)
    ]
    assert rows[0].shipped.ratio == 1.0
    assert rows[2].shipped.ratio > 0
    assert rows[2].shipped.latency_us > 0
    assert rows[2].shipped.bytes < rows[0].shipped.bytes < rows[0].shipped.bundle_bytes
    assert rows[2].shipped.metric == pytest.approx(rows[2].metric.value)
    assert json.loads(json.dumps(comparison.to_dict()))["runs"][0]["run_id"] == whole


def test_without_names_the_latest_runs_of_the_same_data_are_compared(runs):
    project, whole, taught, slim, both, other = runs
    again = train_project(Project.open(project.folder, ["train.epochs=1"]))
    comparison = compare_runs(project, seconds=0.05)

    assert [run.run_id for run in comparison.runs] == [whole, taught, slim, both, again.run_id]
    assert other not in {run.run_id for run in comparison.runs}


def test_runs_that_were_not_exported_have_no_size(runs):
    project, _, taught, _, both, _ = runs
    comparison = compare_runs(project, [taught, both])

    assert comparison.variant is None
    assert [run.shipped for run in comparison.runs] == [None, None]


def test_runs_on_other_data_are_refused(runs):
    project, whole, *_, other = runs
    with pytest.raises(ProjectError, match=f"run {other}: expected the data of run {whole}"):
        compare_runs(project, [whole, other])


@pytest.mark.parametrize("count", [1, 2])
def test_one_run_is_too_few(runs, count):
    project, whole, *_ = runs
    with pytest.raises(InputError, match=r"expected at least two finished runs .* found 1"):
        compare_runs(project, [whole] * count)


def test_an_unknown_run_is_refused(runs):
    project, whole, *_ = runs
    with pytest.raises(ProjectError, match="exactly one finished run whose id begins with 0000"):
        compare_runs(project, [whole, "0000"])


def test_a_variant_that_is_not_there_is_refused(runs):
    project, whole, _, slim, *_ = runs
    with pytest.raises(ProjectError, match=r"--variant tflite-int8: expected .* onnx-fp32"):
        compare_runs(project, [whole, slim], variant="tflite-int8")


def test_without_runs_there_is_nothing_to_compare(project):
    with pytest.raises(InputError, match="found 0"):
        compare_runs(project)
