"""The bench: on simulated machines for every path, and once on this machine for real."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import time

import pytest

from edgeml_devices.bench import bench
from edgeml_devices.conditions import Conditions
from edgeml_devices.intervals import MIN_PROCESSES
from edgeml_devices.report import Verdict
from edgeml_devices.targets import LocalTarget, measure_arguments
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import BundleError, InputError, ProjectError, TargetError
from edgeml_runtime.measure.cli import MeasureRequest

VARIANT_KEYS = {"id", "latency_ms", "throughput_per_s", "cold_start_ms", "peak_rss_mb", "threads"}
QUIET = [1.0, 1.01, 1.02, 1.03] * 25
FIRST_ONLY = 1e-6  # seconds in which no second process is begun


def test_the_json_has_the_keys_others_rely_on(make_bundle, simulate, measured, samples):
    target = simulate("pc", measured("onnx-fp32", samples(QUIET)))
    report = bench(make_bundle({"host": {"latency_ms_p95": 5.0}}), target=target)
    answer = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (answer["device"], answer["provenance"]) == ("host", "measured")
    (variant,) = answer["variants"]
    assert set(variant) >= VARIANT_KEYS
    assert variant["latency_ms"] == {"min": 1.0, "p50": 1.01, "p95": 1.03, "p99": 1.03}
    assert (variant["cold_start_ms"], variant["peak_rss_mb"], variant["threads"]) == (10.0, 50.0, 1)
    assert variant["throughput_per_s"] == pytest.approx(985.2, abs=0.1)
    (budget,) = answer["budgets"]
    assert {key: budget[key] for key in ("name", "variant", "limit", "value", "verdict")} == {
        "name": "latency_ms_p95",
        "variant": "onnx-fp32",
        "limit": 5.0,
        "value": 1.03,
        "verdict": "pass",
    }
    assert report.samples["onnx-fp32"].all_ns.size == MIN_PROCESSES * 1000


EXITS = [
    ("passes", {"latency_ms_p95": 5.0, "peak_rss_mb": 60}, 0),
    ("fails", {"latency_ms_p95": 0.5, "peak_rss_mb": 60}, 1),
    ("fails and is not measured", {"latency_ms_p95": 0.5, "instructions": 1e9}, 1),
    ("inconclusive", {"latency_ms_p50": 1.02, "latency_ms_p95": 5.0}, 4),
    ("not measured", {"latency_ms_p95": {"limit": 5.0, "threads": 2}}, 4),
    ("no budgets", {}, 0),
]


@pytest.mark.parametrize(("budgets", "code"), [case[1:] for case in EXITS], ids=[case[0] for case in EXITS])
def test_exit_codes(make_bundle, simulate, measured, samples, budgets, code):
    noisy = samples(QUIET).rounds_ns
    rounds = tuple(times + (number % 2) * 20_000 for number, times in enumerate(noisy))
    target = simulate("pc", measured("onnx-fp32", type(samples(QUIET))(rounds_ns=rounds, warmup_calls=1, steady=True)))
    report = bench(make_bundle({"host": budgets} if budgets else None), target=target, time_limit_s=0.5)
    assert report.exit_code == code


def test_missing_budgets_are_said_with_the_devices_that_have_some(make_bundle, simulate, measured, samples):
    path = make_bundle({"raspberry-pi-5": {"latency_ms_p95": 5.0}})
    report = bench(path, target=simulate("pc", measured("onnx-fp32", samples(QUIET))))
    assert report.budgets == ()
    assert "no budgets for host were checked" in report.notes[0]
    assert "raspberry-pi-5" in report.notes[0]


def test_another_machine_is_not_measured_at_all(make_bundle, simulate):
    target = simulate("pc")
    path = make_bundle({"raspberry-pi-4b": {"latency_ms_p95": 5.0, "bundle_mb": 1.0}})
    report = bench(path, device="raspberry-pi-4b", target=target)
    answer = report.to_dict()
    assert target.requests == []
    assert (answer["provenance"], report.exit_code) == ("not_measured", 4)
    assert [result.verdict for result in report.budgets] == [Verdict.NOT_MEASURED, Verdict.PASS]
    assert answer["variants"][0]["latency_ms"] == {"min": None, "p50": None, "p95": None, "p99": None}
    assert "architecture aarch64 is needed" in answer["mismatch"][0]
    assert answer["variants"][0]["reason"] == "not timed: this machine is not a raspberry-pi-4b"


def test_a_budget_that_needs_no_hardware_can_fail_without_it(make_bundle, simulate):
    path = make_bundle({"raspberry-pi-4b": {"bundle_mb": 0.0001}})
    assert bench(path, device="raspberry-pi-4b", target=simulate("pc")).exit_code == 1


def test_the_device_itself_is_measured_with_the_threads_of_its_profile(make_bundle, simulate, measured, samples):
    target = simulate("pi 4", measured("onnx-fp32", samples(QUIET)))
    path = make_bundle({"raspberry-pi-4b": {"latency_ms_p95": 5.0}})
    report = bench(path, device="raspberry-pi-4b", target=target)
    assert (report.to_dict()["provenance"], report.exit_code) == ("measured", 0)
    assert target.requests[0].threads == report.profile.threads


def test_the_variant_of_auto_on_a_device_is_one_its_cpu_can_run(make_bundle, simulate):
    path = make_bundle(
        {"raspberry-pi-4b": {"latency_ms_p95": 5.0}},
        {"onnx-int8": b"a", "onnx-fp32": b"b"},
        {"onnx-int8": {"requires_isa": ("avx512_vnni",)}},
    )
    assert bench(path, device="raspberry-pi-4b", target=simulate("pc")).budgets[0].variant == "onnx-fp32"


def test_a_variant_that_cannot_run_is_reported_and_the_others_are_judged(make_bundle, simulate, measured, samples):
    path = make_bundle({"host": {"latency_ms_p95": 5.0}}, {"onnx-int8": b"a", "onnx-fp32": b"b"})
    broken = measured("onnx-int8", None, failure="no backend", starts_ms=(), rss_mb=(), backend=None)
    target = simulate("pc", broken, measured("onnx-fp32", samples(QUIET)), auto_variant="onnx-fp32")
    report = bench(path, target=target)
    assert report.exit_code == 0
    assert report.to_dict()["variants"][0]["reason"] == "no backend"


def test_when_no_variant_could_be_measured_the_evidence_does_not_suffice(make_bundle, simulate, measured):
    broken = measured("onnx-fp32", None, failure="no backend", starts_ms=(), rss_mb=(), backend=None)
    assert bench(make_bundle(), target=simulate("pc", broken)).exit_code == 4


def test_times_that_had_not_settled_are_said(make_bundle, simulate, measured, samples):
    moving = type(samples(QUIET))(rounds_ns=samples(QUIET).rounds_ns, warmup_calls=1, steady=False)
    report = bench(make_bundle(), target=simulate("pc", measured("onnx-fp32", moving)))
    assert any("had not settled" in note for note in report.notes)


def test_chosen_variants_and_numbers_reach_the_target(make_bundle, simulate, measured, samples):
    path = make_bundle(None, {"onnx-int8": b"a", "onnx-fp32": b"b"})
    target = simulate("pc", *(measured(id_, samples(QUIET)) for id_ in ("onnx-int8", "onnx-fp32")))
    bench(path, variants=["onnx-fp32"], threads=3, seconds=0.5, starts=7, target=target)
    assert {(request.variants, request.threads) for request in target.requests} == {(("onnx-fp32",), 3)}
    assert sum(request.seconds for request in target.requests) == pytest.approx(0.5)
    assert [request.starts for request in target.requests] == [2, 1, 1, 1, 1, 1]


WRONG = [
    ({"variants": ["onnx-int4"]}, InputError, "no variant onnx-int4; expected one of onnx-fp32"),
    ({"seconds": 0}, InputError, "seconds > 0"),
    ({"threads": 0}, InputError, "threads ≥ 1"),
    ({"starts": 0}, InputError, "starts ≥ 1"),
    ({"time_limit_s": 0}, InputError, "a time limit and minutes > 0"),
    ({"sustained_minutes": 0}, InputError, "a time limit and minutes > 0"),
    ({"device": "toaster"}, ProjectError, "unknown device profile 'toaster'"),
]


@pytest.mark.parametrize(("given", "error", "message"), WRONG)
def test_wrong_use_is_refused_before_anything_is_measured(make_bundle, simulate, given, error, message):
    target = simulate("pc")
    with pytest.raises(error, match=message):
        bench(make_bundle(), target=target, **given)
    assert target.requests == []


@pytest.mark.parametrize("name", ["missing.edgeml", "missing.onnx"])
def test_a_missing_file_is_refused(tmp_path, simulate, name):
    with pytest.raises((InputError, BundleError), match=name):
        bench(tmp_path / name, target=simulate("pc"))


def test_a_damaged_bundle_is_refused(make_bundle, simulate):
    path = make_bundle()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError):
        bench(path, target=simulate("pc"))


def test_a_profile_beside_the_bundle_is_found(make_bundle, simulate, measured, samples):
    path = make_bundle()
    folder = path.parent / "devices"
    folder.mkdir()
    profile = """
        name = "bench-pc"
        title = "The PC under the desk"
        arch = "x86_64"
        isa = ["avx2"]
        cores = 6
        memory_bytes = 17_000_000_000
        memory_usable_bytes = 16_600_000_000
        threads = 2
        [match]
        cores = [6, 6]
        memory_bytes = [16_000_000_000, 17_000_000_000]
        [sources]
        isa = "its data sheet"
        cores = "its data sheet"
        memory_bytes = "its data sheet"
        memory_usable_bytes = "free -b"
        threads = "two stay free"
    """
    (folder / "bench-pc.toml").write_text(textwrap.dedent(profile), encoding="utf-8")
    target = simulate("pc", measured("onnx-fp32", samples(QUIET), threads=2))
    report = bench(path, device="bench-pc", target=target)
    assert (report.exit_code, target.requests[0].threads) == (0, 2)


def test_on_a_busy_machine_a_limit_can_be_kept_and_not_be_exceeded(make_bundle, simulate, measured, samples):
    path = make_bundle({"host": {"latency_ms_p50": 0.5, "latency_ms_p95": 5.0}})
    target = simulate("pc", measured("onnx-fp32", samples(QUIET)))
    assert bench(path, target=target).exit_code == 1
    target.conditions = Conditions(other_share=0.6)
    report = bench(path, target=target, time_limit_s=0.5)
    assert [result.verdict for result in report.budgets] == [Verdict.INCONCLUSIVE, Verdict.PASS]
    assert "other work took 60% of the cores" in report.budgets[0].reason
    assert any("other work" in note for note in report.notes)
    assert report.exit_code == 4


def test_a_sustained_bench_has_a_curve_and_lets_a_hot_machine_fail(make_bundle, simulate, measured, samples):
    path = make_bundle({"host": {"latency_ms_p50": 0.5}})
    target = simulate("pc", measured("onnx-fp32", samples(QUIET)))
    target.conditions = Conditions(other_share=0.0, clock_mhz=900.0, temperature_c=84.0, throttled=True)
    assert bench(path, target=target, time_limit_s=0.5).exit_code == 4
    plain = target.measure
    target.measure = lambda *args, **options: (time.sleep(0.02), plain(*args, **options))[1]
    report = bench(path, target=target, sustained_minutes=0.01)
    assert report.exit_code == 1
    points = report.to_dict()["variants"][0]["curve"]
    assert len(points) == len(target.requests[-len(points) :]) >= 6
    assert [points[-1][key] for key in ("p50", "p95", "clock_mhz", "temperature_c", "throttled")] == [
        *(1.01, 1.03, 900.0, 84.0),
        True,
    ]
    assert [point["minutes"] for point in points] == sorted(point["minutes"] for point in points)


class TestThisMachine:
    """The real loop in real processes."""

    def test_a_bundle(self, make_bundle):
        events = []
        path = make_bundle({"host": {"latency_ms_p50": 10_000.0, "bundle_mb": 1.0}})
        report = bench(path, seconds=0.4, starts=2, time_limit_s=600, progress=events.append)
        (variant,) = report.variants
        assert variant.reason is None
        assert variant.latency.min <= variant.latency.p50 <= variant.latency.p95 <= variant.latency.p99
        assert (variant.backend, variant.threads, len(variant.starts)) == ("onnxruntime", 1, 2)
        assert 5 < variant.figures[BudgetName.PEAK_RSS_MB].value < 2000
        assert [result.verdict for result in report.budgets] == [Verdict.PASS, Verdict.PASS]
        assert report.exit_code == 0
        assert [(event.step, event.done) for event in events] == [("measure", done) for done in range(MIN_PROCESSES)]
        assert 0 <= report.conditions[0].other_share <= 1

    def test_a_bare_model_with_an_open_dimension(self, model_file):
        report = bench(model_file(), seconds=0.2, starts=1, time_limit_s=FIRST_ONLY)
        (variant,) = report.variants
        assert (variant.id, variant.reason) == ("tiny.onnx", None)
        assert variant.latency.n == report.samples["tiny.onnx"].all_ns.size

    def test_a_variant_whose_file_is_broken_is_reported_beside_one_that_runs(self, make_bundle, model_content):
        path = make_bundle(None, {"onnx-fp32": model_content, "onnx-int8": b"no model"})
        report = bench(path, seconds=0.2, starts=1, time_limit_s=FIRST_ONLY)
        good, broken = report.variants
        assert good.latency is not None
        assert broken.latency is None
        assert "cannot load the model" in broken.reason

    def test_a_file_that_is_no_model(self, model_file):
        with pytest.raises(InputError, match=r"tiny\.onnx: cannot be measured: onnxruntime .* cannot load the model"):
            bench(model_file(content=b"no model"), seconds=0.2, starts=1)

    def test_modules_in_the_current_folder_do_not_shadow_the_runtime(self, model_file, tmp_path, monkeypatch):
        for name in ("numpy.py", "json.py", "edgeml_runtime.py"):
            (tmp_path / name).write_text("raise SystemExit('shadowed')\n", encoding="utf-8")
        path = model_file()
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry))
        monkeypatch.chdir(tmp_path)
        assert bench(path, seconds=0.1, starts=1, time_limit_s=FIRST_ONLY).variants[0].latency is not None


@pytest.fixture
def fake_python(tmp_path, monkeypatch):
    """Makes the measuring process a script of the test's own."""

    def write(code, interpreter=sys.executable):
        script = tmp_path / "python"
        script.write_text(f"#!{interpreter}\n{textwrap.dedent(code)}", encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setattr("edgeml_devices.targets.sys.executable", str(script))

    return write


REQUEST = MeasureRequest(path="model.onnx")


def measure(target=None):
    return (target or LocalTarget()).measure(REQUEST, variants=1, progress=lambda event: None)


CRASHES = [
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", TargetError, "status -11 and no answer"),
    (
        "import sys; sys.stderr.write('disk on fire\\n'); sys.exit(1)",
        TargetError,
        "status 1 and no answer: disk on fire",
    ),
    ("print('{}')", TargetError, "no answer"),
    ("import sys; sys.stderr.write('no such file\\n'); sys.exit(2)", InputError, "no such file"),
]


@pytest.mark.parametrize(("code", "error", "message"), CRASHES, ids=[case[2] for case in CRASHES])
def test_a_measuring_process_that_fails_is_reported(fake_python, code, error, message):
    fake_python(code)
    with pytest.raises(error, match=message):
        measure()


def test_a_hanging_measuring_process_is_killed_with_what_it_started(fake_python, tmp_path):
    fake_python(f"sleep 600 & echo $! > {tmp_path}/pid; wait", "/bin/sh")
    with pytest.raises(TargetError, match="did not end in time"):
        measure(LocalTarget(limit_s=2.0))
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def test_an_interrupt_ends_the_measuring_process(fake_python):
    fake_python("""
        import json, sys, time
        sys.stderr.write(json.dumps({"step": "cold start", "done": 1, "total": 2, "message": ""}) + "\\n")
        sys.stderr.flush()
        time.sleep(600)
    """)

    def interrupt(event):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        LocalTarget().measure(REQUEST, variants=1, progress=interrupt)
    assert time.monotonic() - begun < 300


def test_the_command_line_says_everything():
    request = MeasureRequest(
        path="a b.edgeml", variants=("x", "y"), threads=2, backend="openvino", seconds=1.5, starts=3
    )
    assert measure_arguments(request) == [
        *("-P", "-m", "edgeml_runtime.measure", "model", "a b.edgeml", "--variant", "x", "--variant", "y"),
        *("--threads", "2", "--backend", "openvino", "--seconds", "1.5", "--starts", "3"),
    ]
