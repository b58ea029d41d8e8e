"""Benches of a simulated machine with everything in them that a report has words for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from edgeml_devices.against import SpeedComparison, SpeedRatio
from edgeml_devices.baseline import compare_with
from edgeml_devices.bench import bench
from edgeml_devices.conditions import Conditions
from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.emulator.found import EmulatedVariant, GoldenRun, LayerCounts
from edgeml_devices.intervals import Figure
from edgeml_devices.past import bench_facts
from edgeml_devices.profile_files import load_profile
from edgeml_devices.report import VariantReport, Verdict
from edgeml_devices.reports import TargetBench, make_record
from edgeml_runtime.contract import BudgetName, Provenance

BUDGETS = {
    "raspberry-pi-4b": {
        "latency_ms_p50": 0.5,
        "latency_ms_p95": 5.0,
        "cold_start_ms": 10.0,
        "bundle_mb": 1.0,
        "instructions": 1000.0,
    }
}
EVIL = 'a|b <img src="http://example.com/x.png" onerror="alert(1)"> `c` @team #1 *d* \x00\x1b \n## e'
MADE_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def scored(value):
    interval = {"low": value - 0.01, "high": min(1.0, value + 0.01), "level": 0.95, "method": "wilson"}
    return {"metric": {"name": "accuracy", "value": value, "interval": interval, "n": 400}}


def tiny_bundle(make_bundle, content, budgets=BUDGETS):
    """Three variants with different metrics and sizes; the one in the middle is beaten in everything."""
    variants = {"onnx-int8": content, "onnx-fp16": content, "onnx-fp32": content}
    changes = {"onnx-int8": {"metrics": scored(0.95)}, "onnx-fp16": {"metrics": scored(0.9)}}
    changes["onnx-fp32"] = {"metrics": scored(0.97)}
    return make_bundle(budgets, variants, changes)


def measured_variants(measured, samples):
    rng = np.random.default_rng(3)
    return [
        measured(name, samples(rng.lognormal(np.log(middle), 0.05, 60), rounds=2), size_bytes=size)
        for name, middle, size in (("onnx-int8", 1.0, 40_000), ("onnx-fp16", 3.0, 90_000), ("onnx-fp32", 2.0, 80_000))
    ]


def simulated_report(bundle, simulate, variants, machine="pi 4", conditions=None, **options):
    target = simulate(machine, *variants)
    target.conditions = conditions or Conditions(
        other_share=0.02, clock_mhz=1500.0, temperature_c=61.0, throttled=False, governor="ondemand"
    )
    report = bench(bundle, device="raspberry-pi-4b", target=target, time_limit_s=0.5, **options)
    return replace(report, measured_at=MADE_AT)


def compared(other="old-0.9.0.edgeml"):
    rows = (("onnx-int8", 1.21, 1.18, 1.24, Verdict.FAIL), ("onnx-fp32", 1.0, 0.98, 1.02, Verdict.PASS))
    ratios = tuple(
        SpeedRatio(variant=name, ratio=Figure(value=value, low=low, high=high, n=6), processes=6, verdict=verdict)
        for name, value, low, high, verdict in rows
    )
    return SpeedComparison(other=other, tolerance=0.05, ratios=ratios, left_out=("onnx-fp16",))


def beside(report, factor=0.5):
    """The bench beside an earlier one of which every time is that share of this one's."""
    values = report.to_dict()
    then = bench_facts(values, measured_at=MADE_AT)
    faster = tuple(
        replace(one, figures={name: _scaled(figure, factor) for name, figure in one.figures.items()})
        for one in then.variants
    )
    comparison = compare_with(replace(then, variants=faster), bench_facts(values, measured_at=MADE_AT))
    return comparison.to_dict() | {"file": "earlier.json"}


def _scaled(figure, factor):
    return replace(figure, value=figure.value * factor, low=figure.low * factor, high=figure.high * factor)


def record_of(bundle, report, *, exit_code=None, history=None, **more):
    values = report.to_dict() | {"against": None, "baseline": None} | more
    code = report.exit_code if exit_code is None else exit_code
    return make_record(bundle, [TargetBench(values=values, samples=report.samples)], exit_code=code, history=history)


LONG_NAME = "mobilenet/block_1/depthwise/BiasAdd;mobilenet/block_1/depthwise/conv;mobilenet/block_1/bias"


def counts(fp_fma=0, int8_dot=0, other=0):
    return ClassCounts(fp_fma=fp_fma, int8_dot=int8_dot, load_store=1_000, branch=200, other=other)


def emulated(id_, whole, layers, *, failure=None, warning=None, cpu="cortex-a76"):
    """A variant that was emulated: its golden vectors pass on the newest version, and on the counted one or not."""
    newest = GoldenRun(qemu="10.0.2", backend="onnxruntime", version="1.32.0", cases=10)
    counting = GoldenRun(qemu="7.2.22", backend="onnxruntime", version="1.24.4", cases=10, failure=failure)
    found = EmulatedVariant(
        cpu=cpu,
        newest=newest,
        counting=counting,
        calls=(whole.total,) * 20,
        counts=whole,
        layers=layers,
        layers_reason=None if layers else "its layers and the marks do not agree",
        warning=warning,
    )
    figure = Figure(value=float(whole.total), low=whole.total * 0.998, high=whole.total * 1.002, n=20)
    return VariantReport(
        id=id_,
        size_bytes=40_000,
        backend="onnxruntime",
        backend_version="1.24.4",
        threads=1,
        figures={BudgetName.INSTRUCTIONS: figure},
        emulated=found,
        reason=None if failure is None else f"onnxruntime 1.24.4: {failure}",
    )


def emulated_report(bundle, simulate, *, failure=None, warning=None, device="raspberry-pi-5", cpu="cortex-a76"):
    """In float and int8 with layers, in fp16 without them."""
    fp32 = (
        LayerCounts(name=LONG_NAME, type="FusedConv", counts=counts(fp_fma=1_200_000)),
        LayerCounts(name="scores", type="Softmax", counts=counts(other=400)),
    )
    int8 = (LayerCounts(name=EVIL, type="QLinearConv", counts=counts(int8_dot=400_000)),)
    variants = (
        emulated("onnx-int8", counts(int8_dot=400_000, other=100_000), int8, failure=failure, warning=warning, cpu=cpu),
        emulated("onnx-fp16", counts(fp_fma=1_250_000, other=300_000), (), cpu=cpu),
        emulated("onnx-fp32", counts(fp_fma=1_200_000, other=50_000), fp32, cpu=cpu),
    )
    report = simulated_report(bundle, simulate, [], "pc")
    machine = replace(report.machine, arch="aarch64", cpu=cpu, board=None, cores=1, clock_mhz=None)
    return replace(
        report,
        profile=load_profile(device),
        machine=machine,
        provenance=Provenance.EMULATED,
        mismatch=(),
        variants=variants,
        notes=(),
    )
