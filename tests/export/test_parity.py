"""Differences from PyTorch against numbers worked out by hand, and what they keep back: overall and on every slice."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edgeml_export.parity import decibels, measure_parity, sqnr_db
from edgeml_export.trial import fault

REFERENCE = np.array([[0.0, 2.0], [4.0, 2.0]], np.float32)
FOUND = REFERENCE + np.array([[0.5, 0.0], [0.0, 2.5]], np.float32)


def test_known_differences():
    """Signal 0 + 4 + 16 + 4 = 24, noise 0.25 + 6.25; 29 / √(24 · 40.5); variance (4 + 0 + 4 + 0) / 4."""
    parity = measure_parity("logits", REFERENCE, FOUND)
    assert (parity.output, parity.items) == ("logits", 2)
    assert (parity.max_abs, parity.mean_abs, parity.argmax_agreement) == (2.5, 0.75, 0.5)
    assert parity.sqnr_db == pytest.approx(10 * math.log10(24 / 6.5))
    assert parity.cosine == pytest.approx(29 / math.sqrt(24 * 40.5))
    assert parity.reference_std == pytest.approx(math.sqrt(2))
    assert parity.max_abs_of_std == pytest.approx(2.5 / math.sqrt(2))


def test_shape_and_dtype_make_no_difference():
    """Outputs of any shape are one vector per item; integers are compared as numbers."""
    flat = measure_parity("logits", REFERENCE, FOUND)
    assert measure_parity("logits", REFERENCE.reshape(2, 1, 2, 1), FOUND.reshape(2, 1, 2, 1)) == flat
    counts = measure_parity("logits", np.array([[0], [200]], np.uint8), np.array([[3], [198]], np.uint8))
    assert (counts.max_abs, counts.mean_abs) == (3, 2.5)


def test_equal_outputs():
    parity = measure_parity("logits", REFERENCE, REFERENCE)
    assert (parity.max_abs, parity.sqnr_db, parity.argmax_agreement) == (0, None, 1.0)
    assert parity.cosine == pytest.approx(1)


def test_an_output_without_spread():
    """With no spread there is no share of it; any difference is too much."""
    constant = np.ones((3, 1), np.float32)
    assert measure_parity("value", constant, constant).max_abs_of_std == 0
    assert measure_parity("value", constant, constant + 1e-6).max_abs_of_std == 1
    assert measure_parity("value", constant, constant).argmax_agreement is None


def test_an_output_of_zeros_has_no_direction():
    parity = measure_parity("value", np.zeros((2, 2)), np.ones((2, 2)))
    assert (parity.cosine, parity.sqnr_db) == (None, None)
    json.dumps(parity.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("power", "noise", "ratio"), [(100, 1, 20), (1, 100, -20), (2, 2, 0), (1, 0, math.inf), (0, 1, -math.inf)]
)
def test_decibels(power, noise, ratio):
    assert decibels(power, noise) == pytest.approx(ratio)
    signal = np.full(4, math.sqrt(power / 4))
    assert sqnr_db(signal, signal + math.sqrt(noise / 4)) == pytest.approx(ratio)


FINITE = {"logits": np.zeros((6, 4), np.float32)}


@pytest.mark.parametrize(("share", "shipped"), [(0.9e-4, True), (1.1e-4, False)])
def test_fp32_must_match_pytorch(exported, share, shipped):
    good = next(report for report in exported.report.variants if report.id == "onnx-fp32")
    report = replace(good, parity=replace(good.parity, max_abs=share, reference_std=1))
    reason = fault(report, exported.contract, FINITE)
    assert (reason is None) is shipped
    assert shipped or "differ from PyTorch's by up to 1.10e-04 of their standard deviation" in reason
    assert fault(replace(report, quantized=True), exported.contract, FINITE) is None, "int8 differs by its nature"


def test_a_loss_over_all_items_is_told(exported):
    good = next(report for report in exported.report.variants if report.id == "onnx-int8")
    lossy = replace(good, paired_loss=replace(good.paired_loss, drop=0.25, lost=25, gained=0, within=False))
    reason = fault(lossy, exported.contract, FINITE)
    assert reason.startswith("loses 0.2500 of accuracy against fp32 on the 101 test items (25 lost, 0 gained)")
    assert "export.max_metric_drop" in reason


def test_a_loss_on_one_slice_is_told_with_its_name(exported):
    good = next(report for report in exported.report.variants if report.id == "onnx-int8")
    losses = tuple(
        replace(part, loss=replace(part.loss, drop=0.2, within=False)) if part.name == "side=right" else part
        for part in good.slice_losses
    )
    reason = fault(replace(good, slice_losses=losses), exported.contract, FINITE)
    assert reason.startswith("on the slice side=right it loses 0.2000 of accuracy against fp32 over 50 test items")
    assert "export.max_slice_drop" in reason
    small = tuple(replace(part, too_small=True) for part in losses)
    assert fault(replace(good, slice_losses=small), exported.contract, FINITE) is None, "too few items to judge"


def shifted(converted, tone, by):
    """The same int8 file with another bias for one tone, so that its items are lost to the others."""
    model = onnx.load_from_string(converted.content)
    makers = {name: node for node in model.graph.node for name in node.output}
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    bias, scale = (constants[name] for name in makers[gemm.input[2]].input[:2])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[tone] += round(by / float(onnx.numpy_helper.to_array(scale)[tone]))
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    return replace(converted, content=model.SerializeToString())


def test_a_variant_that_loses_on_one_slice_alone_is_not_shipped(
    exported, replay, run_export, make_contract, items, occupied
):
    """One kind of tone is hardly ever there: its loss weighs little overall, and all on its slice."""
    rare = np.flatnonzero(items.test.targets == 2)[:7]
    test = items.test.take(np.concatenate([np.flatnonzero(items.test.targets != 2), rare]))
    replay(onnx_int8=shifted(exported.converted["onnx-int8"], 2, -8.0))
    rules = {"variants": ["onnx-int8"], "required": [], "max_metric_drop": 0.1, "max_slice_drop_items": 4}
    report = run_export(occupied.path, contract=make_contract(**rules), test=test, golden_files={})
    (variant,) = report.variants
    assert variant.paired_loss.within
    assert variant.reason.startswith("on the slice label=tone-2 it loses ")
    assert "over 7 test items" in variant.reason
    assert [part.name for part in variant.slice_losses if not part.within] == ["label=tone-2"]
    assert not report.ok
    occupied.assert_untouched()
