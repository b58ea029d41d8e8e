"""The roofline: where operators lie, what a target that cannot profile says, and what is drawn."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET

import pytest

from edgeml_devices.bench import bench
from edgeml_devices.ceilings import Ceiling, joined
from edgeml_devices.operators import OperatorProfile, OperatorRow
from edgeml_devices.pages.roofline_chart import roofline_svg
from edgeml_devices.pages.roofline_part import roofline_part
from edgeml_devices.profiling import profile_bench
from edgeml_devices.reports.record import TargetBench
from edgeml_devices.roofline import Bound, roofline_of
from edgeml_devices.targets import Ended, LocalTarget
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.measure.report import VariantMeasurement

CEILINGS = (
    Ceiling(name="memcpy_gb_per_s", how="memcpy", threads=1, rates=(4.0, 5.0)),
    Ceiling(name="memset_gb_per_s", how="memset", threads=1, rates=(8.0, 8.0)),
    Ceiling(name="fp32_gmac_per_s", how="product", threads=1, rates=(20.0, 19.9)),
    Ceiling(name="int8_gmac_per_s", how="product", threads=1, rates=(80.0, 79.9)),
)


def row(name="conv", macs=2_000_000, bytes_=1_000_000, time_ms=0.4, precision="float32", **changes):
    rate = macs / time_ms / 1e6 if macs else None
    values = {"type": "Conv", "kernel": None, "share": 0.5, "gmac_per_s": rate}
    return OperatorRow(
        **{"name": name, "macs": macs, "bytes": bytes_, "time_ms": time_ms, "precision": precision, **values, **changes}
    )


def profile(*rows, plain_ms=1.0, **changes):
    values = {"variant": "v", "backend": "onnxruntime", "threads": 1, "profiler": "p", "resolution_us": 1.0, "runs": 9}
    return OperatorProfile(**values | {"plain_ms": plain_ms, "profiled_ms": 2.0, "rows": rows} | changes)


# The bandwidth is twice memcpy's 5 GB/s: the roofs of float32 and int8 bend at 2 and at 8 MAC per byte.
@pytest.mark.parametrize(
    ("precision", "intensity", "roof", "bound"),
    [
        ("float32", 0.5, 5.0, Bound.BANDWIDTH),
        ("float32", 1.9, 19.0, Bound.BANDWIDTH),
        ("float32", 2.0, 20.0, Bound.ARITHMETIC),
        ("float32", 100.0, 20.0, Bound.ARITHMETIC),
        ("int8", 4.0, 40.0, Bound.BANDWIDTH),
        ("int8", 9.0, 80.0, Bound.ARITHMETIC),
    ],
)
def test_roof(precision, intensity, roof, bound):
    (model,) = roofline_of(
        CEILINGS, [profile(row(macs=round(1e6 * intensity), precision=precision), plain_ms=0.5)]
    ).models
    (point,) = model.points
    assert point.roof_gmac_per_s == pytest.approx(roof)
    assert (point.bound, model.bound) == (bound, bound)
    assert point.of_roof == pytest.approx(intensity / 0.4 / roof)
    assert model.of_roof == pytest.approx(intensity / roof / 0.5)


def test_a_whole_model_is_as_fast_as_its_operators_could_be_each_at_its_roof():
    rows = [row("a"), row("b", macs=100_000), row("softmax", macs=0, bytes_=None, precision=None)]
    (model,) = roofline_of(CEILINGS, [profile(*rows)]).models
    assert model.least_ms == pytest.approx(2.0 / 20 + 0.1 / 1.0)
    assert model.of_roof == pytest.approx(0.2)
    assert (len(model.points), model.left_out) == (2, 0)


@pytest.mark.parametrize(
    "unknown",
    [row(macs=None), row(bytes_=None), row(precision="float16"), row(precision="float32 × int8")],
)
def test_an_operator_without_a_place_makes_the_whole_unknown(unknown):
    (model,) = roofline_of(CEILINGS, [profile(row("a"), unknown)]).models
    assert (model.least_ms, model.of_roof, model.bound, model.left_out) == (None, None, None, 1)


def test_an_operator_above_flat_roof_shows_that_the_roof_is_too_low():
    assert not roofline_of(CEILINGS, [profile(row(time_ms=0.1))]).too_low
    assert roofline_of(CEILINGS, [profile(row(time_ms=0.09))]).too_low
    cached = row(macs=100_000, time_ms=0.01)  # ten times what the memory gives: its data are in a cache
    assert not roofline_of(CEILINGS, [profile(cached)]).too_low


def test_ceilings_of_two_measurements_are_one():
    later = tuple(Ceiling(name=one.name, how=one.how, threads=1, rates=(6.0,)) for one in CEILINGS[:2])
    assert [(one.name, one.value) for one in joined(CEILINGS, later)] == [
        ("memcpy_gb_per_s", 6.0),
        ("memset_gb_per_s", 8.0),
    ]


class ScriptedTarget(LocalTarget):
    """Answers instead of running Python, and remembers the words."""

    def __init__(self, profiler):
        super().__init__()
        self.profiler = profiler
        self.words = []

    def run_python(self, words, *, model, limit_s, progress):
        self.words.append(words)
        if words[0] == "-c":
            answer = [{"name": one.name, "how": one.how, "rates": one.rates} for one in CEILINGS]
            return Ended(status=0, output=json.dumps(answer), messages="")
        if isinstance(self.profiler, Exception):
            raise self.profiler
        return self.profiler


@pytest.fixture
def benched(make_bundle, simulate, measured, samples, model_content):
    """A bench of two variants, the second of which did not run."""

    def make(device="host", threads=1):
        path = make_bundle(variants={"onnx-fp32": model_content, "onnx-int8": model_content})
        ran = measured("onnx-fp32", samples([1.0]), threads=threads)
        failed = VariantMeasurement(id="onnx-int8", size_bytes=1, failure="cannot load the model")
        return bench(path, device=device, target=simulate("pc", ran, failed))

    return make


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended(status=-11, output="", messages=""), "the profiled process was ended by signal SIGSEGV"),
        (Ended(status=1, output="junk", messages="a\nKilled\n"), "ended with status 1 and no answer: Killed"),
        (Ended(status=0, output='{"error": "no times"}', messages=""), "no times"),
    ],
)
def test_a_profile_that_crashes_is_survived(benched, ended, reason):
    target = ScriptedTarget(ended)
    report = profile_bench(benched(threads=2), target)
    crashed, broken = report.profiled.profiles
    assert reason in crashed.reason
    assert broken.reason == "cannot load the model"
    assert report.profiled.roofline is None
    assert json.loads(json.dumps(report.to_dict()))["operators"][0]["reason"] == crashed.reason
    assert [words[2] for words in target.words if words[0] == "-c"] == ["2", "2"]
    assert len(target.words) == 3  # what did not run in the bench is not profiled


def test_a_target_lost_meanwhile_keeps_the_bench(benched):
    report = profile_bench(benched(), ScriptedTarget(TargetError("gone")))
    assert (report.lost, report.exit_code) == ("gone", 3)
    assert report.variants[0].latency is not None


def test_a_target_without_python_cannot_profile(benched, simulate):
    with pytest.raises(InputError, match="needs a Python on the device"):
        profile_bench(benched(), simulate("pc"))


def test_a_bench_that_measured_nothing_is_not_profiled(benched):
    report = profile_bench(benched("raspberry-pi-4b"), ScriptedTarget(TargetError("not asked")))
    assert report.profiled is None
    assert report.notes[-1] == "no operators were profiled, because nothing was measured"
    assert (report.to_dict()["operators"], report.to_dict()["roofline"]) == (None, None)


def test_a_bench_is_profiled_here(benched):
    report = profile_bench(benched(), LocalTarget(), seconds=0.05, rounds=1)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    first = values["operators"][0]
    assert (first["reason"], [one["type"] for one in first["rows"]]) == (None, ["Softmax"])
    assert set(values["roofline"]["peaks_gmac_per_s"]) == {"float32", "int8"}
    assert values["roofline"]["threads"] == 1


def shown(*rows):
    found = profile(*rows)
    return {"operators": [found.to_dict()], "roofline": roofline_of(CEILINGS, [found]).to_dict(), "device": "host"}


def test_the_chart_has_a_dot_per_operator_and_a_roof_per_precision():
    values = shown(row("a", share=0.6), row("b & c", macs=100_000, precision="int8"), row("d", macs=0, precision=None))
    drawn = ET.fromstring(roofline_svg(values["roofline"], "v"))
    dots = list(drawn.iter("circle"))
    titles = [one.text for one in drawn.iter("title")]
    assert len(dots) == 2
    assert any("(b & c), int8: 0.1 MAC per byte, at least 0.25 GMAC/s, 25% of its roof" in text for text in titles)
    lines = [one.get("d") for one in drawn.iter("path") if one.get("class") == "line s1"]
    assert len([one for one in lines if one.count("L") == 2]) == 1
    assert all(math.isfinite(float(one.get("cx"))) for one in dots)


def test_the_page_has_the_part_where_there_is_a_profile():
    assert roofline_part(TargetBench(values={"operators": None, "roofline": None, "device": "x"}, samples={})) is None
    values = shown(row("a"), row("tiny", time_ms=0.0001, macs=0))
    part = roofline_part(TargetBench(values=values, samples={}))
    html = "".join(part.html)
    assert html.count("<svg") == 1
    assert "&lt; 1" in html
    failed = {"operators": [OperatorProfile(variant="v", reason="<no>").to_dict()], "roofline": None, "device": "x"}
    assert "Not profiled: &lt;no&gt;" in "".join(roofline_part(TargetBench(values=failed, samples={})).html)


def test_a_process_that_crashes_or_hangs_here_is_told(tmp_path):
    run = LocalTarget().run_python
    crash = run(["-c", "import os; os.abort()"], model=None, limit_s=60, progress=print)
    assert (crash.status, crash.output) == (-6, "")
    place = tmp_path / 'a "model".onnx'
    told = run(
        ["-c", "import json, sys; print(json.loads(sys.argv[1]))", '"{model}"'],
        model=str(place),
        limit_s=60,
        progress=print,
    )
    assert told.output == f"{place}\n"
    with pytest.raises(TargetError, match=r"this machine: a process did not end within 0.2 s and was killed"):
        run(["-c", "import time; time.sleep(60)"], model=None, limit_s=0.2, progress=print)
