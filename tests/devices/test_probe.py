"""Measuring a machine's ceilings, and writing its profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import onnx
import pytest

from edgeml_devices import ceilings, probe
from edgeml_devices.ceilings import Ceiling, measure_ceilings
from edgeml_devices.ceilings_child import MIB, buffer_bytes, last_cache_bytes
from edgeml_devices.ceilings_model import int8_product
from edgeml_devices.host import match
from edgeml_devices.probe import KERNEL_FEATURES, describe_machine, probe_profile, suggested_name
from edgeml_devices.profile_files import load_profile
from edgeml_devices.profile_parse import parse_profile
from edgeml_devices.profile_write import profile_toml, write_profile
from edgeml_runtime.backends import load_backend
from edgeml_runtime.errors import InputError, StorageError, TargetError
from edgeml_runtime.machine import probe_machine

NAMES = ["memcpy_gb_per_s", "memset_gb_per_s", "fp32_gmac_per_s", "int8_gmac_per_s"]
WHEN = datetime(2026, 3, 4, tzinfo=UTC)


def ceiling(name="memcpy_gb_per_s", rates=(4.0, 5.0, 4.5)):
    return Ceiling(name=name, how="memcpy of 64 MiB", threads=1, rates=rates)


@pytest.fixture(scope="module")
def measured():
    """This machine, measured once, in three rounds."""
    return measure_ceilings(rounds=3)


def test_every_rate_is_measured_in_every_round(measured):
    assert [entry.name for entry in measured] == NAMES
    assert all(len(entry.rates) == 3 for entry in measured)
    assert all(rate > 0 for entry in measured for rate in entry.rates)
    assert all(entry.threads == 1 for entry in measured)


def test_the_rates_are_of_a_possible_size(measured):
    # A Cortex-A7 copies 0.6 GB and multiplies 0.5 · 10⁹ pairs a second; no core does a thousand times as much.
    assert all(0.1 < entry.value < 3000 for entry in measured)


def test_a_ceiling_says_how_it_was_measured_and_how_noisy_it_was():
    quiet = ceiling()
    assert quiet.value == 5.0
    assert quiet.noise == pytest.approx(0.1)
    assert quiet.describe() == (
        "memcpy of 64 MiB, one thread: best of 3 rounds, the median round 10.0% below it, the slowest 20.0%"
    )
    assert "2 threads" in replace(quiet, threads=2).describe()
    assert json.loads(json.dumps(quiet.to_dict()))["rates"] == [4.0, 5.0, 4.5]


@pytest.mark.parametrize(("rates", "noisy"), [((10.0, 9.1, 9.2), False), ((10.0, 8.9, 8.9), True), ((3.0,), False)])
def test_a_noisy_measurement_is_called_so(rates, noisy):
    assert ceiling(rates=rates).is_noisy is noisy
    assert ceiling(rates=rates).to_dict()["noisy"] is noisy


@pytest.mark.parametrize(
    ("cache", "memory", "expected"),
    [
        (0, 64 << 30, 64),
        (32 * MIB, 64 << 30, 128),
        (512 << 10, 447_741_952, 26),  # a Raspberry Pi Zero 2 W: a sixteenth of what it has
        (0, 1 << 20, 1),
    ],
)
def test_the_buffer_is_larger_than_the_cache_and_fits_the_memory(cache, memory, expected):
    assert buffer_bytes(cache, memory) == expected * MIB


def test_the_last_cache_is_read_from_the_system(tmp_path):
    assert last_cache_bytes(tmp_path) == 0
    for index, size in enumerate(["32K", "1024K", "32M"]):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n", encoding="ascii")
    assert last_cache_bytes(tmp_path) == 32 * MIB


def test_the_integer_product_is_a_valid_model_that_multiplies():
    content = int8_product(16)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).astype(np.int32)
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    backend = load_backend("onnxruntime").create(content, input_names=["a"], output_names=["c"], threads=1)
    assert np.array_equal(backend.run([values])[0], values.astype(np.int32) @ weights)
    assert len(np.unique(weights)) > 100


def test_the_child_is_told_its_threads_by_the_environment(monkeypatch):
    seen = {}

    def run(command, **options):
        seen.update(command=command, env=options["env"])
        return subprocess.CompletedProcess(command, 0, stdout="[]", stderr="")

    monkeypatch.setattr(ceilings.subprocess, "run", run)
    measure_ceilings(threads=3)
    assert seen["command"][-3] == "3"
    assert all(seen["env"][name] == "3" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"))


def test_several_threads_share_the_work():
    script = [sys.executable, "-P", "-m", "edgeml_devices.ceilings_child", "2", "1", str(64 * MIB)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert [entry["name"] for entry in json.loads(done.stdout)] == NAMES


@pytest.mark.parametrize("numbers", [{"threads": 0}, {"rounds": 0}])
def test_less_than_one_thread_or_round_is_refused(numbers):
    with pytest.raises(InputError, match="expected threads ≥ 1 and rounds ≥ 1"):
        measure_ceilings(**numbers)


def test_a_measuring_process_that_crashes_is_reported(monkeypatch):
    monkeypatch.setattr(ceilings.sys, "executable", "/bin/false")
    with pytest.raises(TargetError, match="ended with status 1 and no answer: it said nothing"):
        measure_ceilings()


def test_a_measuring_process_that_hangs_is_stopped(monkeypatch, tmp_path):
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n", encoding="ascii")
    sleeper.chmod(0o755)
    monkeypatch.setattr(ceilings.sys, "executable", str(sleeper))
    monkeypatch.setattr(ceilings, "LIMIT_S", 0.2)
    with pytest.raises(TargetError, match="did not end within 0 s and was stopped"):
        measure_ceilings()


def described(machine, **changes):
    return describe_machine("mine", replace(machine, **changes), [ceiling()], ["onnxruntime"], WHEN)


def test_a_machine_counts_as_its_profile_after_a_change_of_kernel(machines):
    pi = machines["pi 5"]
    profile = described(pi)
    assert match(profile, pi).ok
    assert match(profile, replace(pi, memory_bytes=round(pi.memory_bytes * 0.97), isa=(*pi.isa, "mte"))).ok
    assert match(profile, replace(pi, memory_bytes=pi.memory_bytes // 2)).reasons
    for other in machines.values():
        assert match(profile, other).ok is (other is pi)


def test_a_profile_names_only_features_that_kernels_choose_by(machines):
    profile = described(machines["pi 4"], isa=("asimd", "crc32", "evtstrm", "dotprod"))
    assert profile.isa == ("asimd", "dotprod")
    assert {"avx2", "avx_vnni", "avx512_vnni", "asimd", "dotprod", "i8mm", "neon"} <= KERNEL_FEATURES


def test_every_figure_of_a_probed_profile_has_a_source(machines):
    profile = described(machines["pi 5"])
    assert profile.memcpy_gb_per_s == 5.0
    assert profile.memset_gb_per_s is None
    assert profile.sources["memcpy_gb_per_s"].startswith(
        "measured on 2026-03-04: memcpy of 64 MiB, one thread: best of"
    )
    assert profile.sources["cores"] == "as the system stated it on 2026-03-04"
    assert parse_profile(tomllib.loads(profile_toml(profile)), source="mine.toml", name="mine") == profile


@pytest.mark.parametrize("machine", ["pi 4", "pc"])
def test_what_the_system_does_not_say_is_left_out(machines, machine):
    profile = described(machines[machine], cpu="unknown", board=None, clock_mhz=None, isa=())
    assert (profile.cpu, profile.boards, profile.clock_mhz) == (None, (), None)
    assert parse_profile(tomllib.loads(profile_toml(profile)), source="mine.toml", name="mine") == profile


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"board": "Raspberry Pi 5 Model B Rev 1.0"}, "raspberry-pi-5-model-b-rev-1-0"),
        ({"cpu": "Intel(R) Core(TM) i5-8500 CPU @ 3.00GHz"}, "intel-core-i5-8500"),
        ({"cpu": "Intel(R) N100"}, "intel-n100-here"),
        ({"board": "host"}, "host-here"),
        ({"cpu": "龙芯"}, "x86-64"),
        ({"board": "word " * 30}, "-".join(["word"] * 9)),
    ],
)
def test_a_name_is_made_of_what_the_machine_calls_itself(machines, changes, name):
    assert suggested_name(replace(machines["pc"], **changes)) == name


def test_this_machine_is_probed_measured_and_counts_as_the_result(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "measure_ceilings", lambda: measured)
    steps = []
    found = probe_profile("this-one", progress=steps.append)
    assert [(event.done, event.total) for event in steps] == [(0, 1), (1, 1)]
    assert found.ceilings == measured
    assert found.profile.int8_gmac_per_s == pytest.approx(measured[3].value, rel=1e-3)
    assert "onnxruntime" in found.profile.runtimes
    assert found.to_dict()["measured"][0]["name"] == "memcpy_gb_per_s"
    path = tmp_path / "devices" / "this-one.toml"
    write_profile(found.profile, path)
    assert load_profile("this-one", project=tmp_path) == found.profile
    assert match(found.profile, probe_machine()).ok


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raspberry-pi-5", "'raspberry-pi-5' is taken"),
        ("host", "'host' is taken"),
        ("two words", "expected a name of letters and digits .* found 'two words'"),
        ("../up", "expected a name"),
        ("", "expected a name"),
    ],
)
def test_a_name_that_no_profile_can_have_is_refused_before_anything_is_measured(monkeypatch, name, message):
    monkeypatch.setattr(probe, "measure_ceilings", lambda: pytest.fail("measured"))
    with pytest.raises(InputError, match=message):
        probe_profile(name)


def test_a_file_is_not_overwritten_and_has_the_name_of_its_profile(machines, tmp_path):
    profile, path = described(machines["pi 5"]), tmp_path / "mine.toml"
    write_profile(profile, path)
    assert os.stat(path).st_mode & 0o777 == 0o644
    with pytest.raises(InputError, match="is there already; replace it with --force"):
        write_profile(profile, path)
    write_profile(replace(profile, title="another"), path, overwrite=True)
    assert load_profile(str(path)).title == "another"
    with pytest.raises(InputError, match=r"expected a file called mine\.toml, as its profile; found other\.toml"):
        write_profile(profile, tmp_path / "other.toml")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["mine.toml"]


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(machines, tmp_path):
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(StorageError, match=r"mine\.toml: cannot be written: "):
        write_profile(described(machines["pi 5"]), tmp_path / "file" / "mine.toml")
    blocked = tmp_path / "mine.toml"
    blocked.mkdir()
    with pytest.raises(StorageError, match=r"mine\.toml: cannot be written: "):
        write_profile(described(machines["pi 5"]), blocked, overwrite=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "mine.toml"]


def test_any_text_survives_the_file(machines):
    odd = 'a "quoted" \\ back\\slash, tab\t, line\n, bell\x07, delete\x7f, ünï𝄞'
    profile = described(machines["pi 5"], board=odd)
    assert parse_profile(tomllib.loads(profile_toml(profile)), source="mine.toml", name="mine") == profile
