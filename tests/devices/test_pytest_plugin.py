"""The pytest plug-in in sessions of pytest's own: on simulated machines, in several processes, and once for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeml_devices.gate as gate_module
from edgeml_devices.bench import bench
from edgeml_devices.conditions import Conditions
from edgeml_devices.remote import ManyReport, TargetReport
from edgeml_runtime.errors import TargetError
from edgeml_runtime.progress import silent

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
QUIET = [1.0, 1.01, 1.02, 1.03] * 25
BUDGETS = {"host": {"latency_ms_p95": 5.0, "peak_rss_mb": 60, "bundle_mb": 1.0}, "raspberry-pi-4b": {"peak_rss_mb": 60}}


class SimulatedFleet:
    """Stands for ``bench_targets``: each target's name is a simulated machine; those in ``lost`` do not answer."""

    def __init__(self, machines):
        self.machines, self.lost, self.asked_for_layers = machines, set(), set()

    def __call__(self, path, names, run, *, config=None, layers=True):
        self.asked_for_layers.add(layers)
        found = []
        for name in names:
            if name in self.lost and len(names) == 1:
                raise TargetError(f"{name}: no answer")
            report = None if name in self.lost else run(self.machines[name], silent)
            found.append(TargetReport(target=name, report=report, lost=None if report else f"{name}: no answer"))
        return ManyReport(targets=tuple(found))

    def requests(self, name="local"):
        return self.machines[name].requests


@pytest.fixture
def fleet(monkeypatch, simulate, measured, samples):
    variants = [measured(id_, samples(QUIET)) for id_ in ("onnx-int8", "onnx-fp32")]
    machines = {"local": simulate("pc", *variants), "ssh://pi": simulate("pc", *variants)}
    simulated = SimulatedFleet(machines)
    monkeypatch.setattr(gate_module, "bench_targets", simulated)
    return simulated


@pytest.fixture
def session(pytester, make_bundle, fleet, monkeypatch):
    """Runs tests, whose body is given, beside a bundle of two variants; more words are for pytest."""
    path = make_bundle(BUDGETS, {"onnx-int8": b"a", "onnx-fp32": b"b"})
    shutil.copy(path, pytester.path)
    # The session within is one of its own, also where this one is a worker of pytest-xdist.
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def run(*bodies, words=()):
        tests = (f"def test_{number}(edge_budget):\n    {body}\n" for number, body in enumerate(bodies))
        pytester.makepyfile("\n".join(tests))
        return pytester.runpytest_inprocess("-p", "no:anyio", "-p", "no:cacheprovider", *words)

    return run


ALL = 'edge_budget("tiny-1.0.0.edgeml")'


def own(limits):
    return f'edge_budget("tiny-1.0.0.edgeml", {limits})'


def test_every_budget_of_the_contract_is_judged_and_told_at_the_end(session):
    result = session(ALL)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*edgeml budgets*",
            "host on local, measured",
            "model *variant *p50 ms*",
            "tiny-1.0.0.edgeml  onnx-int8 *1.01 *",
            "tiny-1.0.0.edgeml  latency_ms_p95  onnx-int8 *5 *1.03  pass",
            "tiny-1.0.0.edgeml  peak_rss_mb *pass",
            "tiny-1.0.0.edgeml  bundle_mb *pass",
        ]
    )


def test_layers_are_not_counted_for_a_verdict(session, fleet):
    session(ALL).assert_outcomes(passed=1)
    assert fleet.asked_for_layers == {False}


@pytest.fixture
def then(session, pytester, simulate, measured, samples):
    """The option that names an earlier result, whose calls took ``scale`` times as long; more keys are changed."""

    def write(scale, **changes):
        times = samples([value * scale for value in QUIET])
        target = simulate("pc", *(measured(id_, times) for id_ in ("onnx-int8", "onnx-fp32")))
        found = bench(pytester.path / "tiny-1.0.0.edgeml", target=target).to_dict() | changes
        (pytester.path / "then.json").write_text(json.dumps(found))
        return f"--edgeml-baseline={pytester.path / 'then.json'}"

    return write


