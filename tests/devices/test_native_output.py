"""Native programs: their command lines, what they print, and what that is worth."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from edgeml_devices.batches import Batch
from edgeml_devices.budgets import Evidence, check_budgets
from edgeml_devices.conditions import Conditions
from edgeml_devices.intervals import MARGIN
from edgeml_devices.native import RunnerKind, read_runner
from edgeml_devices.native.measurement import NativeMeasurement
from edgeml_devices.native.output import (
    CallStatistics,
    OutputError,
    read_calls,
    read_statistics,
    runner_words,
    settle,
)
from edgeml_devices.native.runner import elf_arch
from edgeml_devices.report import Verdict
from edgeml_devices.variant_report import report_variant
from edgeml_runtime.contract import Budget, BudgetName, Provenance
from edgeml_runtime.errors import InputError
from edgeml_runtime.measure.report import Measurement

# As gist.github.com/Rexhaif/a73d899a8ae837f9a3b4cbdd5653d71d shows it, a build of TensorFlow Lite of 2021.
OLD = """STARTING!
Log parameter values verbosely: [0]
Num threads: [1]
Graph: [/data/local/tmp/albert_base.tflite]
#threads used for CPU inference: [1]
Loaded model /data/local/tmp/albert_base.tflite
INFO: Initialized TensorFlow Lite runtime.
The input model file size (MB): 11.983
Initialized session in 20.283ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=2 first=339304 curr=266325 min=266325 max=339304 avg=302814 std=36489

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=266601 curr=266931 min=265837 max=268116 avg=266473 std=419

Inference timings in us: Init: 20283, First inference: 339304, Warmup (avg): 302814, Inference (avg): 266473
"""
# The same with the percentiles that StatWithPercentiles of tsl adds.
RECENT = """INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds
INFO: count=2190 first=1203 curr=222 min=219 max=1203 avg=225.531 std=30 p5=220 median=222 p95=234

