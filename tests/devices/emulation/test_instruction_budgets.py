"""Budgets for instructions, and what counts for and against a count."""

from dataclasses import replace

import pytest

from edgeml_devices.budgets import Evidence, check_budgets
from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.emulator.found import EmulatedVariant, GoldenRun
from edgeml_devices.emulator.variant import int8_warning
from edgeml_devices.intervals import Figure
from edgeml_devices.report import VariantReport, Verdict
from edgeml_runtime.contract import Budget, BudgetName, Provenance
from edgeml_runtime.contract_parse import parse_contract

PASS, FAIL, INCONCLUSIVE, NOT_MEASURED = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED
NEWEST = GoldenRun(qemu="10.0.2", backend="onnxruntime", version="1.32.0", cases=10)
COUNTING = GoldenRun(qemu="7.2.22", backend="onnxruntime", version="1.24.4", cases=10)


def counted(value=100_000, **changes):
    found = EmulatedVariant(
        cpu="cortex-a76",
        newest=NEWEST,
        counting=COUNTING,
        calls=(value,),
        counts=ClassCounts(other=value),
    )
    return VariantReport(
        id="onnx-int8",
        size_bytes=1000,
        backend="onnxruntime",
        backend_version="1.24.4",
        threads=1,
        figures={BudgetName.INSTRUCTIONS: Figure(value=value, low=value * 0.998, high=value * 1.002, n=20)},
        emulated=replace(found, **changes),
    )


def budget(limit=200_000, **changes):
    common = {"variant": "onnx-int8", "backend_version": "1.24", "accepts": (Provenance.EMULATED,)}
    return Budget(profile="raspberry-pi-5", name=BudgetName.INSTRUCTIONS, limit=limit, **{**common, **changes})


def judge(asked, report, provenance=Provenance.EMULATED, threads=1):
    evidence = Evidence(
        provenance=provenance,
        variants={report.id: report},
        auto_variant="onnx-int8",
        default_threads=threads,
        bundle_bytes=1,
        own_backends={"onnx-int8": "onnxruntime"},
    )
    (result,) = check_budgets([asked], evidence)
    return result


@pytest.mark.parametrize(
    ("limit", "verdict"), [(100_300, PASS), (99_700, FAIL), (100_100, INCONCLUSIVE), (99_900, INCONCLUSIVE)]
)
def test_the_limit_decides_beyond_what_counts_differ_by(limit, verdict):
    result = judge(budget(limit), counted())
    assert (result.verdict, result.value) == (verdict, 100_000)
    assert "time-limit" not in result.reason


def test_another_version_than_devices_get_says_nothing_certain():
    result = judge(budget(backend_version=None), counted())
    assert result.verdict is INCONCLUSIVE
    assert result.value == 100_000
    assert 'backend_version = "1.24.4"' in result.reason
    assert "1.32.0" in result.reason
    assert judge(budget(backend_version=None), counted(newest=replace(NEWEST, version="1.24.4"))).verdict is PASS


def test_a_budget_for_a_version_that_was_not_counted_is_not_measured():
    result = judge(budget(backend_version="1.32"), counted())
    assert result.verdict is NOT_MEASURED
    assert "measured with 1.24.4" in result.reason


@pytest.mark.parametrize(
    ("asked", "changes", "provenance", "text"),
    [
        (budget(accepts=(Provenance.MEASURED,)), {}, Provenance.EMULATED, "accepts measured"),
        (budget(threads=4), {}, Provenance.EMULATED, "4 thread"),
        (budget(backend="openvino"), {}, Provenance.EMULATED, "openvino"),
        (budget(), {"emulated": None, "figures": {}}, Provenance.MEASURED, "--on emulator"),
        (budget(), {}, None, "emulated CPU is not the one"),
        (budget(), {"figures": {}}, Provenance.EMULATED, "no such figure"),
    ],
)
def test_what_does_not_count(asked, changes, provenance, text):
    result = judge(asked, replace(counted(), **changes), provenance)
    assert result.verdict is NOT_MEASURED
    assert text in result.reason


@pytest.mark.parametrize("run", ["newest", "counting"])
def test_golden_vectors_that_fail_fail_the_budget(run):
    broken = replace(NEWEST if run == "newest" else COUNTING, failure="1 of 10 golden cases fail")
    report = replace(counted(**{run: broken}), reason="onnxruntime 1.32.0: 1 of 10 golden cases fail")
    result = judge(budget(), report)
    assert result.verdict is FAIL
    assert "golden cases fail" in result.reason


def test_the_profile_may_have_more_threads():
    assert judge(budget(), counted(), threads=4).verdict is PASS


def test_times_are_not_told_by_counts():
    asked = Budget(profile="raspberry-pi-5", name=BudgetName.LATENCY_MS_P95, limit=1.0, accepts=(Provenance.EMULATED,))
    result = judge(asked, counted())
    assert (result.verdict, result.value) == (NOT_MEASURED, None)


DOCUMENT = {
    "model": {"name": "m", "version": "1.0.0"},
    "inputs": [{"name": "x", "dtype": "float32", "shape": [2], "range": [0, 1], "unit": "1", "source": "s"}],
    "outputs": [{"name": "y", "role": "scores", "dtype": "float32", "shape": [2], "labels": ["a", "b"]}],
    "target": {"name": "t", "kind": "classification"},
    "metric": {"primary": "accuracy", "floor": 0.5},
}


def test_a_contract_accepts_emulated_instructions_and_measured_times():
    limits = {"instructions": 5, "latency_ms_p95": 1, "bundle_mb": {"limit": 1}}
    contract = parse_contract({**DOCUMENT, "budgets": {"raspberry-pi-5": limits}}, source="test")
    assert {one.name.value: [each.value for each in one.accepts] for one in contract.budgets} == {
        "latency_ms_p95": ["measured"],
        "bundle_mb": ["measured"],
        "instructions": ["emulated"],
    }


@pytest.mark.parametrize(
    ("counts", "features", "text"),
    [
        ({"widening_multiply": 5}, {"asimd"}, None),
        ({"widening_multiply": 5}, {"asimddp"}, "uses none"),
        ({"int8_dot": 5}, {"asimddp"}, None),
        ({"int8_dot": 5}, {"asimddp", "i8mm"}, "dot products only"),
        ({"other": 5}, {"asimddp", "i8mm"}, "neither"),
        ({"int8_matrix": 5}, {"asimddp", "i8mm"}, None),
        ({"other": 5}, {"avx_vnni"}, "uses none"),
    ],
)
def test_a_warning_where_the_cpu_could_do_more(counts, features, text):
    found = int8_warning("onnx-int8", ClassCounts(**counts), frozenset(features))
    assert found is None if text is None else text in found
    assert int8_warning("onnx-fp32", ClassCounts(**counts), frozenset(features)) is None
