"""What a bench does with what is wrong on the machine at hand: each as it happens to people, in real processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import onnx
import pytest

from edgeml_devices import bench
from edgeml_devices.host import probe_host
from edgeml_devices.report import Verdict

FIRST_ONLY = 1e-6  # seconds in which no second process is begun
QUICK = {"seconds": 0.1, "starts": 1, "time_limit_s": FIRST_ONLY}

MISSING = 'raise ModuleNotFoundError("No module named \'onnxruntime\'", name="onnxruntime")'
# The real package, but for models that say so: those end the process, as a broken kernel does.
CRASHING = """
    import os, sys
    here, me = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), sys.modules.pop("onnxruntime")
    before, sys.path[:] = list(sys.path), [entry for entry in sys.path if os.path.abspath(entry) != here]
    import onnxruntime as real
    sys.path[:] = before
    session = real.InferenceSession
    def open_session(model, *args, **options):
        if b"end the process" in model:
            os.abort()
        return session(model, *args, **options)
    real.InferenceSession = open_session
    sys.modules["onnxruntime"] = real
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a package of the test's own before the installed ``onnxruntime`` in processes that are started."""

    def install(code):
        package = tmp_path / "packages" / "onnxruntime"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(textwrap.dedent(code), encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(package.parent))

    return install


@pytest.fixture
def crashing(model_content):
    model = onnx.load_from_string(model_content)
    model.doc_string = "end the process"
    return model.SerializeToString()


def test_a_missing_backend_is_told_with_the_package_to_install(make_bundle, stand_in):
    path = make_bundle({"host": {"latency_ms_p95": 5.0, "bundle_mb": 1.0}})
    stand_in(MISSING)
    report = bench(path, **QUICK)
    (variant,) = report.variants
    for expected in ("needs the backend onnxruntime", "not installed", "pip install onnxruntime"):
        assert expected in variant.reason
    assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED, Verdict.PASS]
    assert "install a backend" in report.budgets[0].reason
    assert report.exit_code == 4


def test_a_variant_that_ends_the_process_is_told_and_the_others_are_measured(
    make_bundle, stand_in, model_content, crashing
):
    path = make_bundle({"host": {"latency_ms_p95": 1e4}}, {"onnx-int8": crashing, "onnx-fp32": model_content})
    stand_in(CRASHING)
    broken, good = (report := bench(path, **QUICK)).variants
    assert "ended by signal SIGABRT" in broken.reason
    assert good.latency is not None
    assert report.auto_variant == "onnx-int8"  # it would be picked on the device as well, and end the application
    assert report.budgets[0].reason == broken.reason
    assert report.exit_code == 4


def test_a_bare_model_that_ends_the_process(model_file, stand_in, crashing, edgeml):
    path = model_file(content=crashing)
    stand_in(CRASHING)
    done = edgeml("bench", path, "--time-limit", "1")
    assert done.returncode == 2
    assert "tiny.onnx: cannot be measured: the process was ended by signal SIGABRT" in done.stderr


@pytest.fixture
def edgeml(tmp_path):
    """Runs the command in a process of its own, with a folder of its own for temporary files."""
    (tmp_path / "tmp").mkdir()

    def run(*words):
        return subprocess.run(_command(words), capture_output=True, text=True, check=False, env=_environment(tmp_path))

    return run


def _command(words):
    start = "import sys; from edgeml_cli.main import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", start, *map(str, words)]


def _environment(tmp_path):
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "EDGEML_TEST": str(tmp_path)}


def _left(tmp_path):
    """Processes that were started with the test's environment and still run."""
    mark = f"EDGEML_TEST={tmp_path}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_an_unknown_device_lists_the_known_ones(edgeml, make_bundle):
    done = edgeml("bench", make_bundle(), "--device", "rasberry-pi-4")
    assert done.returncode == 2
    for expected in ("unknown device profile 'rasberry-pi-4'", "did you mean 'raspberry-pi-4b'", "host", "intel-n100"):
        assert expected in done.stderr


