"""One bench decides every budget of a device: those for other backends and numbers of threads are measured as well."""

from __future__ import annotations

import pytest

from edgeml_devices.bench import bench
from edgeml_devices.conditions import Conditions
from edgeml_devices.intervals import MIN_PROCESSES
from edgeml_devices.report import Verdict
from edgeml_devices.reports.words import budget_interval
from edgeml_devices.ways import further_ways
from edgeml_runtime.contract import Budget, BudgetName, Provenance
from edgeml_runtime.measure.report import Measurement
from edgeml_runtime.tuned_store import Choice

OWN = {"onnx-int8": "onnxruntime", "onnx-fp32": "onnxruntime", "tflite-fp32": "litert"}
QUIET = [1.0, 1.01, 1.02, 1.03] * 25


def budget(name=BudgetName.LATENCY_MS_P95, limit=5.0, **changes):
    return Budget(profile="host", name=name, limit=limit, **changes)


WAYS = [
    ("the usual way", [budget()], {}, []),
    ("its own spelled out", [budget(backend="onnxruntime", threads=1, variant="onnx-fp32")], {}, []),
    ("threads, of the variant of auto", [budget(threads=2)], {}, ["onnx-int8/onnxruntime/2"]),
    (
        "each once, several limits of one quantity",
        [budget(threads=2), budget(BudgetName.COLD_START_MS, threads=2), budget(threads=4), budget()],
        {},
        ["onnx-int8/onnxruntime/2", "onnx-int8/onnxruntime/4"],
    ),
    ("a backend", [budget(backend="openvino", variant="onnx-fp32")], {}, ["onnx-fp32/openvino/1"]),
    ("a variant that is not benched", [budget(variant="onnx-w8", threads=2)], {}, []),
    ("figures that are not measured", [budget(threads=2, accepts=(Provenance.EMULATED,))], {}, []),
    ("what needs no timing", [budget(BudgetName.BUNDLE_MB), budget(BudgetName.INSTRUCTIONS, threads=2)], {}, []),
    ("--threads leaves the others out", [budget(threads=2), budget(threads=4)], {"threads": 4}, []),
    (
        "--threads with a backend",
        [budget(threads=4, backend="openvino"), budget(backend="openvino")],
        {"threads": 4},
        ["onnx-int8/openvino/4"],
    ),
    (
        "--backend leaves the others out",
        [budget(threads=2), budget(threads=2, backend="openvino")],
        {"backend": "openvino"},
        ["onnx-int8/openvino/2"],
    ),
]


@pytest.mark.parametrize(("budgets", "asked", "ways"), [case[1:] for case in WAYS], ids=[case[0] for case in WAYS])
def test_ways_that_budgets_name(budgets, asked, ways):
    found = further_ways(budgets, auto_variant="onnx-int8", own_backends=OWN, profile_threads=1, **asked)
    assert [str(way) for way in found] == ways


class Device:
    """Measures with the threads and the backend it is asked for: more threads are faster, OpenVINO fails."""

    def __init__(self, plain, measured, samples):
        self.plain, self.measured, self.samples, self.requests = plain, measured, samples, []
        self.conditions, self.auto = Conditions(other_share=0.01), "onnx-int8"

    def __getattr__(self, name):
        return getattr(self.plain, name)

    def measure(self, request, *, variants, limit=None, progress):
        self.requests.append(request)
        assert variants == len(request.variants)
        times = self.samples([value / request.threads for value in QUIET])
        found = tuple(
            self.measured(id_, None, failure="no openvino", starts_ms=(), rss_mb=(), backend=None)
            if request.backend == "openvino"
            else self.measured(id_, times, threads=request.threads, starts_ms=(10.0,), rss_mb=(50.0,))
            for id_ in request.variants
        )
        return Measurement(machine=self.plain.machine, auto_variant=self.auto, variants=found, python="3.11.7")


@pytest.fixture
def device(simulate, measured, samples):
    return Device(simulate("pc"), measured, samples)


@pytest.fixture
def bundle(make_bundle):
    budgets = {
        "latency_ms_p50": [
            {"limit": 5.0},
            {"limit": 0.8, "threads": 2},
            {"limit": 0.4, "threads": 2, "variant": "onnx-fp32"},
            {"limit": 5.0, "backend": "openvino", "variant": "onnx-fp32"},
        ],
        "bundle_mb": 1.0,
    }
    return make_bundle({"host": budgets}, {"onnx-int8": b"a", "onnx-fp32": b"b"})


