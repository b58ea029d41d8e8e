"""A bench under emulation, with a script in QEMU's place: what is told, and how it ends."""

import json
import os
import signal
import sys
from dataclasses import replace

import pytest

from edgeml_cli.main import main
from edgeml_devices.bench import bench
from edgeml_devices.emulator.guest_run import Guests, GuestTimeout
from edgeml_devices.emulator.sysroot import Site
from edgeml_devices.emulator.target import EmulatorTarget
from edgeml_devices.report import Verdict
from edgeml_runtime.contract import BudgetName, Provenance
from edgeml_runtime.errors import InputError, StorageError

PI, VARIANT = "raspberry-pi-4b", "onnx-fp32"


def limits(**values):
    return {PI: {name: value if isinstance(value, list) else [value] for name, value in values.items()}}


def count(path, device=PI, cpu=None, limit_s=60.0, **options):
    return bench(path, device=device, target=EmulatorTarget(cpu=cpu, limit_s=limit_s), **options)


def test_what_a_bench_tells(make_bundle, emulator):
    emulator()
    report = count(make_bundle(limits(instructions={"limit": 101, "backend_version": "1.24"})))
    (variant,) = report.variants
    found = variant.emulated
    assert (report.provenance, report.exit_code, report.lost) == (Provenance.EMULATED, 0, None)
    assert (report.machine.arch, report.machine.cpu, report.machine.cores) == ("aarch64", "cortex-a72", 1)
    assert (found.newest.version, found.counting.version) == ("1.32.0", "1.24.4")
    assert (found.newest.qemu, found.counting.qemu) == ("10.0.2", "7.2.22")
    assert variant.figures[BudgetName.INSTRUCTIONS].value == 100
    assert found.counts.to_dict() == {
        "fp_fma": 50,
        "int8_dot": 0,
        "int8_matrix": 0,
        "widening_multiply": 0,
        "load_store": 30,
        "branch": 10,
        "other": 10,
    }
    assert found.layers
    assert {layer.counts.total for layer in found.layers} == {10}
    assert [result.verdict for result in report.budgets] == [Verdict.PASS]
    assert "counted with 1.24.4 under QEMU 7.2.22; devices get 1.32.0" in " ".join(report.notes)
    json.dumps(report.to_dict())


@pytest.mark.parametrize(
    ("limit", "code", "verdict"),
    [
        ({"limit": 101, "backend_version": "1.24"}, 0, "pass"),
        ({"limit": 99, "backend_version": "1.24"}, 1, "fail"),
        ({"limit": 101}, 4, "inconclusive"),
        ({"limit": 101, "backend_version": "1.32"}, 4, "not_measured"),
    ],
)
def test_how_it_ends(make_bundle, emulator, capsys, limit, code, verdict):
    emulator()
    path = make_bundle(limits(instructions=limit))
    assert main(["bench", str(path), "--device", PI, "--on", "emulator", "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    assert (report["target"], report["provenance"]) == ("emulator", "emulated")
    assert [row["verdict"] for row in report["budgets"]] == [verdict]
    assert report["variants"][0]["instructions"] == 100


@pytest.mark.parametrize("when", ["newest", "counting"])
@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        ("illegal", "illegal instruction"),
        ("crash", "SIGSEGV"),
        ("mute", "no answer"),
        ("other outputs", "1 of 3 golden cases fail"),
    ],
)
def test_golden_vectors_that_do_not_pass_decide(make_bundle, emulator, when, behaviour, text):
    emulator(**{when: behaviour})
    report = count(make_bundle(limits(instructions={"limit": 1e9, "backend_version": "1.24"})))
    (variant,) = report.variants
    assert report.exit_code == 1
    assert text in variant.reason
    assert not variant.emulated.passed
    assert [result.verdict for result in report.budgets] == [Verdict.FAIL]


def test_golden_vectors_decide_without_budgets_as_well(make_bundle, emulator):
    emulator(newest="other outputs")
    report = count(make_bundle())
    assert (report.budgets, report.exit_code) == ((), 1)


@pytest.mark.parametrize("when", ["newest", "counting"])
def test_a_guest_that_hangs_is_killed_and_proves_nothing(make_bundle, emulator, when):
    emulator(**{when: "hang"})
    report = count(make_bundle(limits(instructions={"limit": 1e9, "backend_version": "1.24"})), limit_s=3.0)
    assert "did not end within 3 s and was killed" in report.variants[0].reason
    assert report.exit_code == 4
    assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED]


@pytest.mark.parametrize("when", ["newest", "counting"])
def test_a_guest_that_is_killed_from_outside_proves_nothing(make_bundle, emulator, when):
    emulator(**{when: "killed"})
    report = count(make_bundle(limits(instructions={"limit": 1e9, "backend_version": "1.24"})))
    assert "SIGKILL" in report.variants[0].reason
    assert "bench again" in report.variants[0].reason
    assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED]
    assert report.exit_code == 4


