"""Verdicts: a pure function of limits and figures."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgeml_devices.budgets import Evidence, check_budgets
from edgeml_devices.intervals import Figure
from edgeml_devices.report import VariantReport, Verdict
from edgeml_runtime.contract import Budget, BudgetName, Provenance
from edgeml_runtime.measure.loop import LatencySummary

PASS, FAIL = Verdict.PASS, Verdict.FAIL
INCONCLUSIVE, NOT_MEASURED = Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED
P95 = BudgetName.LATENCY_MS_P95


def figure(value, low, high, n=1000):
    return Figure(value=value, low=low, high=high, n=n)


def variant(id_="onnx-int8", **changes):
    report = VariantReport(
        id=id_,
        size_bytes=1000,
        backend="onnxruntime",
        backend_version="1.32.0",
        threads=1,
        latency=LatencySummary(min=1, p50=2, p95=3, p99=4, n=1000, throughput_per_s=500),
        steady=True,
        figures={
            BudgetName.LATENCY_MS_P50: figure(2.0, 1.9, 2.1),
            BudgetName.LATENCY_MS_P95: figure(3.0, 2.8, 3.3),
            BudgetName.LATENCY_MS_P99: figure(4.0, 3.5, math.inf, n=100),
            BudgetName.THROUGHPUT_PER_S: figure(500.0, 480.0, 520.0),
            BudgetName.COLD_START_MS: figure(90.0, 85.0, 99.0, n=6),
            BudgetName.PEAK_RSS_MB: figure(50.0, 48.0, 50.0, n=6),
        },
    )
    return replace(report, **changes)


def evidence(*variants, **changes):
    given = variants or (variant(),)
    values = Evidence(
        provenance=Provenance.MEASURED,
        variants={report.id: report for report in given},
        auto_variant="onnx-int8",
        default_threads=1,
        bundle_bytes=2_500_000,
    )
    return replace(values, **changes)


def judge(budget, given=None):
    (result,) = check_budgets([budget], given or evidence())
    return result


DISTURBED = [
    (BudgetName.LATENCY_MS_P95, 2.5, INCONCLUSIVE),
    (BudgetName.THROUGHPUT_PER_S, 530.0, INCONCLUSIVE),
    (BudgetName.COLD_START_MS, 80.0, INCONCLUSIVE),
    (BudgetName.PEAK_RSS_MB, 40.0, FAIL),
    (BudgetName.BUNDLE_MB, 2.4, FAIL),
    (BudgetName.LATENCY_MS_P95, 3.4, PASS),
    (BudgetName.THROUGHPUT_PER_S, 470.0, PASS),
]


@pytest.mark.parametrize(("name", "value", "verdict"), DISTURBED)
def test_a_disturbed_machine_fails_no_time_and_still_passes_one(name, value, verdict):
    result = judge(limit(name, value), evidence(disturbance="other work took 60% of the cores"))
    assert result.verdict is verdict
    assert ("60%" in result.reason) == (verdict is INCONCLUSIVE)


def test_a_variant_that_does_not_fit_fails_what_counts_it():
    broken = variant(latency=None, figures={}, fits=False, reason="does not fit into the device's 64 MB of memory")
    given = evidence(broken)
    assert judge(limit(P95, 100.0), given).verdict is FAIL
    assert "does not fit" in judge(limit(P95, 100.0), given).reason
    assert judge(limit(BudgetName.BUNDLE_MB, 3.0), given).verdict is PASS
    assert judge(limit(BudgetName.INSTRUCTIONS, 1e9), given).verdict is NOT_MEASURED
    assert judge(limit(P95, 100.0, accepts=(Provenance.EMULATED,)), given).verdict is NOT_MEASURED


OPEN = [
    (BudgetName.LATENCY_MS_P50, 2.0, figure(2.0, 1.9, 2.1)),
    (BudgetName.LATENCY_MS_P99, 9.0, figure(4.0, 3.5, math.inf, n=100)),
    (BudgetName.COLD_START_MS, 90.0, figure(90.0, -math.inf, math.inf, n=2)),
]


@pytest.mark.parametrize(("name", "value", "found"), OPEN)
@pytest.mark.parametrize("more", ["the target was lost", "raise --sustained"])
def test_what_would_decide_it_is_said_by_who_measured(name, value, found, more):
    result = judge(limit(name, value), evidence(variant(figures={name: found}), more=more))
    assert result.verdict is INCONCLUSIVE
    assert more in result.reason
    assert "--time-limit" not in result.reason


def limit(name, value, **changes):
    return Budget(profile="host", name=name, limit=value, **changes)


DECIDED = [
    (BudgetName.LATENCY_MS_P50, 2.5, PASS),
    (BudgetName.LATENCY_MS_P50, 2.1, PASS),  # the limit itself is allowed
    (BudgetName.LATENCY_MS_P50, 2.05, INCONCLUSIVE),
    (BudgetName.LATENCY_MS_P50, 1.95, INCONCLUSIVE),
    (BudgetName.LATENCY_MS_P50, 1.9, INCONCLUSIVE),
    (BudgetName.LATENCY_MS_P50, 1.8, FAIL),
    (BudgetName.LATENCY_MS_P95, 3.4, PASS),
    (BudgetName.LATENCY_MS_P95, 2.5, FAIL),
    (BudgetName.LATENCY_MS_P99, 1000.0, INCONCLUSIVE),  # without an upper end nothing passes
    (BudgetName.LATENCY_MS_P99, 3.0, FAIL),  # but it can fail
    (BudgetName.THROUGHPUT_PER_S, 470.0, PASS),  # a lower limit
    (BudgetName.THROUGHPUT_PER_S, 500.0, INCONCLUSIVE),
    (BudgetName.THROUGHPUT_PER_S, 530.0, FAIL),
    (BudgetName.COLD_START_MS, 100.0, PASS),
    (BudgetName.COLD_START_MS, 80.0, FAIL),
    (BudgetName.PEAK_RSS_MB, 50.0, PASS),
    (BudgetName.PEAK_RSS_MB, 49.0, INCONCLUSIVE),
    (BudgetName.PEAK_RSS_MB, 40.0, FAIL),
    (BudgetName.BUNDLE_MB, 2.5, PASS),
    (BudgetName.BUNDLE_MB, 2.4, FAIL),
]


@pytest.mark.parametrize(("name", "value", "verdict"), DECIDED)
def test_the_interval_decides(name, value, verdict):
    result = judge(limit(name, value))
    assert result.verdict is verdict
    assert (result.name, result.limit, result.variant) == (name, value, "onnx-int8")
    assert result.value is not None
    assert bool(result.reason) == (verdict is INCONCLUSIVE)


def test_too_few_calls_say_how_many_are_needed():
    assert "100 calls are too few, 368 are needed" in judge(limit(BudgetName.LATENCY_MS_P99, 5.0)).reason


OTHERWISE_MEASURED = [
    ({"backend": "litert"}, "for backend litert; measured with onnxruntime: bench with --backend litert"),
    ({"backend_version": "1.31"}, "for onnxruntime 1.31; measured with 1.32.0"),
    ({"backend_version": "1.3"}, "for onnxruntime 1.3; measured with 1.32.0"),
    ({"threads": 4}, "for 4 thread(s); measured with 1: bench with --threads 4"),
    ({"variant": "onnx-fp32"}, "variant onnx-fp32 was not benched"),
    ({"accepts": (Provenance.EMULATED,)}, "accepts emulated figures only"),
]


@pytest.mark.parametrize(("change", "reason"), OTHERWISE_MEASURED)
def test_a_budget_for_another_way_of_measuring_is_not_measured(change, reason):
    result = judge(limit(P95, 100.0, **change))
    assert (result.verdict, result.value) == (NOT_MEASURED, None)
    assert reason in result.reason


@pytest.mark.parametrize("version", ["1.32.0", "1.32", "1"])
def test_a_backend_version_covers_its_patch_releases(version):
    assert judge(limit(P95, 100.0, backend="onnxruntime", backend_version=version)).verdict is PASS


def test_a_budget_without_a_backend_is_for_the_variant_s_own():
    elsewhere = evidence(
        variant(backend="openvino", backend_version="2026.4.1"), own_backends={"onnx-int8": "onnxruntime"}
    )
    result = judge(limit(P95, 100.0), elsewhere)
    assert (result.verdict, result.value) == (NOT_MEASURED, None)
    assert result.reason.endswith("for backend onnxruntime; measured with openvino: bench without --backend")
    assert judge(limit(P95, 100.0, backend="onnxruntime"), elsewhere).verdict is NOT_MEASURED
    assert judge(limit(P95, 100.0, backend="openvino", backend_version="2026.4"), elsewhere).verdict is PASS
    assert judge(limit(P95, 1.0, backend="openvino"), elsewhere).verdict is FAIL


def test_a_budget_without_threads_is_for_the_number_of_the_profile():
    assert judge(limit(P95, 100.0), evidence(default_threads=4)).verdict is NOT_MEASURED
    assert judge(limit(P95, 100.0), evidence(variant(threads=4), default_threads=4)).verdict is PASS


def test_a_budget_names_its_variant_and_else_takes_the_one_of_auto():
    slow = variant("onnx-fp32", figures={P95: figure(30.0, 29.0, 31.0)})
    given = evidence(variant(), slow)
    assert judge(limit(P95, 10.0), given).verdict is PASS
    assert judge(limit(P95, 10.0, variant="onnx-fp32"), given).verdict is FAIL
    assert judge(limit(P95, 10.0), replace(given, auto_variant="onnx-fp32")).verdict is FAIL


def test_instructions_are_not_measured_here():
    result = judge(limit(BudgetName.INSTRUCTIONS, 1e9))
    assert result.verdict is NOT_MEASURED
    assert "emulation" in result.reason


def test_without_the_device_only_the_size_is_decided():
    given = evidence(provenance=None)
    assert judge(limit(P95, 100.0), given).verdict is NOT_MEASURED
    assert judge(limit(BudgetName.BUNDLE_MB, 3.0), given).verdict is PASS
    assert judge(limit(BudgetName.BUNDLE_MB, 2.0), given).verdict is FAIL


def test_a_variant_that_failed_says_why():
    broken = variant(latency=None, figures={}, reason="ended by signal SIGSEGV")
    assert judge(limit(P95, 1.0), evidence(broken)).reason == "ended by signal SIGSEGV"


def test_without_any_variant_that_runs_nothing_is_measured():
    result = judge(limit(P95, 1.0), evidence(auto_variant=None))
    assert (result.verdict, result.variant) == (NOT_MEASURED, None)
    assert "install a backend" in result.reason


def test_results_keep_the_order_of_the_budgets():
    budgets = [limit(BudgetName.BUNDLE_MB, 3.0), limit(P95, 1.0), limit(BudgetName.PEAK_RSS_MB, 60.0)]
    assert [result.name for result in check_budgets(budgets, evidence())] == [budget.name for budget in budgets]


def test_no_budgets_give_no_results():
    assert check_budgets([], evidence()) == ()