def test_figures_are_judged_beside_an_earlier_result_and_told_apart_from_budgets(session, then):
    result = session(own("latency_ms_p95=5"), words=(then(1.0),))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*  latency_ms_p95  *onnx-int8 *5 *1.03  pass", "*  latency_ms_p95 (earlier)  *onnx-int8 *1.03  pass"]
    )


def test_a_model_that_got_slower_than_in_an_earlier_result_fails(session, then):
    result = session(own("latency_ms_p95=5"), words=(then(0.5),))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*tiny-1.0.0.edgeml for host: *fail of * comparisons",
            "*latency_ms_p95 *5 *pass",
            "*latency_ms_p95 (earlier) *fail",
            "*local, latency_ms_p95 (earlier): then.json has 0.515; 2.0000 times as bad, 1.* is put up with*",
        ]
    )


def test_a_model_without_an_earlier_result_is_not_measured(session, then):
    other = {"subject": {"name": "another", "version": "1.0.0", "size_bytes": 1}}
    result = session(own("latency_ms_p95=5"), words=(then(1.0, **other),))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*compared with *then.json: no earlier result of it (tiny)*"])


def test_an_earlier_result_that_is_none_is_said_in_a_line(session, pytester):
    (pytester.path / "then.json").write_text("{}")
    result = session(ALL, words=("--edgeml-baseline=then.json",))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["then.json: expected what edgeml bench --json prints, *"])
    result.stdout.no_fnmatch_line("*edgeml_pytest.py:*")


FAILURES = [
    ("a budget", own("latency_ms_p95=0.5"), (), "*1 fail of 1 budget"),
    ("one of two", own("latency_ms_p95=0.5, peak_rss_mb=60"), (), "*1 fail of 2 budgets"),
    ("its variant", own('variant="onnx-fp32", latency_ms_p95=0.5'), (), "local *onnx-fp32 *0.5 *1.03 *fail"),
    ("inconclusive", own("latency_ms_p50=1.01"), (), "*raise --edgeml-time-limit*"),
    ("another machine", ALL, ("--edgeml-device=raspberry-pi-4b",), "local is not a raspberry-pi-4b: *aarch64*"),
    (
        "no budgets",
        ALL,
        ("--edgeml-device=raspberry-pi-5",),
        "*no budgets for raspberry-pi-5*some for host*",
    ),
    ("no budgets for it", own('variant="onnx-int4"'), (), "*no variant onnx-int4; expected one of onnx-int8*"),
    ("an unknown device", ALL, ("--edgeml-device=raspberry-pi-9",), "*raspberry-pi-9*raspberry-pi-4b*"),
    ("an unknown limit", own("latency_p95=1"), (), "unknown budget latency_p95; expected one of latency_ms_p50*"),
    ("a limit of nothing", own("latency_ms_p95=0"), (), "latency_ms_p95: expected a number above 0, found 0"),
    ("no such file", 'edge_budget("other.edgeml")', (), "other.edgeml: cannot be opened*"),
]


@pytest.mark.parametrize(("body", "words", "line"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_a_test_fails_with_the_reason(session, body, words, line):
    result = session(body, words=("--edgeml-time-limit=0.2", *words))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])
    result.stdout.no_fnmatch_line("*Traceback*")


UNDECIDED = [("fail", {"failed": 1}), ("skip", {"skipped": 1}), ("pass", {"passed": 1})]


@pytest.mark.parametrize(("word", "outcome"), UNDECIDED, ids=[word for word, _ in UNDECIDED])
@pytest.mark.parametrize("body", [own("latency_ms_p50=1.01"), own("latency_ms_p95=5, instructions=1e9")])
def test_what_cannot_be_decided_does_as_was_chosen(session, body, word, outcome):
    words = (f"--edgeml-inconclusive={word}", "--edgeml-time-limit=0.2", "-rs")
    session(body, words=words).assert_outcomes(**outcome)


