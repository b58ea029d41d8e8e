"""Device profiles: the shipped ones, a project's own, and broken ones."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from importlib import resources

import pytest

from edgeml_devices.host import HOST, host_profile, match, probe_host
from edgeml_devices.profile_files import known_profiles, load_profile
from edgeml_devices.profile_parse import parse_profile
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.machine import probe_machine

SHIPPED = ("raspberry-pi-4b", "raspberry-pi-5", "x86-64-desktop")


def raw(name):
    return tomllib.loads((resources.files("edgeml_devices") / "profiles" / f"{name}.toml").read_text(encoding="utf-8"))


def test_the_known_profiles_are_these():
    assert known_profiles() == (HOST, *SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_states_a_source_for_every_figure(name):
    profile = load_profile(name)
    figures = set(raw(name)) - {"name", "title", "arch", "match", "sources"}
    assert set(profile.sources) == figures
    assert all(len(source) > 20 for source in profile.sources.values())
    assert json.loads(json.dumps(profile.to_dict()))["sources"] == profile.sources


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_lies_within_its_own_match(name):
    profile = load_profile(name)
    assert profile.cores in profile.match_cores
    assert profile.memory_usable_bytes in profile.match_memory_bytes
    assert profile.memory_usable_bytes < profile.memory_bytes


def test_an_unknown_profile_is_answered_with_the_known_ones():
    with pytest.raises(ProjectError) as caught:
        load_profile("rasperry-pi-5")
    for part in ("'rasperry-pi-5'", "host", *SHIPPED, "did you mean 'raspberry-pi-5'"):
        assert part in str(caught.value)


@pytest.fixture
def project(tmp_path):
    """Writes a profile of a project's own, taken from the Pi 4's with changes, and returns the project's folder."""

    def write(text, name="gateway"):
        folder = tmp_path / "devices"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def own_profile(name="gateway"):
    text = (resources.files("edgeml_devices") / "profiles" / "raspberry-pi-4b.toml").read_text(encoding="utf-8")
    return text.replace('name = "raspberry-pi-4b"', f'name = "{name}"')


def test_a_project_has_profiles_of_its_own(project):
    folder = project(own_profile())
    assert known_profiles(folder) == (HOST, "gateway", *SHIPPED)
    assert load_profile("gateway", project=folder).cpu == "cortex-a72"


@pytest.mark.parametrize("name", ["raspberry-pi-5", "host"])
def test_a_name_that_is_taken_is_refused(project, name):
    with pytest.raises(ProjectError, match=f"{name}' is taken"):
        known_profiles(project(own_profile(name), name))


def test_a_file_that_is_not_toml_is_named(project):
    with pytest.raises(ProjectError, match=r"gateway\.toml: cannot be read as TOML"):
        load_profile("gateway", project=project("cores = = 4"))


BROKEN = [
    ({"cores": 0}, "cores: expected an integer from 1"),
    ({"cores": "four"}, "cores: expected an integer"),
    ({"memory_bytes": 1.5}, "memory_bytes: expected an integer"),
    ({"clock_mhz": -1}, "clock_mhz: expected a number"),
    ({"isa": "asimd"}, "isa: expected a list of strings"),
    ({"title": ""}, "title: expected a string that is not empty"),
    ({"core": 4}, "core: expected one of .* an unknown key"),
    ({"core": 4}, "did you mean 'cores'"),
    ({"name": "other"}, "name: expected 'board', as the file is called, found 'other'"),
    ({"match": {"cores": [4, 2], "memory_bytes": [1, 2]}}, r"match\.cores: expected two numbers"),
    ({"match": {"cores": [4], "memory_bytes": [1, 2]}}, r"match\.cores: expected two numbers"),
    ({"match": {"cores": [4, 4]}}, r"match\.memory_bytes: expected two numbers .* found nothing"),
    ({"match": 4}, "match: expected a table"),
    ({"threads": True}, "threads: expected an integer"),
]


def valid():
    return {**raw("raspberry-pi-4b"), "name": "board"}


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_broken_profile_is_refused_with_path_expected_and_found(change, message):
    with pytest.raises(ProjectError, match=message):
        parse_profile({**valid(), **change}, source="board.toml", name="board")


@pytest.mark.parametrize("figure", ["cores", "memcpy_gb_per_s", "isa", "threads"])
def test_a_figure_without_a_source_is_refused(figure):
    data = valid()
    data["sources"] = {key: value for key, value in data["sources"].items() if key != figure}
    with pytest.raises(ProjectError, match=rf"sources\.{figure}: .*\n.*Where does the figure come from"):
        parse_profile(data, source="board.toml", name="board")


def test_every_fault_is_reported_at_once():
    data = {**valid(), "cores": 0, "isa": 3}
    del data["arch"]
    with pytest.raises(ProjectError, match=r"board\.toml: 3 fault\(s\)"):
        parse_profile(data, source="board.toml", name="board")


FITS = [("pi 4", "raspberry-pi-4b"), ("pi 5", "raspberry-pi-5"), ("pc", "x86-64-desktop")]


@pytest.mark.parametrize(("machine", "profile"), FITS)
def test_a_machine_counts_as_its_device_and_as_no_other(machines, machine, profile):
    assert match(load_profile(profile), machines[machine]).ok
    for other in set(SHIPPED) - {profile}:
        assert not match(load_profile(other), machines[machine]).ok


DIFFERENCES = [
    ({"arch": "armv7l"}, "architecture aarch64 is needed, this machine is armv7l"),
    ({"cpu": "cortex-a76"}, "cores of type cortex-a72 are needed"),
    ({"board": None}, "names no board"),  # a cloud server with the same four cores
    ({"board": "Raspberry Pi 5 Model B"}, "this machine is a Raspberry Pi 5 Model B"),
    ({"isa": ("crc32",)}, "CPU features asimd are missing"),
    ({"cores": 2}, "4 cores are needed, this process may use 2"),
    ({"cores": 8}, "4 cores are needed, this process may use 8"),
    ({"memory_bytes": 512_000_000}, "this process may use 0.5 GB"),
    ({"memory_bytes": 64_000_000_000}, "this process may use 64.0 GB"),
]


@pytest.mark.parametrize(("change", "reason"), DIFFERENCES)
def test_one_difference_is_enough_and_is_named(machines, pi_4, change, reason):
    result = match(pi_4, replace(machines["pi 4"], **change))
    assert not result.ok
    assert len(result.reasons) == 1
    assert reason in result.reasons[0]


def test_every_difference_is_named(machines, pi_4):
    assert len(match(pi_4, machines["pc"]).reasons) == 6


def test_the_host_matches_itself_and_says_where_its_figures_come_from(machines):
    profile = probe_host()
    assert profile.name == HOST
    assert match(profile, probe_machine()).ok
    assert match(host_profile(machines["pi 4"]), machines["pc"]).ok
    assert profile.sources["cores"] == "probed on the machine itself"