def test_a_malformed_profile_is_refused_with_all_its_faults(edgeml, make_bundle, tmp_path):
    profile = tmp_path / "board.toml"
    profile.write_text("name = 'board'\ncores = -1\nisa = 3\ncolour = 'red'\n", encoding="utf-8")
    done = edgeml("bench", make_bundle(), "--device", profile)
    assert done.returncode == 2
    assert "8 fault(s) in the device profile" in done.stderr
    for key in ("title", "arch", "isa", "cores", "threads", "colour"):
        assert f"  {key}: " in done.stderr, done.stderr


def test_a_truncated_bundle_is_refused(edgeml, make_bundle):
    path = make_bundle()
    content = path.read_bytes()
    for kept in (len(content) - 40, len(content) // 2, 0):
        path.write_bytes(content[:kept])
        done = edgeml("bench", path)
        assert done.returncode == 2, kept
        assert path.name in done.stderr
        assert "Traceback" not in done.stderr


def test_another_architecture_is_not_measured_and_says_why(edgeml, make_bundle):
    path = make_bundle({"raspberry-pi-5": {"latency_ms_p95": 5.0, "bundle_mb": 1.0}})
    done = edgeml("bench", path, "--device", "raspberry-pi-5", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["provenance"]) == (4, "not_measured")
    assert any("architecture aarch64 is needed" in reason for reason in report["mismatch"])
    assert [budget["verdict"] for budget in report["budgets"]] == ["not_measured", "pass"]


def test_a_time_limit_that_is_too_short_is_no_verdict(edgeml, make_bundle):
    path = make_bundle({"host": {"latency_ms_p95": 1e4, "cold_start_ms": 1e6}})
    done = edgeml("bench", path, "--time-limit", "0.01", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 4
    assert {budget["verdict"] for budget in report["budgets"]} == {"inconclusive"}
    assert all("raise --time-limit" in budget["reason"] for budget in report["budgets"])


def test_a_disk_without_space_is_the_machine_s_refusal(make_bundle, monkeypatch, tmp_path, capsys):
    from edgeml_cli.main import main  # in this process: its temporary files are what has no room

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "python"))

    profile = tmp_path / "board.toml"
    machine = probe_host()
    profile.write_text(_profile(machine, memory_bytes=machine.memory_bytes // 2), encoding="utf-8")
    monkeypatch.setattr("edgeml_devices.targets.tempfile.TemporaryDirectory", refuse)
    assert main(["bench", str(make_bundle()), "--device", str(profile)]) == 2
    assert "No space left on device; free some disk space" in capsys.readouterr().err


def _profile(machine, *, memory_bytes):
    sources = "\n".join(f'{key} = "test"' for key in ("isa", "cores", "memory_bytes", "memory_usable_bytes", "threads"))
    return f"""
name = "board"
title = "half of this machine"
arch = "{machine.arch}"
isa = ["{machine.isa[0]}"]
cores = {machine.cores}
memory_bytes = {memory_bytes}
memory_usable_bytes = {memory_bytes}
threads = 1
[match]
cores = [1, 1024]
[sources]
{sources}
"""


@pytest.mark.parametrize("word", ["measure 0/6", "measure 1/6"])
def test_an_interrupt_leaves_no_file_and_no_process(make_bundle, tmp_path, word):
    (tmp_path / "tmp").mkdir()
    words = ("bench", make_bundle(), "--seconds", "9")
    process = subprocess.Popen(
        _command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment(tmp_path)
    )
    with process:
        said = []
        for line in process.stderr:
            said.append(line)
            if word in line:
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                break
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130, "".join(said) + rest
    assert "interrupted" in rest
    left = {path.name for path in (tmp_path / "tmp").iterdir()}
    assert left <= {".ses"}  # onnxruntime 1.32 leaves it there when it is imported
    deadline = time.monotonic() + 10
    while (left := _left(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