@pytest.mark.parametrize("word", ["skip", "pass"])
def test_what_fails_fails_whatever_else_is_undecided(session, word):
    result = session(own("latency_ms_p95=0.5, instructions=1e9"), words=(f"--edgeml-inconclusive={word}",))
    result.assert_outcomes(failed=1)


def test_a_busy_machine_fails_nothing_for_its_time(session, fleet):
    fleet.machines["local"].conditions = Conditions(other_share=0.9)
    result = session(own("latency_ms_p95=0.5"), words=("--edgeml-inconclusive=skip", "--edgeml-time-limit=0.2"))
    result.assert_outcomes(skipped=1)


def test_a_variant_is_measured_once_for_all_tests(session, fleet):
    other = own('variant="onnx-fp32", latency_ms_p50=3')
    result = session(ALL, ALL, own("latency_ms_p50=3"), other, own("bundle_mb=1"))
    result.assert_outcomes(passed=5)
    assert [request.variants for request in fleet.requests()] == [("onnx-int8",)] * 6 + [("onnx-fp32",)] * 6


def test_a_budget_for_the_file_measures_nothing(session, fleet):
    result = session(own("bundle_mb=1"), own("bundle_mb=0.0001"))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["host on local"])
    assert fleet.requests() == []


def test_a_limit_of_another_test_is_measured_on_for(session, fleet, measured, samples):
    """Half of the calls of the first six processes take 1.3 ms, which leaves the median open; later ones take 1.0."""
    target = fleet.machines["local"]
    plain = target.measure

    def measure(request, **options):
        times = [1.0, 1.3] * 200 if len(target.requests) < 6 else [1.0] * 400
        target.variants = (measured("onnx-int8", samples(times, rounds=1)),)
        return plain(request, **options)

    target.measure = measure
    further = f"found = {own('latency_ms_p50=1.2')}; assert found.targets[0].variants[0].processes == 12"
    session(own("latency_ms_p50=2"), further, own("latency_ms_p50=2")).assert_outcomes(passed=3)
    assert len(target.requests) == 12


def test_several_targets_are_judged_each(session, fleet):
    result = session(ALL, words=("--edgeml-on=local", "--edgeml-on=ssh://pi"))
    result.assert_outcomes(passed=1)
    assert (len(fleet.requests("local")), len(fleet.requests("ssh://pi"))) == (6, 6)
    result.stdout.fnmatch_lines(["host on local, measured", "host on ssh://pi, measured"])


LOST = [("the only one", ("ssh://pi",)), ("one of two", ("local", "ssh://pi"))]


@pytest.mark.parametrize("targets", [targets for _, targets in LOST], ids=[name for name, _ in LOST])
@pytest.mark.parametrize("word", ["fail", "pass"])
def test_a_lost_target_is_an_error_that_names_it(session, fleet, targets, word):
    fleet.lost.add("ssh://pi")
    on = [f"--edgeml-on={target}" for target in targets]
    result = session(ALL, ALL, words=(*on, f"--edgeml-inconclusive={word}"))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["tiny-1.0.0.edgeml for host: lost ssh://pi*", "lost: ssh://pi: no answer"])


def test_the_configuration_says_the_same_and_the_command_line_more(session, pytester, fleet):
    pytester.makeini("[pytest]\nedgeml_on = ssh://pi\nedgeml_inconclusive = skip\nedgeml_time_limit = 0.2\n")
    session(own("latency_ms_p50=1.01")).assert_outcomes(skipped=1)
    assert len(fleet.requests("ssh://pi")) > 0
    session(own("latency_ms_p50=1.01"), words=("--edgeml-inconclusive=pass",)).assert_outcomes(passed=1)


WRONG = [
    ("--edgeml-inconclusive=maybe", "*--edgeml-inconclusive: expected fail or skip or pass, found 'maybe'"),
    ("--edgeml-threads=0", "*--edgeml-threads: expected a number of at least 1, found '0'"),
    ("--edgeml-time-limit=never", "*--edgeml-time-limit: expected seconds above 0, found 'never'"),
]


