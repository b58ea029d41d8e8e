"""Slimming to budgets: which ones decide, how the share is found, and what happens when it cannot be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib import resources

import pytest

from edgeml_devices import bench
from edgeml_runtime.contract import Budget, BudgetName
from edgeml_runtime.errors import ProjectError
from edgeml_train import Project, SlimRequest, export_project, train_project
from edgeml_train.slim import ChannelGroup, Channels
from edgeml_train.slim.budget import judged_budgets, largest_meeting, limits_here, shares
from edgeml_train.tracking import Tracking


def budget(name, limit=1.0, profile="board"):
    return Budget(profile=profile, name=BudgetName(name), limit=limit)


def with_budgets(project, *budgets):
    return replace(project.contract, budgets=budgets)


@pytest.mark.parametrize(
    ("mismatch", "judged", "left_out"),
    [
        ((), ["bundle_mb", "latency_ms_p95", "throughput_per_s"], ["cold_start_ms", "peak_rss_mb"]),
        (("architecture aarch64 is needed",), ["bundle_mb"], None),
    ],
)
def test_size_always_decides_and_speed_on_the_device_itself(project, mismatch, judged, left_out):
    names = ("bundle_mb", "latency_ms_p95", "throughput_per_s", "cold_start_ms", "peak_rss_mb")
    contract = with_budgets(project, *(budget(name) for name in names), budget("bundle_mb", 9.0, "other"))
    limits = judged_budgets(contract, "board", mismatch)

    assert [item.name.value for item in limits.judged] == judged
    assert set(limits.not_judged) == set(left_out or set(names) - set(judged))
    for name, reason in limits.not_judged.items():
        assert ("architecture aarch64" in reason) == (bool(mismatch) and name in ("latency_ms_p95", "throughput_per_s"))


@pytest.mark.parametrize(
    ("budgets", "mismatch", "message"),
    [
        ((), (), r"expected \[budgets.board\] to slim to, found budgets for none"),
        ((budget("bundle_mb", profile="host"),), (), "found budgets for host"),
        (
            (budget("latency_ms_p95"),),
            ("other cores",),
            r"judged here, found none \(latency_ms_p95: .*other cores",
        ),
        ((budget("peak_rss_mb"),), (), r"found none \(peak_rss_mb: channels hardly change it"),
    ],
)
def test_budgets_that_cannot_decide_are_refused(project, budgets, mismatch, message):
    with pytest.raises(ProjectError, match=message):
        judged_budgets(with_budgets(project, *budgets), "board", mismatch)


def test_a_profile_can_be_named_by_its_file(project, tmp_path):
    text = (resources.files("edgeml_devices") / "profiles" / "raspberry-pi-5.toml").read_text(encoding="utf-8")
    file = tmp_path / "board.toml"
    file.write_text(text.replace('name = "raspberry-pi-5"', 'name = "board"'), encoding="utf-8")
    contract = with_budgets(project, budget("bundle_mb"), budget("latency_ms_p95"))
    limits = limits_here(contract, str(file), tmp_path)

    assert [item.name.value for item in limits.judged] == ["bundle_mb"]
    assert "this machine is not a board" in limits.not_judged["latency_ms_p95"]


@pytest.mark.parametrize("limit", range(9))
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_the_largest_that_meets_is_found_with_few_trials(count, limit):
    choices, asked = [float(n) for n in range(1, count + 1)], []

    def meets(choice):
        asked.append(choice)
        return choice <= limit

    found = largest_meeting(choices, meets)

    assert found == (float(min(limit, count)) if limit >= 1 else None)
    assert asked[0] == 1.0
    assert len(asked) == len(set(asked)) <= 4


def test_shares_are_those_that_differ():
    groups = [ChannelGroup(weights=(f"{n}.weight",), channels=((),) * n, importance=(1.0,) * n) for n in (2, 64)]
    found = shares(Channels(groups=tuple(groups), left_alone={}))

    assert found == sorted(found)
    assert found[-1] == 1.0
    assert 8 <= len(found) <= 10


@pytest.fixture(scope="module")
def trained_once(write_project):
    folder = write_project("tiny")
    task = (folder / "task.py").read_text()
    wide = task.replace("Linear(6, 16), nn.BatchNorm1d(16)", "Linear(6, 512), nn.BatchNorm1d(512)")
    (folder / "task.py").write_text(wide.replace("nn.Linear(16, 3)", "nn.Linear(512, 3)"))
    return folder, train_project(Project.open(folder, ["train.epochs=1"]))


@pytest.fixture
def trained(trained_once, tmp_path):
    """A project whose network is most of its bundle, trained."""
    shutil.copytree(trained_once[0], tmp_path / "tiny")
    return tmp_path / "tiny", trained_once[1]


def limit(folder, profile, **limits):
    toml = (folder / "edgeml.toml").read_text()
    lines = "".join(f"{name} = {value}\n" for name, value in limits.items())
    (folder / "edgeml.toml").write_text(toml.replace("[data]", f"[budgets.{profile}]\n{lines}\n[data]"))
    return Project.open(folder, ["train.epochs=1"])


def test_a_network_is_slimmed_to_a_size(trained, tmp_path):
    folder, whole = trained
    export = export_project(Project.open(folder), run_id=whole.run_id, out=tmp_path / "whole.edgeml")
    size_mb = export.bundle.stat().st_size / 1e6
    limit_mb = round(size_mb - 0.008, 6)
    project = limit(folder, "raspberry-pi-5", bundle_mb=limit_mb, latency_ms_p95=0.001)
    report = train_project(project, slim=SlimRequest(run_id=whole.run_id, profile="raspberry-pi-5"))
    slimming = report.slimming

    assert slimming.profile == "raspberry-pi-5"
    assert 0 < slimming.keep < 1
    assert "this machine is not a raspberry-pi-5: architecture aarch64" in slimming.not_judged["latency_ms_p95"]
    assert slimming.steps[0].keep == 1.0
    assert slimming.steps[0].values["bundle_mb"] == pytest.approx(size_mb, abs=3e-4)  # the contract has grown
    assert [step.met for step in slimming.steps] == [step.values["bundle_mb"] <= limit_mb for step in slimming.steps]
    assert slimming.keep == max(step.keep for step in slimming.steps if step.met)
    record = Tracking(folder, "tiny").find(report.run_id)
    assert record.params["slim.profile"] == "raspberry-pi-5"
    assert record.tags["edgeml.command"].endswith("--slim-to raspberry-pi-5")

    # What was promised of the draft holds for the bundle, by the command that judges it.
    shipped = export_project(Project.open(folder), run_id=report.run_id, out=tmp_path / "slim.edgeml")
    (verdict,) = [item for item in bench(shipped.bundle, device="raspberry-pi-5").budgets if item.limit == limit_mb]
    assert verdict.verdict.value == "pass"
    chosen = next(step for step in slimming.steps if step.keep == slimming.keep)
    assert verdict.value == pytest.approx(chosen.values["bundle_mb"], abs=5e-5)  # digits of figures


def test_speed_is_measured_on_the_machine_itself(trained):
    folder, whole = trained
    project = limit(folder, "host", latency_ms_p50=1000.0, cold_start_ms=1.0)
    with pytest.raises(ProjectError, match=r"meets the budgets already: latency_ms_p50 0\.\d+ of 1000"):
        train_project(project, slim=SlimRequest(run_id=whole.run_id, profile="host"))


def test_budgets_out_of_reach_are_refused(trained):
    folder, whole = trained
    project = limit(folder, "host", bundle_mb=0.001)
    before = len(Tracking(folder, "tiny").runs())
    with pytest.raises(ProjectError, match=r"the smallest network does not: bundle_mb 0\.\d+ of 0.001. Raise"):
        train_project(project, slim=SlimRequest(run_id=whole.run_id, profile="host"))

    assert len(Tracking(folder, "tiny").runs()) == before


def test_an_unknown_profile_names_the_known_ones(trained):
    folder, whole = trained
    with pytest.raises(ProjectError, match=r"unknown device profile 'raspberry'.*known are host, .*raspberry-pi-4b"):
        train_project(Project.open(folder), slim=SlimRequest(run_id=whole.run_id, profile="raspberry"))