def test_one_bench_decides_all_of_them(bundle, device):
    report = bench(bundle, target=device)
    found = [
        (result.limit, result.verdict, str(result.way)) for result in report.budgets if result.name.value != "bundle_mb"
    ]
    assert sorted(found, key=str) == sorted(
        [
            (5.0, Verdict.PASS, "None"),
            (0.8, Verdict.PASS, "onnx-int8/onnxruntime/2"),
            (0.4, Verdict.FAIL, "onnx-fp32/onnxruntime/2"),
            (5.0, Verdict.NOT_MEASURED, "onnx-fp32/openvino/1"),
        ],
        key=str,
    )
    assert report.exit_code == 1
    assert [variant.threads for variant in report.variants] == [1, 1]
    answer = report.to_dict()
    assert [(row["way"], row["id"], row["threads"]) for row in answer["further"]] == [
        ("onnx-int8/onnxruntime/2", "onnx-int8", 2),
        ("onnx-fp32/onnxruntime/2", "onnx-fp32", 2),
        ("onnx-fp32/openvino/1", "onnx-fp32", None),
    ]
    assert next(row for row in answer["budgets"] if row["way"] == "onnx-fp32/openvino/1")["reason"] == "no openvino"


def test_each_way_has_its_own_interval(bundle, device):
    values = bench(bundle, target=device).to_dict()
    intervals = {row["way"]: budget_interval(values, row) for row in values["budgets"] if row["name"] != "bundle_mb"}
    assert intervals["onnx-int8/onnxruntime/2"]["high"] < intervals[None]["low"]
    assert intervals["onnx-fp32/openvino/1"] is None


def test_a_way_that_fails_is_not_tried_again(bundle, device):
    bench(bundle, target=device)
    assert [request.backend for request in device.requests].count("openvino") == 1
    assert [request.threads for request in device.requests].count(2) == MIN_PROCESSES


def test_an_option_measures_that_way_only(bundle, device):
    report = bench(bundle, target=device, threads=2)
    assert {request.threads for request in device.requests} == {2}
    assert report.further == {}
    assert [result.verdict for result in report.budgets if result.limit == 0.8] == [Verdict.PASS]
    (plain,) = [result for result in report.budgets if result.limit == 5.0 and "1 thread" in result.reason]
    assert (plain.verdict, report.exit_code) == (Verdict.NOT_MEASURED, 1)


def test_while_a_way_is_undecided_only_that_one_is_measured_on(make_bundle, device):
    device.auto = "onnx-fp32"
    path = make_bundle({"host": {"latency_ms_p50": [{"limit": 5.0}, {"limit": 0.505, "threads": 2}]}})
    report = bench(path, target=device, time_limit_s=0.5)
    further = device.requests[2 * MIN_PROCESSES :]
    assert further
    assert {(request.threads, request.variants) for request in further} == {(2, ("onnx-fp32",))}
    assert {result.verdict for result in report.budgets} == {Verdict.PASS, Verdict.INCONCLUSIVE}


def test_a_busy_stretch_counts_for_the_whole_batch(make_bundle, device):
    device.auto = "onnx-fp32"
    path = make_bundle({"host": {"latency_ms_p50": [{"limit": 0.1}, {"limit": 0.1, "threads": 2}]}})
    stretches = iter(
        [Conditions(other_share=0.0, clock_mhz=2000.0), Conditions(other_share=0.9, clock_mhz=1500.0)] * 99
    )

    class Watch:
        def __enter__(self):
            self.conditions = next(stretches)
            return self

        def __exit__(self, *_):
            pass

    device.watch = Watch
    report = bench(path, target=device, time_limit_s=0.1)
    assert {(one.other_share, one.clock_mhz) for one in report.conditions} == {(0.9, 1500.0)}
    assert {result.verdict for result in report.budgets} == {Verdict.INCONCLUSIVE}


def test_real_threads(make_bundle):
    path = make_bundle({"host": {"latency_ms_p50": [{"limit": 1e4}, {"limit": 1e4, "threads": 2}]}})
    report = bench(path, seconds=0.1, starts=1, time_limit_s=1e-6)
    assert {str(way): variant.threads for way, variant in report.further.items()} == {"onnx-fp32/onnxruntime/2": 2}
    assert report.further[Choice.parse("onnx-fp32/onnxruntime/2")].latency is not None
    assert report.python is not None
