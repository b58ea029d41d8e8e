"""A model with an image and a number that may be missing, and outputs that stand in no alphabetical order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export import export_bundle
from edgeml_runtime import Model
from edgeml_runtime.contract_parse import parse_contract


class Front(nn.Module):
    """uint8 [b, 8, 8, 3] → float32 [b, 3, 8, 8], and years with NaN → centuries without."""

    def forward(self, pixels, age):
        age = torch.where(torch.isnan(age), torch.zeros_like(age), age / 100)
        return ((pixels.to(torch.float32) - 128) / 64).permute(0, 3, 1, 2), age


class TwoInputs(nn.Module):
    """An image and an age, of which NaN means that it is missing."""

    def __init__(self):
        super().__init__()
        self.front = Front()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(9, 3)

    def forward(self, pixels, age):
        image, age = self.front(pixels, age)
        logits = self.head(torch.cat([self.trunk(image), age], dim=1))
        return {"extra": age, "logits": logits, "scores": torch.softmax(logits, dim=-1)}


CONTRACT = {
    "model": {"name": "two", "version": "0.1.0", "description": "An image and a number."},
    "inputs": [
        {
            "name": "pixels",
            "dtype": "uint8",
            "shape": [8, 8, 3],
            "range": [0, 255],
            "unit": "sRGB",
            "source": "camera",
        },
        {
            "name": "age",
            "dtype": "float32",
            "shape": [1],
            "range": [0, 120],
            "unit": "years",
            "source": "form",
            "allow_missing": True,
        },
    ],
    "outputs": [
        {"name": "scores", "role": "scores", "dtype": "float32", "shape": [3], "labels": ["a", "b", "c"]},
        {"name": "logits", "role": "logits", "dtype": "float32", "shape": [3]},
    ],
    "target": {"name": "kind", "kind": "classification"},
    "metric": {"primary": "accuracy", "floor": 0.1},
    "export": {"float_scopes": ["front"], "required": ["onnx-fp32", "tflite-fp32"], "max_metric_drop": 0.2},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(3)
    model = TwoInputs().eval()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    age = rng.uniform(0, 120, (40, 1)).astype(np.float32)
    age[::5] = np.nan
    with torch.no_grad():
        logits = model(torch.from_numpy(pixels), torch.from_numpy(age))["logits"].numpy()
    items = LabelledData(inputs={"age": age, "pixels": pixels}, targets=logits.argmax(axis=1), attributes={})
    contract = parse_contract(CONTRACT, source="test")
    out = tmp_path_factory.mktemp("two") / "two.edgeml"
    report = export_bundle(model, contract=contract, calibration=items, test=items, out=out)
    return out, report, items, logits


@pytest.mark.parametrize("variant_id", ["onnx-fp32", "tflite-fp32", "onnx-int8", "tflite-int8"])
def test_inputs_and_outputs_are_not_mixed_up(bundle, variant_id):
    out, report, items, logits = bundle
    shipped = {variant.id: variant for variant in report.variants if variant.shipped}
    assert variant_id in shipped, [variant.reason for variant in report.variants]
    assert shipped[variant_id].parity.output == "logits"
    with Model.load(out, variant=variant_id) as model:
        assert model.self_test().passed
        for index in (0, 1):
            result = model.predict({name: array[index] for name, array in items.inputs.items()})
            close = 1e-5 if variant_id.endswith("fp32") else 0.1
            assert result.outputs["logits"] == pytest.approx(logits[index], abs=close)
            assert result.outputs["scores"].sum() == pytest.approx(1, abs=1e-3)


def test_convolution_and_head_are_int8(bundle):
    _, report, _, _ = bundle
    for variant in report.variants:
        counted = variant.inventory.operators
        expected = (2, 0, 0) if variant.id.endswith("int8") else (0, 0, 2)
        assert (counted.int8, counted.float_inside, counted.float_outside) == expected, variant.id