@pytest.mark.parametrize(("word", "line"), WRONG, ids=[word for word, _ in WRONG])
def test_wrong_options_are_refused_before_anything_runs(session, word, line):
    result = session(ALL, words=(word,))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_threads_reach_the_target_and_own_limits_are_for_them(session, fleet):
    session(own("latency_ms_p95=5"), words=("--edgeml-threads=3",)).assert_outcomes(failed=1)  # it measured with 1
    assert {request.threads for request in fleet.requests()} == {3}


def test_tests_are_chosen_as_usual(session, pytester):
    pytester.makepyfile(test_other="def test_nothing():\n    pass\n")
    session(ALL, own("bundle_mb=1"), words=("-m", "edge_budget", "--strict-markers")).assert_outcomes(
        passed=2, deselected=1
    )
    session(ALL, own("bundle_mb=1"), words=("-k", "test_1 or nothing")).assert_outcomes(passed=2, deselected=1)


def test_figures_are_in_the_json_of_pytest_benchmark(session, pytester):
    first, second = pytester.path / "first.json", pytester.path / "second.json"
    two_calls = f"{own('latency_ms_p95=5')}; {own('latency_ms_p50=5')}"
    bodies = (ALL, two_calls, own('variant="onnx-fp32", latency_ms_p95=0.5'))
    on = ("--edgeml-on=local", "--edgeml-on=ssh://pi")
    for file in (first, second):
        session(*bodies, words=(*on, f"--benchmark-json={file}")).assert_outcomes(passed=2, failed=1)
    written = json.loads(first.read_text())["benchmarks"]
    tests = ("test_0[onnx-int8", "test_1[onnx-int8", "test_2[onnx-fp32")
    names = [f"{test}, {target}]" for test in tests for target in ("local", "ssh://pi")]
    assert sorted(entry["name"] for entry in written) == names
    (entry,) = (entry for entry in written if entry["name"] == "test_1[onnx-int8, ssh://pi]")
    assert entry["stats"]["rounds"] == 60
    assert entry["stats"]["mean"] == pytest.approx(1.015e-3)
    known = entry["extra_info"]
    assert {key: known[key] for key in ("device", "target", "provenance", "variant", "threads")} == {
        "device": "host", "target": "ssh://pi", "provenance": "measured", "variant": "onnx-int8", "threads": 1,
    }  # fmt: skip
    assert [(budget["name"], budget["verdict"]) for budget in known["budgets"]] == [
        ("latency_ms_p95", "pass"),
        ("latency_ms_p50", "pass"),
    ]
    assert known["budgets"][0]["interval"][0] <= 1.03 <= known["budgets"][0]["interval"][1]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", first, second, "--group-by=fullname"]
    compared = subprocess.run(command, capture_output=True, text=True, check=True, cwd=pytester.path)
    assert compared.stdout.count("test_2[onnx-fp32, local]") >= 2


def test_a_later_session_is_compared_by_pytest_benchmark_itself(session, pytester, fleet, measured, samples):
    session(ALL, words=("--benchmark-save=before",)).assert_outcomes(passed=1)
    fleet.machines["local"].variants = (measured("onnx-int8", samples([2.0] * 100)),)
    result = session(ALL, words=("--benchmark-compare", "--benchmark-compare-fail=mean:10%"))
    result.stdout.fnmatch_lines(["*test_0[[]onnx-int8, local[]] (NOW)*"])
    result.stderr.fnmatch_lines(["*Performance has regressed*"])


@pytest.mark.parametrize("word", ["-pno:benchmark", "--benchmark-disable"])
def test_all_else_works_without_pytest_benchmark(session, word):
    session(ALL, own("latency_ms_p95=0.5"), words=(word,)).assert_outcomes(passed=1, failed=1)


