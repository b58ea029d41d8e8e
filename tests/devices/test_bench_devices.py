"""Which device a bench is for: a shipped profile, one of the project, or a file."""

from __future__ import annotations

from importlib import resources

import pytest

from edgeml_devices import bench
from edgeml_runtime.errors import ProjectError


@pytest.fixture
def gateway(tmp_path):
    """A profile of the project that the bundle lies in: the Pi 4's, under another name."""
    text = (resources.files("edgeml_devices") / "profiles" / "raspberry-pi-4b.toml").read_text(encoding="utf-8")
    path = tmp_path / "devices" / "gateway.toml"
    path.parent.mkdir()
    path.write_text(text.replace('name = "raspberry-pi-4b"', 'name = "gateway"'), encoding="utf-8")
    return path


@pytest.mark.parametrize("by_path", [False, True])
def test_budgets_for_a_device_of_the_project_are_found(make_bundle, simulate, gateway, by_path):
    bundle = make_bundle({"gateway": {"bundle_mb": 1.0}, "raspberry-pi-4b": {"bundle_mb": 0.0001}})
    report = bench(bundle, device=str(gateway) if by_path else "gateway", target=simulate("pc"))
    assert report.profile.name == "gateway"
    assert [(result.limit, result.verdict.value) for result in report.budgets] == [(1.0, "pass")]


def test_a_bundle_elsewhere_is_benched_for_a_device_of_the_current_project(
    make_bundle, simulate, gateway, tmp_path, monkeypatch
):
    bundle = make_bundle({"gateway": {"bundle_mb": 1.0}})
    away = tmp_path / "away" / bundle.name
    away.parent.mkdir()
    bundle.rename(away)
    (tmp_path / "edgeml.toml").write_text("", encoding="utf-8")
    with pytest.raises(ProjectError, match="unknown device profile 'gateway'"):
        bench(away, device="gateway", target=simulate("pc"))
    monkeypatch.chdir(tmp_path)
    assert bench(away, device="gateway", target=simulate("pc")).profile.name == "gateway"


def test_a_broken_profile_is_refused_with_every_fault(make_bundle, simulate, gateway):
    text = gateway.read_text(encoding="utf-8")
    gateway.write_text(text.replace("cores = 4", "cores = 0").replace("threads = 1", "threads = 0"), encoding="utf-8")
    with pytest.raises(ProjectError, match=r"2 fault\(s\).*\n.*cores: expected .* found 0\n.*threads: expected"):
        bench(make_bundle(), device="gateway", target=simulate("pc"))


def test_budgets_for_a_device_that_is_known_nowhere_are_said_to_be(make_bundle, simulate, gateway):
    bundle = make_bundle({"gateway": {"bundle_mb": 1.0}, "rasberry-pi-5": {"bundle_mb": 1.0}})
    report = bench(bundle, device="raspberry-pi-4b", target=simulate("pc"))
    assert (
        "it has budgets for gateway, rasberry-pi-5, which is no device profile here (did you mean 'raspberry-pi-5'?)"
        in report.notes[0]
    )


def test_a_phone_of_any_memory_can_be_benched_for(make_bundle, simulate):
    report = bench(make_bundle(), device="snapdragon-888", target=simulate("pi 5"))
    assert report.provenance is None
    assert not any("memory" in reason for reason in report.mismatch)
