"""The bench over ssh, against a real server on loopback: what it measures, and how it says what it cannot."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from edgeml_devices.bench import bench
from edgeml_devices.remote import SshLimits
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.measure.cli import MeasureRequest

SHORT = {"seconds": 0.3, "starts": 5, "time_limit_s": 0.1}


def same_machine(machine):
    """Whether this is the machine at hand; its clock may have changed meanwhile."""
    return replace(machine, clock_mhz=None) == replace(probe_machine(), clock_mhz=None)


def test_a_bundle_is_measured_there_and_nothing_is_left(make_bundle, server, device_python):
    path = make_bundle({"host": {"latency_ms_p50": 10_000.0}})
    with server.target(device_python) as target:
        report = bench(path, target=target, **SHORT)
        assert len(server.left()) == 1
    server.assert_nothing_is_left()
    (variant,) = report.variants
    assert (variant.reason, variant.backend) == (None, "onnxruntime")
    assert variant.latency.n == report.samples["onnx-fp32"].all_ns.size > 0
    assert same_machine(report.machine)
    assert report.conditions[0].other_share is not None
    assert report.lost is None


def test_a_sustained_bench_sends_the_model_once(make_bundle, server, device_python):
    path = make_bundle()
    with server.target(device_python) as target:
        bench(path, target=target, **SHORT)
        (folder,) = server.temporary.iterdir()
        written = (folder / "model" / path.name).stat()
        bench(path, target=target, **SHORT)
        again = (folder / "model" / path.name).stat()
    assert (written.st_ino, written.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)


def test_a_bare_model_keeps_its_name(model_file, server, device_python):
    path = model_file("café 1.onnx")
    with server.target(device_python) as target:
        (variant,) = bench(path, target=target, **SHORT).variants
    assert (variant.id, variant.reason) == ("café 1.onnx", None)


def test_a_file_that_is_no_model_is_named_as_it_is_called_here(model_file, server, device_python):
    path = model_file(content=b"no model")
    with server.target(device_python) as target, pytest.raises(InputError, match="cannot load the model") as caught:
        bench(path, target=target, **SHORT)
    assert str(path) in str(caught.value)
    assert str(server.temporary) not in str(caught.value)
    server.assert_nothing_is_left()


def test_what_a_shell_prints_at_the_start_does_no_harm(make_bundle, server, altered_python):
    python = altered_python("print('Welcome to this device'); print('edgeml')")
    with server.target(python) as target:
        assert bench(make_bundle(), target=target, **SHORT).variants[0].latency is not None


def test_modules_in_the_home_and_settings_of_python_do_not_get_in_the_way(
    start_server, make_bundle, device_python, tmp_path
):
    caches = tmp_path / "caches"
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "edgeml_runtime.py").write_text("raise SystemExit('shadowed')\n", encoding="utf-8")
    server = start_server(environment={"PYTHONPYCACHEPREFIX": caches, "PYTHONPATH": shadow})
    with server.target(device_python) as target:
        assert bench(make_bundle(), target=target, **SHORT).variants[0].latency is not None
    server.assert_nothing_is_left()
    assert not caches.exists()


def test_a_memory_limit_is_applied_there_and_removed(make_bundle, server, device_python):
    path = make_bundle()
    with server.target(device_python) as target:
        limit = target.limit_memory(2_000_000_000)
        assert limit is not None
        report = bench(path, target=target, **SHORT)
        limit.remove()
        assert report.variants[0].latency is not None
        tight = target.limit_memory(1_000_000)
        request = MeasureRequest(path=str(path), variants=("onnx-fp32",), seconds=0.1, starts=1)
        measured = target.measure(request, variants=1, limit=tight, progress=lambda event: None)
        assert measured.variants[0].samples is None
    server.assert_nothing_is_left()


class TestBackends:
    def test_one_that_crashes_is_reported_beside_one_that_runs(
        self, make_bundle, model_content, server, crashing_python
    ):
        path = make_bundle(None, {"onnx-fp32": model_content, "onnx-int8": model_content.replace(b"tiny", b"bang")})
        with server.target(crashing_python) as target:
            good, broken = bench(path, target=target, **SHORT).variants
        server.assert_nothing_is_left()
        assert good.latency is not None
        assert broken.reason == "the process was ended by signal SIGSEGV"

    def test_none_on_the_device(self, make_bundle, server, numpy_python):
        with server.target(numpy_python) as target:
            report = bench(make_bundle(), target=target, **SHORT)
        assert report.exit_code == 4
        assert "pip install" in report.variants[0].reason
        server.assert_nothing_is_left()


class TestMismatch:
    def test_another_architecture_is_not_timed(self, make_bundle, server, device_python):
        path = make_bundle({"raspberry-pi-4b": {"latency_ms_p50": 1.0}})
        with server.target(device_python) as target:
            report = bench(path, device="raspberry-pi-4b", target=target, **SHORT)
        assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED]
        assert report.mismatch
        server.assert_nothing_is_left()

    def test_a_python_of_32_bits_is_not_of_the_systems_architecture(self, server, altered_python):
        statement = (
            "import struct; size = struct.calcsize; struct.calcsize = lambda form: 4 if form == 'P' else size(form)"
        )
        with server.target(altered_python(statement)) as target:
            arch = target.probe().arch
        assert arch == {"x86_64": "i686", "aarch64": "armv8l"}[probe_machine().arch]


def refuse(server, message, python="", **options):
    with pytest.raises(TargetError, match=message) as caught, server.target(python, **options) as target:
        target.probe()
    assert caught.value.exit_code == 3
    assert f"ssh://127.0.0.1:{server.port}" in str(caught.value)
    server.assert_nothing_is_left()


class TestReaching:
    def test_a_host_key_that_has_changed(self, server):
        server.know((server.folder / "user_key.pub").read_text(encoding="ascii"))
        known = server.folder / "known_hosts"
        forget = rf"ssh-keygen -f {known} -R '\[127\.0\.0\.1\]:{server.port}'"
        refuse(server, f"the host key is not the one that known_hosts has.*{forget}")

    def test_a_host_key_that_is_not_known(self, server):
        server.know("")
        refuse(server, r"the host key is not known: log in once with `ssh -F \S+ -p \d+ 127\.0\.0\.1`")
        assert (server.folder / "known_hosts").read_text() == ""

    def test_the_users_configuration_decides_about_host_keys(self, server, device_python):
        server.know("")
        config = server.configure("lax", more="StrictHostKeyChecking accept-new\n")
        with server.target(device_python, config=config) as target:
            assert same_machine(target.probe())

    def test_no_key_that_is_accepted(self, server, tmp_path):
        refuse(server, "accepts none of your keys: `ssh-copy-id`", config=server.configure("none", key="host_key"))

    def test_no_server(self, server):
        server.stop()
        refuse(server, "cannot be reached .*Connection refused")

    def test_no_such_host(self, server):
        config = server.configure("unknown", more="Host 127.0.0.1\nHostName nowhere.invalid\n")
        refuse(server, "cannot be reached .*Could not resolve hostname nowhere.invalid", config=config)


class TestPython:
    def test_none(self, server):
        refuse(server, "there is no /opt/nowhere/python .*; name one", "/opt/nowhere/python")

    def test_one_that_is_too_old(self, server, altered_python):
        python = altered_python("import sys; sys.version_info = (3, 9, 2)")
        refuse(server, "is Python 3.9, and 3.10 or newer is needed", python)

    def test_one_without_numpy(self, server, bare_python):
        refuse(server, "has no numpy, which the runtime needs: .* -m pip install numpy", bare_python)

    def test_one_that_does_not_start(self, server, altered_python):
        refuse(server, "did not start, status 1 .*out of order", altered_python("raise SystemExit('out of order')"))


class TestSpace:
    def test_too_little_for_the_model_is_said_before_anything_is_sent(self, server, device_python):
        message = r"space are needed, but .*/temporary has [\d.]+ MB"
        refuse(server, message, device_python, room_bytes=10**18)

    def test_a_disk_that_fills_up_meanwhile(self, start_server, model_file, device_python):
        path = model_file(content=bytes(4_000_000))
        server = start_server(file_blocks=2000)
        with (
            server.target(device_python) as target,
            pytest.raises(TargetError, match=r"File too large in .*/temporary"),
        ):
            bench(path, target=target, **SHORT)
        server.assert_nothing_is_left()

    def test_no_folder_to_write_to(self, start_server, device_python):
        server = start_server(environment={"TMPDIR": "/proc/nowhere"})
        refuse(server, "/proc/nowhere: No such file or directory", device_python)


def test_the_device_is_not_waited_for_longer_than_asked(server, device_python):
    limits = SshLimits(alive_s=2, alive_count=2, answer_s=60)
    with server.target(device_python, limits=limits) as target:
        target.probe()
        for pid in server.connections():
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(TargetError, match=r"the connection was lost .*not responding"):
                target.probe()
        finally:
            for pid in server.connections():
                os.kill(pid, signal.SIGCONT)
    server.assert_nothing_is_left()