INFO: Running benchmark for at least 1 iterations and at least 0.333 seconds
INFO: count=1480 first=225 curr=221 min=218 max=401 avg=224.802 std=11 p5=220 median=221 p95=240
"""
ALL_SAME = "count=5 curr=7(all same)\ncount=9 curr=7(all same) p5=7 median=7 p95=7\n"
ONE_CALL = "count=1 curr=3000000\ncount=1 curr=2999000\n"
LONG = "count=1 curr=9\ncount=3 first=1 curr=2 min=1234567 max=2 avg=1.23457e+06 std=1\n"


class TestBenchmarkModel:
    def test_an_old_one_tells_no_percentiles(self):
        found = read_statistics(OLD)
        assert found == CallStatistics(n=50, min_us=265837, mean_us=266473, p50_us=None, p95_us=None, steady=False)

    def test_a_recent_one_does(self):
        found = read_statistics(RECENT)
        assert found == CallStatistics(n=1480, min_us=218, mean_us=224.802, p50_us=221, p95_us=240, steady=True)

    @pytest.mark.parametrize(
        ("text", "n", "mean", "median"),
        [(ALL_SAME, 9, 7, 7), (ONE_CALL, 1, 2_999_000, 2_999_000), (LONG, 3, 1_234_570, None)],
    )
    def test_forms_of_the_line(self, text, n, mean, median):
        found = read_statistics(text)
        assert (found.n, found.mean_us, found.p50_us) == (n, mean, median)

    @pytest.mark.parametrize(
        "text",
        ["", "ERROR: Failed to open the model file\n", "count=50 first=1\n", "count=0\ncount=0 p5=0 median=0 p95=0\n",
         "count=1 curr=5\ncount=2 curr=5\n", "count=1 curr=5\ncount=1 curr=0\n", "count=3 curr=5(all same)\n"],
    )  # fmt: skip
    def test_anything_else_is_refused(self, text):
        with pytest.raises(OutputError, match="expected"):
            read_statistics(text)

    def test_command_line(self):
        words = runner_words(RunnerKind.LITERT, "./b", "m.tflite", "r.csv", threads=2, seconds=0.333, longest_s=130.0)
        assert words == [
            "./b", "--graph=m.tflite", "--min_secs=0.333", "--num_runs=1", "--max_secs=130", "--warmup_runs=1",
            "--warmup_min_secs=0.5", "--num_threads=2",
        ]  # fmt: skip


class TestPerfTest:
    def test_every_call_is_read(self):
        text = "".join(f"a,b,0.{number % 7 + 100:06d},20561920,99,{number}\n" for number in range(5000))
        found = read_calls(text)
        assert found.warmup_calls + len(found.all_ns) == 5000
        assert set(found.all_ns) == {(100 + number) * 1000 for number in range(7)}
        assert found.steady

    @pytest.mark.parametrize(
        "text",
        ["", "model,fast,1,1,0\n", "0.001\n", "m,-1,1,1,0\n", "m,nan,1,1,0\n", "m,0.1,1,1,0\n\nMin Latency: 1 s\n"],
    )
    def test_anything_else_is_refused(self, text):
        with pytest.raises(OutputError, match="expected"):
            read_calls(text)

    def test_command_line(self):
        words = runner_words(RunnerKind.ONNXRUNTIME, "./p", "m.onnx", "r.csv", threads=1, seconds=0.3, longest_s=9.0)
        assert words == ["./p", "-e", "cpu", "-I", "-t", "1", "-x", "1", "-y", "1", "m.onnx", "r.csv"]


class TestSettling:
    @pytest.mark.parametrize(
        ("times_ms", "warmup", "steady"),
        [
            ([10.0] * 100, 5, True),  # one block of 50 ms to compare with
            ([90.0, 75.0, 60.0] + [10.0] * 90, 5, True),
            ([1000.0], 0, False),
            ([100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0], 3, False),  # no more than half
        ],
    )
    def test_the_warm_up_ends_as_in_the_runtimes_loop(self, times_ms, warmup, steady):
        found = settle(np.array([round(value * 1e6) for value in times_ms], dtype=np.int64))
        assert (abs(found.warmup_calls - warmup) <= 1, found.steady) == (True, steady)
        assert found.warmup_calls + len(found.all_ns) == len(times_ms)
        assert all(len(block) <= 1000 for block in found.rounds_ns)


def process(**changes):
    values = {"n": 500, "min_us": 90.0, "mean_us": 105.0, "p50_us": 100.0, "p95_us": 130.0, "steady": True}
    return CallStatistics(**{**values, **changes})


def batches(statistics):
    found = []
    for number, one in enumerate(statistics):
        measured = NativeMeasurement(
            id="tflite-fp32", size_bytes=10, backend="litert", threads=1, runner="benchmark_model", statistics=one
        )
        measurement = Measurement(machine=None, auto_variant="tflite-fp32", variants=(measured,))
        found.append(Batch(began_s=number, took_s=1.0, measurement=measurement, conditions=Conditions()))
    return found


def judge(report, name, limit):
    evidence = Evidence(
        provenance=Provenance.MEASURED,
        variants={report.id: report},
        auto_variant=report.id,
        default_threads=1,
        bundle_bytes=0,
        own_backends={report.id: "litert"},
    )
    budget = Budget(profile="host", name=name, limit=limit)
    return check_budgets([budget], evidence)[0]


class TestFigures:
    MEDIANS = (100.0, 102.0, 98.0, 101.0, 99.0, 110.0)

    def report(self, **changes):
        return report_variant(
            batches([process(p50_us=median, **changes) for median in self.MEDIANS]), "tflite-fp32", sustained=False
        )

    def test_a_median_lies_between_those_of_the_processes(self):
        figure = self.report().figures[BudgetName.LATENCY_MS_P50]
        assert figure.value == 0.1
        assert (figure.low, figure.high) == (0.098, 0.110)
        assert figure.n == 3000

    def test_the_clocks_resolution_and_the_margin_widen_an_interval(self):
        same = [process(p50_us=10.0, p95_us=1000.0)] * 6
        figures = report_variant(batches(same), "tflite-fp32", sustained=False).figures
        assert figures[BudgetName.LATENCY_MS_P50].low == pytest.approx(0.009)
        assert figures[BudgetName.LATENCY_MS_P95].high == pytest.approx(1.0 * (1 + MARGIN))

    def test_few_processes_and_few_calls_have_no_interval(self):
        few = report_variant(batches([process()] * 5), "tflite-fp32", sustained=False).figures
        assert {figure.high for figure in few.values()} == {math.inf}
        slow = report_variant(batches([process(n=5)] * 6), "tflite-fp32", sustained=False).figures
        assert slow[BudgetName.LATENCY_MS_P95].high == math.inf
        assert slow[BudgetName.LATENCY_MS_P50].high < math.inf

    @pytest.mark.parametrize(
        ("name", "limit", "verdict"),
        [
            (BudgetName.LATENCY_MS_P50, 0.2, Verdict.PASS),
            (BudgetName.LATENCY_MS_P50, 0.09, Verdict.FAIL),
            (BudgetName.LATENCY_MS_P50, 0.101, Verdict.INCONCLUSIVE),
            (BudgetName.LATENCY_MS_P95, 0.2, Verdict.PASS),
            (BudgetName.LATENCY_MS_P99, 9.0, Verdict.NOT_MEASURED),
            (BudgetName.THROUGHPUT_PER_S, 5000.0, Verdict.PASS),
            (BudgetName.THROUGHPUT_PER_S, 20000.0, Verdict.FAIL),
            (BudgetName.COLD_START_MS, 9e9, Verdict.NOT_MEASURED),
            (BudgetName.PEAK_RSS_MB, 9e9, Verdict.NOT_MEASURED),
        ],
    )
    def test_budgets(self, name, limit, verdict):
        result = judge(self.report(), name, limit)
        assert result.verdict is verdict
        assert (result.value is None) == (verdict is Verdict.NOT_MEASURED)
        assert bool(result.reason) == (verdict in {Verdict.NOT_MEASURED, Verdict.INCONCLUSIVE})

    def test_an_old_program_has_throughput_only(self):
        old = [process(p50_us=None, p95_us=None)] * 6
        report = report_variant(batches(old), "tflite-fp32", sustained=True)
        assert set(report.figures) == {BudgetName.THROUGHPUT_PER_S}
        assert report.to_dict()["latency_ms"] == {"min": 0.09, "p50": None, "p95": None, "p99": None}
        assert "too old to print percentiles" in judge(report, BudgetName.LATENCY_MS_P50, 1.0).reason
        assert report.curve == ()

    def test_a_sustained_one_has_a_curve(self):
        found = report_variant(batches([process()] * 14), "tflite-fp32", sustained=True)
        assert (len(found.curve), found.curve[0].p50, found.processes) == (14, 0.1, 12)

    def test_a_process_that_failed_takes_the_figures(self):
        measured = batches([process()] * 2)
        broken = NativeMeasurement(id="tflite-fp32", size_bytes=10, runner="benchmark_model", failure="boom")
        measured.append(Batch(began_s=2.0, took_s=1.0, conditions=Conditions(), measurement=Measurement(
            machine=None, auto_variant=None, variants=(broken,))))  # fmt: skip
        report = report_variant(measured, "tflite-fp32", sustained=False)
        assert report.latency is None
        assert report.reason == "it ran in 2 process(es) and failed in the next: boom"


def elf(machine, *, order=1):
    return b"\x7fELF\x02" + bytes([order]) + bytes(10) + struct.pack("<HH", 3, machine) + bytes(100)


@pytest.mark.parametrize(
    ("content", "arch"),
    [(elf(183), "aarch64"), (elf(62), "x86_64"), (elf(40), "armv7l"), (elf(9999), None), (elf(183, order=2), None),
     (b"#!/bin/sh\n", None), (b"", None)],
)  # fmt: skip
def test_for_which_machine_a_program_is(content, arch):
    assert elf_arch(content) == arch


class TestRunner:
    def test_its_name_says_what_it_is(self, tmp_path):
        for name, kind in {
            "android_aarch64_benchmark_model": RunnerKind.LITERT,
            "onnxruntime_perf_test": RunnerKind.ONNXRUNTIME,
        }.items():
            (tmp_path / name).write_bytes(elf(183))
            assert (read_runner(tmp_path / name).kind, read_runner(tmp_path / name).arch) == (kind, "aarch64")

    def test_libraries_that_it_names_and_that_lie_beside_it_go_with_it(self, tmp_path):
        (tmp_path / "onnxruntime_perf_test").write_bytes(elf(62) + b"\0libonnxruntime.so.1\0")
        (tmp_path / "libonnxruntime.so.1").write_bytes(b"")
        (tmp_path / "libother.so").write_bytes(b"")
        assert read_runner(tmp_path / "onnxruntime_perf_test").libraries == (str(tmp_path / "libonnxruntime.so.1"),)

    @pytest.mark.parametrize(
        ("name", "message"),
        [("measure", "expected LiteRT's benchmark_model"), ("missing_benchmark_model", "No such file")],
    )
    def test_what_is_none_is_refused(self, tmp_path, name, message):
        with pytest.raises(InputError, match=message):
            read_runner(tmp_path / name)