WORKER = """
import importlib.util, os, time
import edgeml_devices.gate as gate
from edgeml_devices.remote import ManyReport, TargetReport
from edgeml_runtime.progress import silent

spec = importlib.util.spec_from_file_location("simulated", {conftest!r})
simulated = importlib.util.module_from_spec(spec)
spec.loader.exec_module(simulated)
QUIET = [1.0, 1.01, 1.02, 1.03] * 25

def bench_targets(path, names, run, *, config=None, layers=True):
    with open({log!r}, "a") as log:
        log.write("begin\\n")
        log.flush()
        time.sleep(0.3)
        variants = [simulated.make_measured(name, simulated.make_samples(QUIET)) for name in ("onnx-int8", "onnx-fp32")]
        target = simulated.SimulatedTarget(simulated.MACHINES["pc"], variants, "onnx-int8")
        found = ManyReport(targets=tuple(TargetReport(target=name, report=run(target, silent)) for name in names))
        log.write("end\\n")
    return found

gate.bench_targets = bench_targets
"""


def test_processes_of_xdist_measure_one_after_the_other_and_share(pytester, make_bundle):
    shutil.copy(make_bundle(BUDGETS, {"onnx-int8": b"a", "onnx-fp32": b"b"}), pytester.path)
    log = pytester.path / "log"
    pytester.makeconftest(WORKER.format(conftest=str(Path(__file__).with_name("conftest.py")), log=str(log)))
    variants = ("onnx-int8", "onnx-fp32")
    bodies = (f'edge_budget("tiny-1.0.0.edgeml", variant="{variants[number % 2]}")' for number in range(8))
    pytester.makepyfile("\n".join(f"def test_{n}(edge_budget):\n    {body}\n" for n, body in enumerate(bodies)))
    words = ("-p", "no:anyio", "-p", "no:cacheprovider", "-n", "2", "--dist=load")
    result = pytester.runpytest_subprocess(*words, timeout=60)
    result.assert_outcomes(passed=8)
    assert log.read_text().split() == ["begin", "end"] * 2
    result.stdout.fnmatch_lines(["host on local, measured", "tiny-1.0.0.edgeml  onnx-*"])


def test_a_session_without_such_tests_is_left_alone(pytester):
    pytester.makepyfile("def test_nothing():\n    pass\n")
    pytester.makeconftest(
        "import sys\n"
        "def pytest_unconfigure(config):\n"
        "    print('LOADED', sorted(name for name in sys.modules if name.partition('.')[0] in"
        " {'numpy', 'edgeml_devices', 'edgeml_runtime', 'edgeml_pytest'}))\n"
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:anyio", "-p", "no:jaxtyping", "-p", "no:cacheprovider", "-W", "error"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["LOADED ['edgeml_pytest']"])
    result.stdout.no_fnmatch_line("*edgeml budgets*")


@pytest.mark.long
def test_from_an_empty_folder_with_what_is_installed_alone(tmp_path, make_bundle):
    """A real bench, by a Python that sees the installed files and their metadata, not this checkout."""
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    for package in ("runtime/edgeml_runtime", "devices/edgeml_devices", "pages/edgeml_pages"):
        shutil.copytree(ROOT / package, site / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "devices" / "edgeml_pytest.py", site)
    metadata = site / "edgeml_toolkit-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeml-toolkit\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\nedgeml = edgeml_pytest\n")
    files = [str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()]
    (metadata / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    shutil.copy(make_bundle({"host": {"latency_ms_p95": 50.0, "cold_start_ms": 60_000}}), work)
    (work / "test_gate.py").write_text(
        "import edgeml_devices\n"
        "def test_budgets(edge_budget):\n"
        f"    assert edgeml_devices.__file__.startswith({str(site)!r})\n"
        '    result = edge_budget("tiny-1.0.0.edgeml")\n'
        "    assert [one.target for one in result.targets] == ['local']\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:anyio", "-p", "no:cacheprovider", "-W", "error", "-v"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "host on local, measured" in done.stdout