def test_what_ends_the_bench_ends_its_guests(make_bundle, emulator, tmp_path):
    survived = tmp_path / "survived"
    emulator(**{"onnx-fp32": "full", "onnx-int8": "slow", "survived": str(survived)})
    with pytest.raises(StorageError):
        count(make_bundle(variants={"onnx-fp32": b"a", "onnx-int8": b"b"}))
    assert not survived.exists()


def test_a_guest_is_bounded_without_us_as_well(make_bundle, emulator):
    emulator(newest="bounded")
    assert "CPU time: (240, 240)" in count(make_bundle()).variants[0].reason


def test_guests_that_are_ended_are_not_followed_by_others():
    guests, asleep = Guests(), [sys.executable, "-c", "import time; time.sleep(600)"]
    with guests.start(asleep) as process:
        guests.end()
        assert process.wait() == -signal.SIGKILL
    with pytest.raises(GuestTimeout, match="was not started"), guests.start(asleep):
        pass


def test_what_the_device_has_and_the_emulated_cpu_lacks_is_told(make_bundle, emulator):
    emulator(cpus={"cortex-a76": "fp asimd"})
    notes = " ".join(count(make_bundle(), device="raspberry-pi-5").notes)
    assert "cortex-a76 as QEMU emulates it lacks dotprod, fp16, which raspberry-pi-5 has" in notes


def test_a_full_disk_is_no_verdict(make_bundle, emulator):
    emulator(counting="full")
    with pytest.raises(StorageError, match="room for the counts"):
        count(make_bundle())


def test_nothing_is_left_behind(make_bundle, emulator, tmp_path, monkeypatch):
    emulator()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    count(make_bundle())
    assert os.listdir(tmp_path / "tmp") == []


def test_another_cpu_than_the_profile_names_is_counted_and_decides_nothing(make_bundle, emulator):
    emulator()
    report = count(make_bundle(limits(instructions={"limit": 1, "backend_version": "1.24"})), cpu="max")
    assert report.provenance is None
    assert report.mismatch == ("raspberry-pi-4b is emulated by cortex-a72, this is max",)
    assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED]
    assert report.variants[0].emulated.counts.total == 100
    assert report.exit_code == 4


def test_a_device_whose_profile_has_no_such_runtime(make_bundle, emulator):
    emulator(cpus={"cortex-a76": "fp asimd"})
    (variant,) = count(make_bundle(), device="snapdragon-888").variants
    assert variant.reason.startswith("it needs onnxruntime, and the profile of snapdragon-888 names ")


def test_a_backend_that_the_device_cannot_have_is_no_failure(make_bundle, emulator):
    sites = (Site(name="tflite", folders=(), versions=(("tflite-runtime", "2.14.0"),), countable=True),)
    emulator(sites=sites)
    report = count(make_bundle(limits(bundle_mb={"limit": 1})))
    assert report.variants[0].reason == "it needs onnxruntime, and the emulated aarch64 has tflite-runtime 2.14.0"
    assert report.variants[0].emulated is None
    assert [result.verdict for result in report.budgets] == [Verdict.PASS]
    assert (report.provenance, report.mismatch, report.exit_code) == (Provenance.EMULATED, (), 4)


def test_a_variant_for_another_cpu_is_no_failure(make_bundle, emulator, monkeypatch):
    emulator()
    monkeypatch.setattr(
        sys.modules["edgeml_devices.bench"],  # the package has a function of that name
        "select",
        lambda model, variants, backend: (replace(model.variants[0], requires_isa=("i8mm",)),),
    )
    report = count(make_bundle())
    assert report.variants[0].reason == "it needs a CPU with i8mm, which cortex-a72 has not"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": "host"}, "name one, such as --device raspberry-pi-4b"),
        ({"threads": 2}, "counted with one thread"),
        ({"sustained_minutes": 1.0}, "leave it out"),
        ({"cpu": "cortex-a999"}, "unable to find CPU model 'cortex-a999'"),
    ],
)
def test_what_cannot_be_asked_for(make_bundle, emulator, options, text):
    emulator()
    with pytest.raises(InputError, match=text):
        count(make_bundle(), **options)


@pytest.mark.parametrize("option", ["--profile", "--recommend"])
def test_nothing_that_needs_times(make_bundle, emulator, capsys, option):
    emulator()
    assert main(["bench", str(make_bundle()), "--device", PI, "--on", "emulator", option]) == 2
    assert "under emulation nothing is timed" in capsys.readouterr().err


def test_the_earlier_count_of_the_same_cpu_is_compared_with(make_bundle, emulator, tmp_path, capsys):
    path, then = make_bundle(), tmp_path / "then.json"
    command = ["bench", str(path), "--device", PI, "--on", "emulator", "--json"]
    emulator(each=[500, 0, 0, 0, 300, 100, 100])
    assert main(command) == 0
    then.write_text(capsys.readouterr().out, encoding="utf-8")
    for extra, code in ((0, 0), (1, 0), (4, 4), (10, 1)):
        emulator(each=[500 + extra, 0, 0, 0, 300, 100, 100])
        assert main([*command, "--baseline", str(then)]) == code
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["baseline"]["figures"]}
        assert rows["instructions"]["verdict"] == {0: "pass", 1: "fail", 4: "inconclusive"}[code]
    emulator()
    assert main([*command[:3], "raspberry-pi-5", *command[4:], "--baseline", str(then)]) == 4
    assert "another machine" in json.loads(capsys.readouterr().out)["baseline"]["figures"][-1]["reason"]


