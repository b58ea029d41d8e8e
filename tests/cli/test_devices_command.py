"""``edgeml devices``: profiles listed, shown and written."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import resources

import pytest

from edgeml_devices import probe
from edgeml_devices.ceilings import Ceiling
from edgeml_devices.profile_files import load_profile, shipped_profiles
from edgeml_runtime.machine import probe_machine

CEILINGS = (
    Ceiling(name="memcpy_gb_per_s", how="memcpy of 64 MiB", threads=1, rates=(4.0, 5.0, 4.9)),
    Ceiling(name="fp32_gmac_per_s", how="product of matrices", threads=1, rates=(20.0, 40.0, 21.0)),
)


@pytest.fixture
def measured(monkeypatch):
    """Measuring takes no time; tests/devices/test_probe.py really measures."""
    monkeypatch.setattr(probe, "measure_ceilings", lambda: CEILINGS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(folder):
    """The current folder as a project with a profile of its own, called gateway."""
    (folder / "edgeml.toml").write_text("", encoding="utf-8")
    (folder / "devices").mkdir()
    text = (resources.files("edgeml_devices") / "profiles" / "intel-n100.toml").read_text(encoding="utf-8")
    text = text.replace('name = "intel-n100"', 'name = "gateway"')
    (folder / "devices" / "gateway.toml").write_text(text, encoding="utf-8")
    return folder


def plain(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["list", "show", "probe", "setup-emulator"])
def test_every_part_has_help_json_and_debug(edgeml, name):
    outcome = edgeml("devices", name, "--help")
    assert outcome.code == 0
    assert "--json" in outcome.stdout
    assert "--debug" in outcome.stdout


def test_help_of_a_part_imports_click_and_nothing_else():
    script = (
        "import sys, json\nbefore = set(sys.modules)\nfrom edgeml_cli.main import main\nmain(sys.argv[1:])\n"
        "names = {name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(json.dumps(sorted(names)), file=sys.stderr)"
    )
    arguments = ["devices", "probe", "--help"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == ["click", "edgeml_cli"]


def test_a_wrong_word_is_answered_with_the_nearest(edgeml):
    outcome = edgeml("devices", "lst")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "did you mean 'list'?" in outcome.stderr
    assert "the commands are list, show, probe, setup-emulator." in edgeml("devices", "zzz").stderr


def test_list_names_every_profile(edgeml, folder):
    outcome = edgeml("devices", "list")
    assert outcome.code == 0, outcome.stderr
    assert all(name in outcome.stdout for name in ("host", *shipped_profiles()))
    assert all(len(line) <= 80 for line in outcome.stdout.splitlines())
    report = edgeml("devices", "list", "--json").json()
    assert [entry["profile"]["name"] for entry in report["profiles"]] == ["host", *shipped_profiles()]
    assert report["profiles"][0]["this_machine"] == {"matches": True, "reasons": []}
    assert all(entry["file"] is None for entry in report["profiles"])


@pytest.mark.parametrize("arguments", [(), ("--project", ".")])
def test_list_knows_those_of_the_project(edgeml, project, arguments):
    outcome = edgeml("devices", "list", *arguments)
    assert "gateway: " in outcome.stdout
    (own,) = [entry for entry in edgeml("devices", "list", *arguments, "--json").json()["profiles"] if entry["file"]]
    assert own["profile"]["name"] == "gateway"
    assert own["file"].endswith("devices/gateway.toml")


def test_list_leaves_a_folder_alone_that_is_no_project(edgeml, folder):
    (folder / "devices").mkdir()
    (folder / "devices" / "ruff.toml").write_text("line-length = 100\n", encoding="utf-8")
    assert edgeml("devices", "list").code == 0


def test_list_reports_every_fault_of_every_broken_profile(edgeml, project):
    path = project / "devices" / "gateway.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("cores = 4\n", 'cores = "four"\nspeed = 3\n', 1), "utf-8")
    (project / "devices" / "torn.toml").write_text('name = "torn', encoding="utf-8")
    outcome = edgeml("devices", "list", "--json")
    assert outcome.code == 2
    error = outcome.json()["error"]
    assert error["exit_code"] == 2
    for part in (
        "gateway.toml: 3 fault(s) in the device profile",
        "cores: expected an integer from 1 to 4096, found 'four'",
        "speed: expected one of",
        "sources.speed: expected a string, found nothing",
        "torn.toml: cannot be read as TOML",
    ):
        assert part in error["message"]


def test_show_says_where_each_figure_comes_from(edgeml, folder):
    outcome = edgeml("devices", "show", "raspberry-pi-zero-2w")
    assert outcome.code == 0, outcome.stderr
    text = plain(outcome.stdout)
    for part in (
        "Raspberry Pi Zero 2 W, 512 MB",
        "memory usable 448 MB",
        "CPU model for emulation cortex-a53",
        "mobilenet-v1 fp32 ncnn 4 163.19 mean",
        "memcpy: 1300 MB/s at 1000 MHz",
        "published latency: Tencent/ncnn, benchmark/README.md",
        "this machine does not count as this device",
    ):
        assert part in text
    report = edgeml("devices", "show", "raspberry-pi-zero-2w", "--json").json()
    assert report["profile"] == load_profile("raspberry-pi-zero-2w").to_dict()
    assert report["this_machine"]["matches"] is False
    assert report["this_machine"]["reasons"]


@pytest.mark.parametrize("name", ["snapdragon-888", "imx8m-quad", "intel-n100", "host"])
def test_show_leaves_out_what_is_not_known(edgeml, folder, name):
    outcome = edgeml("devices", "show", name)
    assert outcome.code == 0, outcome.stderr
    assert "None" not in outcome.stdout


@pytest.mark.parametrize("name", ["gateway", "devices/gateway.toml"])
def test_show_reads_a_profile_of_the_project_by_name_and_by_path(edgeml, project, name):
    report = edgeml("devices", "show", name, "--json").json()
    assert report["profile"]["name"] == "gateway"
    assert report["file"].endswith("devices/gateway.toml")


def test_show_lists_the_known_profiles_and_the_nearest(edgeml, folder):
    outcome = edgeml("devices", "show", "rasberry-pi-5", "--json")
    assert outcome.code == 2
    message = outcome.json()["error"]["message"]
    assert "did you mean 'raspberry-pi-5'?" in message
    assert all(name in message for name in ("host", *shipped_profiles()))


def test_probe_writes_a_profile_that_this_machine_counts_as(edgeml, folder, measured):
    outcome = edgeml("devices", "probe", "here")
    assert outcome.code == 0, outcome.stderr
    text = plain(outcome.stdout)
    assert "memcpy 5 GB/s 2.0% memcpy of 64 MiB" in text
    assert "fp32 40 GMAC/s 47.5% product of matrices" in text
    assert "probe again when it is quiet" in text
    assert "written to here.toml" in text
    assert "budgets for it go under [budgets.here] of edgeml.toml" in text
    shown = edgeml("devices", "show", "here.toml", "--json").json()
    assert shown["this_machine"]["matches"] is True
    assert shown["profile"]["fp32_gmac_per_s"] == 40.0
    assert "the median round 47.5% below it" in shown["profile"]["sources"]["fp32_gmac_per_s"]


def test_probe_puts_the_profile_into_a_project_and_names_it_after_the_machine(edgeml, project, measured):
    name = probe.suggested_name(probe_machine())
    report = edgeml("devices", "probe", "--json").json()
    assert report["file"] == f"devices/{name}.toml"
    assert report["profile"]["name"] == name
    assert [entry["name"] for entry in report["measured"]] == ["memcpy_gb_per_s", "fp32_gmac_per_s"]
    assert report["measured"][0]["rates"] == [4.0, 5.0, 4.9]
    listed = edgeml("devices", "list", "--json").json()["profiles"]
    assert {"gateway", name} <= {entry["profile"]["name"] for entry in listed}


def test_probe_writes_where_it_is_told_and_prints_for_a_dash(edgeml, folder, measured):
    assert edgeml("devices", "probe", "--output", "deep/box.toml").code == 0
    assert load_profile("deep/box.toml").name == "box"
    printed = edgeml("devices", "probe", "box", "--output", "-")
    assert tomllib.loads(printed.stdout)["name"] == "box"
    assert edgeml("devices", "probe", "box", "--output", "-", "--json").json()["file"] is None
    assert sorted(item.name for item in folder.iterdir()) == ["deep"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gateway",), "devices/gateway.toml is there already; replace it with --force"),
        (("raspberry-pi-5",), "the profile name 'raspberry-pi-5' is taken"),
        (("two words",), "expected a name of letters and digits"),
        (("box", "--output", "crate.toml"), "expected a file called box.toml, as its profile; found crate.toml"),
        (("--output", "box.txt"), "expected a file called box.toml, as its profile; found box.txt"),
        (("--output", "edgeml.toml/box.toml"), "cannot be written"),
    ],
)
def test_probe_refuses_what_it_cannot_write(edgeml, project, measured, arguments, says):
    before = sorted(project.rglob("*"))
    outcome = edgeml("devices", "probe", *arguments)
    assert (outcome.code, outcome.stdout) == (2, "")
    assert says in plain(outcome.stderr)
    assert sorted(project.rglob("*")) == before


def test_probe_replaces_a_file_when_told(edgeml, project, measured):
    assert edgeml("devices", "probe", "gateway", "--force").code == 0
    assert load_profile("gateway", project=project).fp32_gmac_per_s == 40.0
