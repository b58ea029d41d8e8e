"""Hostile inputs: what they are for every kind of input, how they are judged, and that they keep a variant back."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeml_export.hostile import HOSTILE_CASES, hostile_inputs, judge_hostile, unbounded
from edgeml_export.trial import fault
from edgeml_runtime.tensors import DType, InputSpec
from edgeml_runtime.validate import accept_batch


def spec(dtype, shape, low, high):
    return InputSpec(name="x", dtype=DType(dtype), shape=shape, range=(low, high), unit="1", source="probe")


INPUTS = {
    "pixels": spec("uint8", (8, 8, 3), 0, 255),
    "a part of the pixels": spec("uint8", (4, 4), 16, 235),
    "samples": spec("int16", (256,), -32768, 32767),
    "bytes": spec("int8", (5,), -128, 127),
    "counts": spec("int32", (3,), 0, 2**31 - 1),
    "the widest integers": spec("int64", (3,), -(2**63), 2**63 - 1),
    "floats": spec("float32", (7,), -1, 1),
    "floats far from zero": spec("float32", (7,), 20, 100),
    "negative floats": spec("float32", (7,), -40, -3),
    "the widest floats": spec("float32", (7,), -3e38, 3e38),
    "integers between fractions": spec("int16", (9,), 0.5, 99.5),
    "one number": spec("float32", (1,), 0, 120),
    "a number without a shape": spec("float32", (), 0, 120),
}


def of(contract, *specs):
    return replace(contract, inputs=specs)


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
def test_items_are_what_a_device_would_take(make_contract, given):
    found = hostile_inputs(of(make_contract(), given))["x"]
    assert found.shape == (len(HOSTILE_CASES), *given.shape)
    assert found.dtype.name == given.dtype.value
    accept_batch(found, given)
    assert np.array_equal(found, hostile_inputs(of(make_contract(), given))["x"])


@pytest.mark.parametrize(
    ("name", "zero", "lowest", "full"),
    [
        ("pixels", 0, 0, 255),
        ("a part of the pixels", 16, 16, 235),
        ("samples", 0, -32768, 32767),
        ("floats far from zero", 20, 20, 100),
        ("negative floats", -3, -40, -3),
        ("integers between fractions", 1, 1, 99),
        ("one number", 0, 0, 120),
    ],
)
def test_cases_are_what_their_names_say(make_contract, name, zero, lowest, full):
    found = dict(zip(HOSTILE_CASES, hostile_inputs(of(make_contract(), INPUTS[name]))["x"], strict=True))
    assert set(found["zero"].ravel()) == {zero}, "rest, or what is nearest to it"
    assert set(found["lowest"].ravel()) == {lowest}
    assert set(found["full scale"].ravel()) == {full}
    impulse = found["impulse"].ravel()
    assert Counter(impulse.tolist())[full] >= 1
    assert set(impulse) == ({zero, full} if impulse.size > 1 else {full})
    assert list(impulse).index(full) == impulse.size // 2 if zero != full else True
    alternating = found["alternating"].ravel()
    assert set(alternating[0::2]) == {lowest}
    assert set(alternating[1::2]) in ({full}, set())
    noise = found["noise"].ravel()
    assert noise.size == 1 or len(set(noise.tolist())) > noise.size // 2


def test_every_input_of_a_model_has_its_items(make_contract):
    contract = of(make_contract(), INPUTS["pixels"], replace(INPUTS["one number"], name="age"))
    found = hostile_inputs(contract)
    assert {name: array.shape[1:] for name, array in found.items()} == {"x": (8, 8, 3), "age": (1,)}


def outputs(**changed):
    """What a model gives for the six cases: two logits each."""
    return np.array([changed.get(case.replace(" ", "_"), [1.0, -4.0]) for case in HOSTILE_CASES], np.float32)


def test_differences_are_judged_by_what_the_output_spans():
    found = judge_hostile(outputs(), outputs(noise=[1.0, -3.5]), tolerance=0.1)
    assert [result.case for result in found] == list(HOSTILE_CASES)
    assert [result.allowed for result in found] == [pytest.approx(0.4)] * 6, "a tenth of 4"
    assert [result.max_abs for result in found] == [0, 0, 0, 0, pytest.approx(0.5), 0]
    assert [result.within for result in found] == [True, True, True, True, False, True]
    noise = found[4]
    assert (noise.mean_abs, noise.sqnr_db) == (pytest.approx(0.25), pytest.approx(10 * math.log10(17 / 0.25)))
    assert noise.cosine == pytest.approx((1 + 4 * 3.5) / math.sqrt(17 * 13.25))
    assert (found[0].mean_abs, found[0].sqnr_db, found[0].cosine) == (0, None, pytest.approx(1))
    small = judge_hostile(outputs() / 100, outputs() / 100 + 0.05, tolerance=0.1)
    assert [result.allowed for result in small] == [pytest.approx(0.1)] * 6, "at least a tenth of 1"


def test_decisions_are_compared():
    found = judge_hostile(outputs(), outputs(zero=[-1.0, 2.0]), tolerance=None)
    assert [result.same_decision for result in found] == [False, True, True, True, True, True]
    assert all(result.within for result in found), "int8 saturates; only NaN and infinity are refused"
    single = judge_hostile(outputs()[:, :1], outputs()[:, :1], tolerance=None)
    assert [result.same_decision for result in single] == [None] * 6


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_told(value):
    bad = outputs(full_scale=[value, 0.0])
    assert unbounded({"logits": outputs()}) is None
    assert "output 'logits' is NaN or infinite for the hostile input 'full scale'" in unbounded({"logits": bad})
    for reference, found in ((outputs(), bad), (bad, outputs()), (bad, bad)):
        result = judge_hostile(reference, found, tolerance=0.1)[2]
        assert math.isnan(result.max_abs)
        assert not result.within
        assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["max_abs"] is None


def test_a_variant_that_is_off_on_an_extreme_is_refused(exported):
    good = next(report for report in exported.report.variants if report.id == "onnx-fp32")
    finite = {"logits": np.zeros((6, 4), np.float32)}
    assert fault(good, exported.contract, finite) is None
    hostile = tuple(
        replace(result, max_abs=2.0, allowed=1.5) if result.case == "alternating" else result for result in good.hostile
    )
    reason = fault(replace(good, hostile=hostile), exported.contract, finite)
    assert reason == "for the hostile input 'alternating' it is off by 2.00e+00, 1.50e+00 is allowed"


@pytest.mark.parametrize("variant_id", ["onnx-fp32", "tflite-int8"])
@pytest.mark.parametrize("output", ["logits", "scores"])
def test_a_variant_that_gives_nan_on_an_extreme_is_refused(exported, variant_id, output):
    """Of an int8 variant nothing else is asked there, and of other outputs than the deciding one."""
    good = next(report for report in exported.report.variants if report.id == variant_id)
    found = {"logits": np.zeros((6, 4), np.float32), "scores": np.full((6, 4), 0.25, np.float32)}
    assert fault(good, exported.contract, found) is None
    found[output][2, 1] = np.nan
    reason = fault(good, exported.contract, found)
    assert reason.startswith(f"output '{output}' is NaN or infinite for the hostile input 'full scale'")


class Rooted(nn.Module):
    """NaN for a peak that no recording reaches, and that the contract allows."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, waveform):
        peak = waveform.to(torch.float32).amax(1, keepdim=True)
        logits = self.inner(waveform)["logits"] + 0 * torch.sqrt(32766.5 - peak)
        return {"logits": logits, "scores": torch.softmax(logits, -1)}


def test_nan_on_an_extreme_keeps_every_variant_back(trained, run_export, make_contract, items, occupied, no_emulator):
    quieter = {
        name: replace(part, inputs={"waveform": np.minimum(part.inputs["waveform"], 32000)})
        for name, part in (("calibration", items.train), ("test", items.test))
    }
    contract = make_contract(variants=["onnx-fp32", "tflite-fp32"], required=[], float_scopes=[])
    report = run_export(occupied.path, fused=Rooted(trained), contract=contract, golden_files={}, **quieter)
    assert not report.ok
    for variant in report.variants:
        assert "output" in variant.reason
        assert "is NaN or infinite for the hostile input 'full scale'" in variant.reason, "or PyTorch's own is"
        assert "narrow the range" in variant.reason
        assert variant.metric.value > 0.9, "the test set says nothing of it"
    json.dumps(report.to_dict(), allow_nan=False)
    occupied.assert_untouched()