BOARD = """
name = "{name}"
title = "A board"
arch = "aarch64"
cpu = "cortex-a72"
isa = ["asimd"]
cores = 4
clock_mhz = {clock}
memory_bytes = 1_000_000_000
memory_usable_bytes = 900_000_000
memcpy_gb_per_s = {bandwidth}
threads = 1
runtimes = ["onnxruntime"]
emulator_cpu = "cortex-a72"

[match]
cores = [4, 4]
memory_bytes = [900_000_000, 1_100_000_000]

[sources]
{sources}
"""
REFERENCE = """
[[references]]
model = "{model}"
precision = "fp32"
runtime = "onnxruntime"
threads = 1
latency_ms = {latency}
statistic = "median"
source = "measured here"
file_bytes = {size}
instructions = {{ fp_fma = {fma}, load_store = 30, branch = 10, other = 10 }}
"""
STATED = ("cpu", "isa", "cores", "clock_mhz", "memory_bytes", "memory_usable_bytes", "memcpy_gb_per_s", "threads")


@pytest.fixture
def boards(tmp_path):
    """Three boards of one's own with two networks each, whose times are those of their clocks."""
    folder = tmp_path / "devices"
    folder.mkdir()
    sources = "\n".join(f'{name} = "made up"' for name in (*STATED, "runtimes", "emulator_cpu"))
    for name, clock in (("one", 1000), ("two", 1500), ("three", 2000)):
        text = BOARD.format(name=name, clock=clock, bandwidth=clock / 500, sources=sources)
        for model, fma in (("small", 40), ("large", 60)):
            latency = (fma * 1e-3 + 1.0) * 1000 / clock
            text += REFERENCE.format(model=model, latency=latency, size=85, fma=fma)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("accepts", "limit", "code", "verdict"),
    [
        (["estimated"], 1000.0, 0, "pass"),
        (["estimated"], 1e-6, 1, "fail"),
        (["measured"], 1000.0, 4, "not_measured"),
        (["measured", "emulated"], 1000.0, 4, "not_measured"),
    ],
)
def test_a_budget_accepts_an_estimate_only_where_it_says_so(
    make_bundle, emulator, boards, capsys, accepts, limit, code, verdict
):
    emulator()
    path = make_bundle({"two": {"latency_ms_p50": [{"limit": limit, "accepts": accepts}]}})
    assert main(["bench", str(path), "--device", "two", "--on", "emulator", "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    (found,) = report["variants"][0]["estimates"]
    assert (found["provenance"], found["runtime"], found["threads"]) == ("estimated", "onnxruntime", 1)
    assert found["boards"] == ["one", "three", "two"]
    (budget,) = report["budgets"]
    assert budget["verdict"] == verdict
    assert ("estimated, not measured" in budget["reason"]) == (accepts == ["estimated"])
    assert report["variants"][0]["latency_ms"]["p50"] is None
    assert any("estimated, not measured" in note and "was off by" in note for note in report["notes"])


def test_without_references_the_reason_is_told(make_bundle, emulator, capsys):
    emulator()
    path = make_bundle({PI: {"latency_ms_p50": [{"limit": 9.0, "accepts": ["estimated"]}]}})
    assert main(["bench", str(path), "--device", PI, "--on", "emulator"]) == 4
    out = " ".join(capsys.readouterr().out.split())
    assert "not_measured" in out
    assert "no latency is estimated" in out
    assert "no estimate: expected published latencies of onnxruntime with 1 thread on at least 3 boards" in out


def test_the_table_fits_a_narrow_terminal(make_bundle, emulator, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    emulator()
    assert main(["bench", str(make_bundle()), "--device", PI, "--on", "emulator"]) == 0
    out = capsys.readouterr().out
    assert "golden vectors: 3 passed on onnxruntime 1.32.0; 3 passed on onnxruntime 1.24.4" in out
    assert "p50 ms" not in out
    head = next(line for line in out.splitlines() if "thousands" in line)
    assert len(head) <= 80
    assert "load/store" in head


@pytest.mark.parametrize(
    ("behaviour", "text"), [("other outputs", "failed on onnxruntime"), ("mute", "did not get to run on onnxruntime")]
)
def test_golden_vectors_that_were_off_and_those_that_were_not_reached(make_bundle, emulator, capsys, behaviour, text):
    emulator(newest=behaviour)
    assert main(["bench", str(make_bundle()), "--device", PI, "--on", "emulator"]) == 1
    assert f"golden vectors: {text}" in capsys.readouterr().out


def test_a_backend_that_names_itself_is_not_named_twice(make_bundle, emulator, tmp_path):
    emulator()
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model" * 20)
    (variant,) = count(broken).variants
    assert variant.reason.startswith("onnxruntime ")
    assert variant.reason.count("onnxruntime") == 1
