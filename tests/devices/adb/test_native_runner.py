"""Native programs on a device without Python: pushed and run through the real adb client, on a device that runs them.

The programs are stand-ins, which take the options of ``benchmark_model`` and ``onnxruntime_perf_test``, take time, and
print what those print (:mod:`edgeml_devices.native.output` names the sources); no build of the real ones is at hand.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import threading

import pytest

from edgeml_cli.main import main
from edgeml_devices.bench import bench
from edgeml_devices.native import read_runner
from edgeml_devices.remote import AdbLimits, NativeTarget, native, parse_target
from edgeml_devices.remote.keeper import PREFIX
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.manifest import ModelFormat
from edgeml_runtime.measure.cli import MeasureRequest

SHORT = {"seconds": 0.3, "starts": 6, "time_limit_s": 30.0}
LIMITS = AdbLimits(connect_s=20, answer_s=30, beat_s=0.2)

BENCHMARK_MODEL = """
import statistics, sys, time
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
size = len(open(options["graph"], "rb").read())
print("STARTING!\\nLog parameter values verbosely: [0]\\nGraph: [%s]" % options["graph"], flush=True)
for seconds, least in ((0.02, "warmup_runs"), (min(float(options["min_secs"]), 0.1), "num_runs")):
    times, end = [], time.perf_counter() + seconds
    while len(times) < int(options[least]) or time.perf_counter() < end:
        begun = time.perf_counter_ns()
        time.sleep(0.0005)
        times.append((time.perf_counter_ns() - begun) // 1000)
    ranked = sorted(times)
    print("count=%d first=%d curr=%d min=%d max=%d avg=%g std=%d p5=%d median=%d p95=%d\\n" % (
        len(times), times[0], times[-1], ranked[0], ranked[-1], statistics.fmean(times), statistics.pstdev(times),
        *(ranked[len(times) * share // 100] for share in (5, 50, 95))))
print("Inference timings in us: Init: 100, First inference: %d" % times[0])
"""
PERF_TEST = """
import sys, time
*options, model, result = sys.argv[1:]
assert options == "-e cpu -I -t 1 -x 1 -y 1".split(), options
size = len(open(model, "rb").read())
with open(result, "a") as file:
    for number in range(120):
        begun = time.perf_counter()
        time.sleep(0.0005)
        file.write("folder,%g,20561920,99,%d\\n" % (time.perf_counter() - begun, number))
print("Session creation time cost: 0.01 s\\nTotal inference requests: 120")
"""
GARBAGE = "print('Segmentation analysis v2: all good')"
SLEEP = "import time; print('thinking', flush=True); time.sleep(600)"
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
FAIL = "import sys; print('ERROR: Failed to initialize the model'); sys.exit(1)"
STUBBORN = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); " + SLEEP


@pytest.fixture
def make_runner(tmp_path):
    """Writes a stand-in for a program."""

    def make(text, name="benchmark_model"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        return path

    return make


@pytest.fixture
def tflite_bundle(make_bundle, model_content):
    """A bundle with a TFLite and an ONNX variant; nobody loads the former."""

    def make(budgets=None, **changes):
        formats = {"tflite-fp32": {"format": ModelFormat.TFLITE, "backend": "litert", **changes}}
        return make_bundle(budgets, {"tflite-fp32": b"a model", "onnx-fp32": model_content}, formats)

    return make


def reach(device, *runners, limits=LIMITS):
    return NativeTarget(parse_target(device.name), [read_runner(path) for path in runners], limits=limits)


def failure(device, path, runner, **request):
    """Why the TFLite variant has no figures."""
    words = {"path": str(path), "variants": ("tflite-fp32",), "threads": 1, "seconds": 0.1, **request}
    with reach(device, runner) as target:
        (measured,) = target.measure(MeasureRequest(**words), variants=1, progress=None).variants
    device.assert_nothing_is_left()
    assert measured.samples is measured.statistics is None
    return measured.failure


class TestMeasuring:
    def test_one_with_benchmark_model(self, tflite_bundle, device, make_runner):
        budgets = {"latency_ms_p50": 100.0, "latency_ms_p99": 100.0, "throughput_per_s": 1.0, "cold_start_ms": 900.0}
        path = tflite_bundle({"host": budgets})
        with reach(device, make_runner(BENCHMARK_MODEL)) as target:
            report = bench(path, target=target, **SHORT)
            assert device.left()
        device.assert_nothing_is_left()
        tflite, onnx = report.variants
        assert (tflite.reason, tflite.processes, tflite.runner, tflite.backend) == (
            None,
            6,
            "benchmark_model",
            "litert",
        )
        assert 0.4 < tflite.latency.p50 <= tflite.latency.p95
        assert report.auto_variant == "tflite-fp32"
        assert "does not run .onnx files: give --runner …/onnxruntime_perf_test as well" in onnx.reason
        verdicts = {result.name.value: result.verdict for result in report.budgets}
        assert verdicts == {
            "latency_ms_p50": Verdict.PASS,
            "latency_ms_p99": Verdict.NOT_MEASURED,
            "throughput_per_s": Verdict.PASS,
            "cold_start_ms": Verdict.NOT_MEASURED,
        }
        assert any("native programs (benchmark_model): the bare model" in note for note in report.notes)
        assert report.to_dict()["variants"][0]["cold_start_ms"] is None
        assert (report.exit_code, report.provenance.value) == (4, "measured")
        assert all(0 <= one.other_share <= 1 for one in report.conditions)

    def test_one_with_onnxruntime_perf_test_beside_it(self, tflite_bundle, device, make_runner):
        runners = make_runner(BENCHMARK_MODEL), make_runner(PERF_TEST, "onnxruntime_perf_test")
        with reach(device, *runners) as target:
            report = bench(tflite_bundle(), target=target, **SHORT)
        device.assert_nothing_is_left()
        onnx = report.variants[1]
        assert (onnx.reason, onnx.runner, onnx.processes) == (None, "onnxruntime_perf_test", 6)
        assert 0.4 < onnx.latency.p50 <= onnx.latency.p99
        assert report.samples["onnx-fp32"].warmup_calls + onnx.latency.n == 6 * 120
        assert set(onnx.unmeasured) == {
            name for name in onnx.unmeasured if name.value in {"cold_start_ms", "peak_rss_mb"}
        }

    def test_a_bare_file_and_the_command(self, tmp_path, device, make_runner, capfd):
        (tmp_path / "net it's.tflite").write_bytes(b"a model")
        words = ["bench", str(tmp_path / "net it's.tflite"), "--on", device.name, "--time-limit", "0.1"]
        code = main([*words, "--runner", str(make_runner(BENCHMARK_MODEL))])
        text = capfd.readouterr().out
        assert code == 0
        assert "the bare model on made-up inputs" in " ".join(text.split())
        code = main([*words, "--runner", str(make_runner(BENCHMARK_MODEL)), "--json"])
        answer = json.loads(capfd.readouterr().out)
        assert (code, answer["left"], answer["variants"][0]["runner"]) == (0, [], "benchmark_model")
        device.assert_nothing_is_left()

    @pytest.mark.long
    def test_files_are_sent_once(self, tflite_bundle, device, make_runner):
        with reach(device, make_runner(BENCHMARK_MODEL)) as target:
            bench(tflite_bundle(), target=target, **SHORT)
            (folder,) = device.temporary.iterdir()
            sent = {path.name: path.stat().st_ino for path in folder.iterdir() if path.name != "alive"}
            bench(tflite_bundle(), target=target, **SHORT)
            assert sent == {path.name: path.stat().st_ino for path in folder.iterdir() if path.name != "alive"}
        device.assert_nothing_is_left()

    def test_the_device_is_what_a_python_there_says(self, device, make_runner):
        with reach(device, make_runner(BENCHMARK_MODEL)) as target:
            found, here = target.probe(), probe_machine()
        assert (found.arch, found.cpu, found.isa, found.cores) == (here.arch, here.cpu, here.isa, here.cores)
        assert found.memory_bytes >= here.memory_bytes  # a shell does not see limits of control groups


class TestWhatGoesWrong:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (GARBAGE, "benchmark_model: expected two lines `count=….*all good"),
            (CRASH, "benchmark_model: was ended by signal SIGSEGV"),
            (FAIL, "benchmark_model: ended with status 1: ERROR: Failed to initialize the model"),
        ],
    )
    def test_in_the_program_is_its_variants_reason(self, tflite_bundle, device, make_runner, text, message):
        assert re.search(message, failure(device, tflite_bundle(), make_runner(text)), re.DOTALL)

    def test_a_program_that_says_too_much_is_killed(self, tflite_bundle, device, make_runner, monkeypatch):
        monkeypatch.setattr(native, "_MOST_BYTES", 1 << 20)
        endless = make_runner("while True: print('x' * 10_000)")
        assert "or said too much, and was killed" in failure(device, tflite_bundle(), endless)

    @pytest.mark.parametrize("text", [pytest.param(SLEEP, marks=pytest.mark.long), STUBBORN])
    def test_a_program_that_hangs_is_killed(self, tflite_bundle, device, make_runner, text):
        found = failure(device, tflite_bundle(), make_runner(text), latency_limit_s=-3.4)
        assert "did not end within 1 s, or said too much, and was killed" in found

    def test_a_program_that_cannot_be_run(self, tflite_bundle, device, make_runner):
        runner = make_runner("")
        runner.write_bytes(b"\x7fELF" + bytes(200))
        assert "cannot be run on the device: " in failure(device, tflite_bundle(), runner)

    def test_a_program_for_another_architecture(self, device, make_runner):
        runner = make_runner("")
        other = {"x86_64": 183, "aarch64": 62}[probe_machine().arch]
        runner.write_bytes(b"\x7fELF\x02\x01" + bytes(10) + struct.pack("<HH", 3, other) + bytes(100))
        with (
            reach(device, runner) as target,
            pytest.raises(TargetError, match=r"is built for .*: take the program for"),
        ):
            target.probe()
        assert device.left() == []

    def test_features_that_the_device_lacks(self, tflite_bundle, device, make_runner):
        path = tflite_bundle(requires_isa=("sve2", "i8mm"))
        assert failure(device, path, make_runner(BENCHMARK_MODEL)) == "it needs the CPU features i8mm, sve2"

    def test_another_backend_than_the_programs(self, tflite_bundle, device, make_runner):
        found = failure(device, tflite_bundle(), make_runner(BENCHMARK_MODEL), backend="openvino")
        assert found == "the native program is litert; it does not run openvino"

    def test_no_space(self, tflite_bundle, start_device, make_runner):
        device = start_device(room=100)
        with reach(device, make_runner(BENCHMARK_MODEL)) as target, pytest.raises(TargetError, match="MB of space are"):
            bench(tflite_bundle(), target=target, **SHORT)
        device.assert_nothing_is_left()

    def test_no_folder(self, start_device, tflite_bundle, make_runner):
        device = start_device(environment={"PATH": "/nowhere"})
        for name in ("uname", "cat", "grep"):
            device.install(name, f'#!/bin/sh\nPATH=/usr/bin:/bin exec {name} "$@"\n')
        device.environment["PATH"] = str(device.programs)
        with reach(device, make_runner("")) as target, pytest.raises(TargetError, match="no folder can be made in"):
            bench(tflite_bundle(), target=target, **SHORT)

    def test_a_shell_that_says_nothing(self, start_device, make_runner, tmp_path):
        device = start_device(path=str(tmp_path))
        with reach(device, make_runner("")) as target, pytest.raises(TargetError, match="does not say what the device"):
            target.probe()

    def test_two_of_a_kind(self, make_runner):
        runners = [read_runner(make_runner("", name)) for name in ("benchmark_model", "old_benchmark_model")]
        with pytest.raises(InputError, match="expected one runner of a kind"):
            NativeTarget(parse_target("adb://x"), runners)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ((), "name --on adb://serial"),
            (("--on", "local"), "expected an adb://serial, found local"),
            (("--on", "adb://x", "--recommend"), "no --recommend"),
        ],
    )
    def test_wrong_use_of_the_command(self, make_runner, model_file, words, message, capfd):
        code = main(["bench", str(model_file()), "--runner", str(make_runner("")), *words])
        assert code == 2
        assert message in capfd.readouterr().err


DRIVER = """
import sys
from edgeml_devices.bench import bench
from edgeml_devices.native import read_runner
from edgeml_devices.remote import NativeTarget, parse_target

name, runner, model = sys.argv[1:]
bench(model, target=NativeTarget(parse_target(name), [read_runner(runner)]), variants=["tflite-fp32"])
"""


class TestLosingIt:
    def test_a_driver_that_is_killed_leaves_nothing(self, tflite_bundle, device, make_runner):
        words = [device.name, str(make_runner(STUBBORN)), str(tflite_bundle())]
        with subprocess.Popen([sys.executable, "-P", "-c", DRIVER, *words], start_new_session=True) as driver:
            device.wait_for("/runner-")
            driver.kill()
        device.assert_nothing_is_left()

    def test_what_was_measured_before_is_kept(self, tflite_bundle, device, make_runner):
        def pull(event):
            if event.done == 2:
                device.stop()

        limits = AdbLimits(connect_s=3, answer_s=3)
        with reach(device, make_runner(BENCHMARK_MODEL), limits=limits) as target:
            report = bench(tflite_bundle(), target=target, progress=pull, **SHORT)
        assert "connection was lost" in report.lost or "cannot be reached" in report.lost
        assert (report.exit_code, report.variants[0].processes) == (3, 2)
        device.assert_nothing_is_left()

    def test_a_program_that_is_running_ends_with_the_connection(self, tflite_bundle, device, make_runner):
        running = make_runner(STUBBORN)

        def pull():
            device.wait_for("/runner-")
            device.stop()

        puller = threading.Thread(target=pull, daemon=True)
        with reach(device, running) as target:
            target.probe()
            puller.start()
            request = MeasureRequest(path=str(tflite_bundle()), variants=("tflite-fp32",), threads=1)
            with pytest.raises(TargetError, match=r"lost|cannot be reached|no device"):
                target.measure(request, variants=1, progress=None)
        device.assert_nothing_is_left()

    def test_a_silent_driver_is_not_waited_for(self, device, make_runner):
        limits = AdbLimits(connect_s=20, beat_s=600.0, lost_after_s=1)
        with reach(device, make_runner(""), limits=limits) as target:
            target._folder()
            device.assert_nothing_is_left()

    def test_what_was_left_is_removed_by_the_next(self, device, make_runner):
        left = device.temporary / f"{PREFIX}old"
        left.mkdir()
        (left / "keeper").write_text("999999999\n")
        busy = device.temporary / f"{PREFIX}busy"
        busy.mkdir()
        (busy / "keeper").write_text(f"{os.getpid()}\n")
        with reach(device, make_runner("")) as target:
            target._folder()
            assert (left.exists(), busy.exists()) == (False, True)
        (busy / "keeper").unlink()
        busy.rmdir()
        device.assert_nothing_is_left()
