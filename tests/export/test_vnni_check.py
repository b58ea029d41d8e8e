"""The check of int8 variants on an emulated x86 without VNNI: 8-bit weights are found out, the shipped 7 bits pass."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export import VnniCheck, export_bundle, scheme
from edgeml_export.trial import fault
from edgeml_export.without_vnni import emulator
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.manifest import ModelFormat

needs_emulator = pytest.mark.skipif(emulator() is None, reason="no qemu-x86_64 7.2 or newer on Linux x86-64")
INT8 = ["onnx-int8", "onnx-int8-dynamic"]


class Summing(nn.Module):
    """uint8 [b, 64] → two logits: weights of one sign, and bright pixels, are what sums saturate with."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(64, 32), nn.Linear(32, 2)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            self.hidden.weight.copy_(torch.empty(32, 64).uniform_(0.5, 1.0, generator=generator))
            self.head.weight.copy_(torch.tensor([[1.0, -1.0]]).T.expand(2, 32) / 32)

    def forward(self, pixels):
        logits = self.head(torch.relu(self.hidden(pixels.to(torch.float32) / 255)))
        return {"logits": logits, "scores": torch.softmax(logits, -1)}


CONTRACT = {
    "model": {"name": "summing", "version": "1.0.0"},
    "inputs": [{"name": "pixels", "dtype": "uint8", "shape": [64], "range": [0, 255], "unit": "1", "source": "camera"}],
    "outputs": [
        {"name": "logits", "role": "logits", "shape": [2]},
        {"name": "scores", "role": "scores", "shape": [2], "labels": ["bright", "dark"]},
    ],
    "target": {"name": "kind", "kind": "classification"},
    "metric": {"primary": "accuracy", "floor": 0.1},
    "export": {"required": [], "float_scopes": []},
}


def export(tmp_path, variants, progress=lambda event: None):
    pixels = np.random.default_rng(0).integers(128, 256, (24, 64), dtype=np.uint8)
    items = LabelledData(inputs={"pixels": pixels}, targets=np.zeros(24, np.int64))
    contract = parse_contract(CONTRACT | {"export": {**CONTRACT["export"], "variants": variants}}, source="test")
    report = export_bundle(
        Summing(), contract=contract, calibration=items, test=items, out=tmp_path / "s.edgeml", progress=progress
    )
    return {variant.id: variant for variant in report.variants}


@pytest.mark.long
@needs_emulator
def test_seven_bit_weights_pass(tmp_path):
    steps = []
    reports = export(tmp_path, [*INT8, "onnx-fp32", "tflite-int8"], lambda event: steps.append(event.step))
    for variant_id in INT8:
        check = reports[variant_id].without_vnni
        assert reports[variant_id].reason is None
        assert check.checked
        assert check.items == 8 + 6, "golden vectors and hostile inputs"
        assert check.max_abs <= check.tolerance
        assert f"{variant_id} without VNNI" in steps
    assert reports["onnx-fp32"].without_vnni is None
    assert reports["tflite-int8"].without_vnni is None, "its kernels have no such sums"


@needs_emulator
def test_eight_bit_weights_are_refused(tmp_path, monkeypatch):
    """What quantizers make by default: right here, and wrong on an older CPU."""
    key = (ModelFormat.ONNX, scheme.Precision.INT8)
    monkeypatch.setitem(scheme._SCHEMES, key, replace(scheme._SCHEMES[key], weight_bits=8))
    report = export(tmp_path, ["onnx-int8"])["onnx-int8"]
    assert report.paired_loss.within, "here it is right"
    assert report.without_vnni.max_abs > 2 * report.without_vnni.tolerance
    assert report.reason.startswith("on an x86 CPU without VNNI the output '")
    assert "its sums saturate there" in report.reason
    assert not (tmp_path / "s.edgeml").exists()


def test_without_an_emulator_nothing_is_claimed(tmp_path, no_emulator):
    """The variant is shipped, and the report says that it was not checked."""
    report = export(tmp_path, ["onnx-int8"])["onnx-int8"]
    assert report.reason is None
    assert not report.without_vnni.checked
    assert report.to_dict()["without_vnni"]["checked"] is False


@pytest.mark.parametrize(
    ("compared", "max_abs", "refused"), [(14, 0.3, True), (14, 0.2, False), (14, 0.0, False), (0, 0.0, False)]
)
def test_what_is_off_by_more_than_the_golden_vectors_allow_is_refused(exported, compared, max_abs, refused):
    check = VnniCheck(items=compared, output="logits", max_abs=max_abs, tolerance=0.2)
    assert (check.fault is not None) is refused
    good = next(report for report in exported.report.variants if report.id == "onnx-int8")
    reason = fault(replace(good, without_vnni=check), exported.contract, {"logits": np.zeros((6, 4), np.float32)})
    assert reason == check.fault
    assert json.loads(json.dumps(check.to_dict()))["checked"] is (compared > 0)


@needs_emulator
def test_the_usual_export_was_checked(exported):
    checks = {report.id: report.without_vnni for report in exported.report.variants}
    assert checks["onnx-int8"].checked
    assert checks["onnx-int8"].fault is None
    assert checks["onnx-fp32"] is checks["tflite-int8"] is checks["tflite-fp32"] is None
