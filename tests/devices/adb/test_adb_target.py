"""The bench over adb on a device with a Python: the real client, a scripted device that really runs it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from edgeml_cli.main import main
from edgeml_devices.bench import bench
from edgeml_devices.remote import AdbLimits, AdbTarget, bench_targets, parse_target
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import TargetError
from edgeml_runtime.machine import probe_machine

SHORT = {"seconds": 0.3, "starts": 5, "time_limit_s": 0.1}
LIMITS = AdbLimits(connect_s=20, answer_s=60, silent_s=30)


def reach(device, python="", limits=LIMITS, **options):
    return AdbTarget(parse_target(f"{device.name}{python}"), limits=limits, **options)


def test_a_bundle_is_measured_there_and_nothing_is_left(make_bundle, device, device_python):
    path = make_bundle({"host": {"latency_ms_p50": 10_000.0}})
    with reach(device, device_python) as target:
        report = bench(path, target=target, **SHORT)
        assert device.left()
    device.assert_nothing_is_left()
    (variant,) = report.variants
    assert (variant.reason, variant.backend, variant.runner) == (None, "onnxruntime", None)
    assert variant.latency.n == report.samples["onnx-fp32"].all_ns.size > 0
    assert replace(report.machine, clock_mhz=None) == replace(probe_machine(), clock_mhz=None)
    assert report.lost is None


@pytest.mark.long
def test_the_command_answers_as_for_this_machine(make_bundle, device, device_python, capfd):
    words = ["bench", str(make_bundle()), "--on", f"{device.name}{device_python}", "--seconds", "0.2"]
    code = main([*words, "--time-limit", "0.1", "--json"])
    answer = json.loads(capfd.readouterr().out)
    assert (code, answer["lost"], answer["left"], answer["target"]) == (0, None, [], device.name)
    assert answer["variants"][0]["latency_ms"]["p50"] > 0
    device.assert_nothing_is_left()


def test_what_was_measured_before_the_cable_was_pulled_is_kept(make_bundle, device, device_python):
    path = make_bundle({"host": {"latency_ms_p50": 10_000.0}})

    def pull(event):
        if event.step == "measure" and event.done == 2:
            device.drop()

    with reach(device, device_python) as target:
        report = bench(path, target=target, seconds=0.3, starts=5, progress=pull)
    assert "the connection was lost" in report.lost
    assert report.exit_code == 3
    assert (report.variants[0].processes, report.variants[0].reason) == (2, None)
    device.assert_nothing_is_left()


def test_a_device_out_of_reach_of_the_radio_is_noticed_and_cleans_up_by_itself(device, device_python):
    limits = AdbLimits(connect_s=20, answer_s=60, silent_s=1.0, beat_s=0.2, lost_after_s=2)
    with reach(device, device_python, limits) as target:
        target.probe()
        assert device.left()
        device.frozen.set()
        with pytest.raises(TargetError, match=r"the connection was lost \(no sign of life for 1 s\)"):
            target.probe()
        device.assert_nothing_is_left()
    device.frozen.clear()


@pytest.mark.long
def test_another_architecture_is_not_timed(make_bundle, device, device_python):
    path = make_bundle({"snapdragon-888": {"latency_ms_p50": 1.0}})
    with reach(device, device_python) as target:
        report = bench(path, device="snapdragon-888", target=target, **SHORT)
    assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED]
    assert "architecture aarch64 is needed" in report.mismatch[0]
    device.assert_nothing_is_left()


def refuse(device, message, python="", **options):
    with pytest.raises(TargetError, match=message) as caught, reach(device, python, **options) as target:
        target.probe()
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(device.name)
    device.assert_nothing_is_left()


class TestReaching:
    def test_no_such_device_lists_those_there(self, start_device):
        there, absent = start_device(), start_device(connect=False)
        message = rf"there is no device {absent.serial}; adb knows: .*{there.serial} \(device\).*`adb connect"
        refuse(absent, message)

    def test_one_that_has_not_allowed_this_computer(self, start_device):
        refuse(start_device(state="unauthorized"), "has not allowed this computer: unlock its screen")

    def test_one_that_is_offline(self, start_device, adb):
        device = start_device()
        device.state = "offline"
        device.drop()
        while f"{device.serial}\tdevice" in adb("devices"):
            pass
        refuse(device, "the device is offline: plug it in again")

    def test_one_whose_daemon_is_too_old(self, start_device):
        refuse(start_device(features="cmd"), "does not keep input, output and exit status apart .*ssh://")

    def test_no_adb_here(self, device, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(TargetError, match="adb is not installed here: apt install adb"):
            reach(device).probe()


class TestPython:
    def test_none(self, start_device, tmp_path):
        device = start_device(path=str(tmp_path))
        refuse(
            device, r"there is no python3 .*; name one: adb://.*; --runner PATH measures a bare model without Python"
        )

    def test_one_that_is_too_old(self, device):
        old = device.install("python3", "#!/bin/sh\necho edgeml-agent 3.8\ncat\n")
        refuse(device, "is Python 3.8, and 3.10 or newer is needed", old)

    def test_one_without_numpy(self, device, bare_python):
        refuse(device, "has no numpy, which the runtime needs: .* -m pip install numpy", bare_python)

    @pytest.mark.long
    def test_one_without_a_backend(self, make_bundle, device, numpy_python):
        with reach(device, numpy_python) as target:
            report = bench(make_bundle(), target=target, **SHORT)
        assert report.exit_code == 4
        assert "pip install" in report.variants[0].reason
        device.assert_nothing_is_left()


class TestSpace:
    def test_too_little_is_said_before_anything_is_sent(self, device, device_python):
        message = r"space are needed, but .*/temporary has [\d.]+ MB"
        refuse(device, message, device_python, room_bytes=10**18)


@pytest.mark.long
def test_two_devices_at_once_are_one_report(make_bundle, start_device, device_python):
    path = make_bundle()
    devices = [start_device(), start_device()]
    names = [f"{one.name}{device_python}" for one in devices]

    def one(target, progress):
        return bench(path, target=target, progress=progress, **SHORT)

    report = bench_targets(path, names, one, adb_limits=LIMITS)
    assert [each.target for each in report.targets] == [each.name for each in devices]
    assert [each.report.variants[0].reason for each in report.targets] == [None, None]
    for each in devices:
        each.assert_nothing_is_left()


def test_a_bench_that_is_cancelled_ends_and_leaves_nothing(device, device_python):
    target = reach(device, device_python)
    target.probe()
    timer = threading.Timer(0.3, target.cancel)
    timer.start()
    with pytest.raises(TargetError, match="cancelled"):
        target._run(["-c", "import time; time.sleep(600)"], 600.0)
    target.close()
    device.assert_nothing_is_left()
