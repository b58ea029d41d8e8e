"""Device profiles: the shipped ones, a project's own, and broken ones."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from edgeml_devices.host import HOST, host_profile, match, probe_host
from edgeml_devices.profile import Statistic
from edgeml_devices.profile_files import budget_faults, find_project, known_profiles, load_profile, mark_unknown
from edgeml_devices.profile_parse import parse_profile
from edgeml_devices.profile_write import profile_toml
from edgeml_runtime.contract import Budget, BudgetName
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.machine import Machine, probe_machine

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "devices.md"
SHIPPED = (
    "imx8m-quad",
    "intel-n100",
    "jetson-orin-nano-cpu",
    "raspberry-pi-2b",
    "raspberry-pi-3b-plus",
    "raspberry-pi-4b",
    "raspberry-pi-5",
    "raspberry-pi-zero-2w",
    "snapdragon-888",
    "x86-64-desktop",
)


def raw(name):
    return tomllib.loads((resources.files("edgeml_devices") / "profiles" / f"{name}.toml").read_text(encoding="utf-8"))


def test_the_known_profiles_are_these():
    assert known_profiles() == (HOST, *SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_states_a_source_for_every_figure(name):
    profile = load_profile(name)
    figures = set(raw(name)) - {"name", "title", "arch", "match", "references", "sources"}
    assert set(profile.sources) == figures
    assert all(len(source) > 20 for source in profile.sources.values())
    assert all(len(reference.source) > 20 for reference in profile.references)
    assert json.loads(json.dumps(profile.to_dict()))["sources"] == profile.sources


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_lies_within_its_own_match(name):
    profile = load_profile(name)
    assert profile.cores in profile.match_cores
    memory = profile.memory_usable_bytes or profile.memory_bytes
    assert (memory is None) == (profile.match_memory_bytes is None)
    assert memory is None or memory in profile.match_memory_bytes


# As `qemu-aarch64 -cpu help` and its siblings list them, QEMU 7.2.
EMULATED = {
    "aarch64": {"a64fx", "cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "max", "neoverse-n1"},
    "armv7l": {"cortex-a7", "cortex-a8", "cortex-a9", "cortex-a15", "max"},
    "x86_64": {"Haswell", "Skylake-Client", "Skylake-Server", "Cascadelake-Server", "Icelake-Server", "max"},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_can_be_run_and_emulated(name):
    profile = load_profile(name)
    assert profile.runtimes
    assert profile.emulator_cpu in EMULATED[profile.arch]
    assert profile.threads == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_written_profile_reads_back_the_same(name):
    profile = load_profile(name)
    assert parse_profile(tomllib.loads(profile_toml(profile)), source="written", name=name) == profile


def test_a_published_latency_says_how_it_was_measured():
    first = load_profile("raspberry-pi-zero-2w").references[0]
    assert (first.model, first.precision, first.runtime, first.threads) == ("mobilenet-v1", "fp32", "ncnn", 4)
    assert (first.latency_ms, first.statistic) == (163.19, Statistic.MEAN)
    assert first.to_dict()["statistic"] == "mean"


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


def test_a_profile_is_also_read_by_its_path(project):
    path = project(own_profile()) / "devices" / "gateway.toml"
    assert load_profile(str(path)).name == "gateway"
    path.rename(path.with_name("other.toml"))
    with pytest.raises(ProjectError, match="name: expected 'other', as the file is called, found 'gateway'"):
        load_profile(str(path.with_name("other.toml")))
    with pytest.raises(ProjectError, match=r"gateway\.toml: cannot be read: No such file"):
        load_profile(str(path))


def test_a_file_may_not_pass_for_a_shipped_profile(project):
    path = project(own_profile("raspberry-pi-5"), "raspberry-pi-5") / "devices" / "raspberry-pi-5.toml"
    with pytest.raises(ProjectError, match="'raspberry-pi-5' is taken"):
        load_profile(str(path))


def test_profiles_are_looked_for_beside_the_model_and_then_in_the_current_project(project, tmp_path, monkeypatch):
    model, here = tmp_path / "out" / "x.edgeml", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "devices").mkdir()
    (here / "devices" / "ruff.toml").write_text("", encoding="utf-8")
    assert find_project(model) == model.parent  # a folder that happens to be called devices makes no project
    (here / "edgeml.toml").write_text("", encoding="utf-8")
    assert find_project(model) == here
    assert find_project(project(own_profile()) / "x.edgeml") == tmp_path


def test_names_that_are_known_nowhere_are_marked(project):
    folder = project(own_profile())
    assert mark_unknown(["gateway", "host", "raspberry-pi-5"], folder) == ["gateway", "host", "raspberry-pi-5"]
    assert mark_unknown(["gateway", "rasberry-pi-5"]) == [
        "gateway, which is no device profile here",
        "rasberry-pi-5, which is no device profile here (did you mean 'raspberry-pi-5'?)",
    ]


def test_budgets_for_devices_that_are_known_nowhere_are_faults(project):
    budgets = [
        Budget(profile=name, name=BudgetName.BUNDLE_MB, limit=1.0)
        for name in ("host", "gateway", "raspberry-pi-5", "rasberry-pi-5", "rasberry-pi-5", "my.board")
    ]
    found = budget_faults(budgets, project(own_profile()))
    assert [fault.path for fault in found] == ["budgets.rasberry-pi-5", 'budgets."my.board"']
    assert found[0].found == "'rasberry-pi-5' (did you mean 'raspberry-pi-5'?)"
    assert found[0].question == "Which device is the budget for?"
    for known in ("host", "gateway", "raspberry-pi-zero-2w", "devices/rasberry-pi-5.toml"):
        assert known in found[0].expected


@pytest.mark.parametrize("name", ["raspberry-pi-5", "host"])
def test_a_name_that_is_taken_is_refused(project, name):
    with pytest.raises(ProjectError, match=f"{name}' is taken"):
        known_profiles(project(own_profile(name), name))


def test_a_file_that_is_not_toml_is_named(project):
    with pytest.raises(ProjectError, match=r"gateway\.toml: cannot be read as TOML"):
        load_profile("gateway", project=project("cores = = 4"))


def test_the_documented_profile_is_one():
    text = DOCUMENT.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    profile = parse_profile(tomllib.loads(block), source="docs/devices.md", name="gateway")
    stated = profile.to_dict()
    assert [key for key, value in stated.items() if value in (None, [])] == []
    assert all(f"`{name}`" in text for name in SHIPPED)


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
    ({"match": {"memory_bytes": [1, 1e12]}}, r"match\.cores: expected two numbers .* found nothing"),
    ({"match": 4}, "match: expected a table"),
    ({"match": {"cores": [1, 2]}}, r"match\.cores: expected a range that holds cores, 4, found \[1\.0, 2\.0\]"),
    ({"match": {"cores": [4, 4], "memory_bytes": [1, 2]}}, r"match\.memory_bytes: expected a range that holds the us"),
    ({"memory_usable_bytes": 1 << 40}, "memory_usable_bytes: expected at most memory_bytes, 1073741824"),
    ({"threads": True}, "threads: expected an integer"),
    ({"runtimes": "onnxruntime"}, "runtimes: expected a list of strings"),
    ({"int8_gmac_per_s": 0}, "int8_gmac_per_s: expected a number from 0.001"),
    ({"references": {"model": "x"}}, r"references: expected tables, written \[\[references\]\]"),
    ({"references": [{"latency_ms": 5}]}, r"references\[0\]\.model: expected a string, found nothing"),
    ({"references": [{"latency_ms": 5}]}, r"references\[0\]\.source: .*\n.*Where does the figure come from"),
    ({"references": [{"statistic": "p50"}]}, r"references\[0\]\.statistic: expected one of min, median, mean"),
    ({"references": [{"model": "x", "ms": 5}]}, r"references\[0\]\.ms: expected one of .* an unknown key"),
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


@pytest.mark.parametrize("key", ["memory_bytes", "memory_usable_bytes", "clock_mhz", "boards", "cpu", "runtimes"])
def test_what_nobody_knows_may_be_left_out(key):
    data = valid()
    del data[key]
    data["sources"] = {name: source for name, source in data["sources"].items() if name != key}
    profile = parse_profile(data, source="board.toml", name="board")
    assert getattr(profile, key) in (None, ())
    assert key not in profile.sources


def board(arch, cpu, board, cores, isa, memory):
    return Machine(
        arch=arch, cpu=cpu, board=board, cores=cores, isa=tuple(isa.split()), memory_bytes=memory, clock_mhz=None
    )


A53, ORIN = "cortex-a53", "cortex-a78ae"
DEVICES = [
    (board("aarch64", A53, "Raspberry Pi Zero 2 W Rev 1.0", 4, "asimd crc32", 437_000_000), "raspberry-pi-zero-2w"),
    (board("armv7l", "cortex-a7", "Raspberry Pi 2 Model B Rev 1.1", 4, "neon vfpv4", 966_000_000), "raspberry-pi-2b"),
    (board("aarch64", A53, "Raspberry Pi 3 Model B Plus Rev 1.3", 4, "asimd", 950_000_000), "raspberry-pi-3b-plus"),
    (
        board("aarch64", ORIN, "NVIDIA Jetson Orin Nano Developer Kit", 6, "asimd fp16 dotprod", 7_990_000_000),
        "jetson-orin-nano-cpu",
    ),
    (board("aarch64", A53, "Google i.MX8MQ Phanbell", 4, "aes asimd", 1_010_000_000), "imx8m-quad"),
    (
        board("aarch64", "cortex-a55+cortex-a78+cortex-x1", None, 8, "asimd fp16 dotprod", 11_500_000_000),
        "snapdragon-888",
    ),
]


@pytest.mark.parametrize(("machine", "profile"), DEVICES, ids=[name for _, name in DEVICES])
def test_each_board_counts_as_its_device_and_as_no_other(machine, profile):
    assert match(load_profile(profile), machine).reasons == ()
    assert [name for name in SHIPPED if match(load_profile(name), machine).ok] == [profile]


def test_a_gateway_counts_as_itself_and_as_a_member_of_its_class():
    machine = board("x86_64", "Intel(R) N100", None, 4, "avx2 avx_vnni fma", 8_090_000_000)
    assert [name for name in SHIPPED if match(load_profile(name), machine).ok] == ["intel-n100", "x86-64-desktop"]


def test_a_later_revision_with_other_cores_is_another_device():
    machine = board("aarch64", A53, "Raspberry Pi 2 Model B Rev 1.2", 4, "asimd", 950_000_000)
    assert not any(match(load_profile(name), machine).ok for name in SHIPPED)


FITS = [("pi 4", "raspberry-pi-4b"), ("pi 5", "raspberry-pi-5"), ("pc", "x86-64-desktop")]


@pytest.mark.parametrize(("machine", "profile"), FITS)
def test_a_machine_counts_as_its_device_and_as_no_other(machines, machine, profile):
    assert [name for name in SHIPPED if match(load_profile(name), machines[machine]).ok] == [profile]


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
