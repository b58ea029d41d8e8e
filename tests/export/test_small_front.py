"""Constants of a float front end, stored as int8: the decision, the rounding, and what it does to the files."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export import LayerLoss, export_bundle
from edgeml_export.parity import sqnr_db
from edgeml_export.small_constants import small_constant
from edgeml_export.small_front import small_layers
from edgeml_export.tflite_file import operator_name, read_tflite
from edgeml_runtime.contract_parse import parse_contract

BINS, FRAME = 33, 64


def loss(output_sqnr_db, parameters=2000, path="p"):
    return LayerLoss(
        path=path,
        operator="linear",
        macs=1,
        parameters=parameters,
        weight_range=(0, 1),
        weight_histogram=(),
        activation_range=(0, 1),
        activation_histogram=(),
        sqnr_db=0,
        output_sqnr_db=output_sqnr_db,
    )


@pytest.mark.parametrize(
    ("front", "layers", "chosen"),
    [
        ([loss(50.01)], [loss(40)], ("p",)),  # just below a tenth of the noise power
        ([loss(49.9)], [loss(40)], ()),
        ([loss(53.1, path="a"), loss(53.1, path="b")], [loss(40)], ("a", "b")),  # noise of two adds up: 50.1 dB
        ([loss(52, path="a"), loss(52, path="b")], [loss(40)], ("a",)),  # the second one has no room
        ([loss(60, path="dft", parameters=9000), loss(45, path="noisy")], [loss(40)], ("dft",)),
        ([loss(51, path="b"), loss(51.5, path="a", parameters=9000)], [loss(40)], ("a",)),  # most bytes for the noise
        ([loss(49.9)], [loss(40), loss(40)], ("p",)),
        ([loss(float("inf"))], [], ("p",)),
        ([loss(60)], [], ()),  # nothing else is rounded
        ([loss(90, parameters=1023)], [loss(10)], ()),  # too small to be worth it
        ([], [loss(10)], ()),
    ],
)
def test_the_front_end_may_add_a_tenth_of_the_noise(front, layers, chosen):
    assert small_layers(front, layers) == chosen


def test_a_constant_is_rounded_along_the_axis_with_the_finest_steps():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(8, 50)) * 10.0 ** np.arange(-4, 4)[:, None]).astype(np.float32)
    small = small_constant(rows)
    assert (small.axis, small.scale.shape, small.values.dtype) == (0, (8, 1), np.int8)
    assert small_constant(rows.T.copy()).axis == 1
    assert np.abs(small.values).max(axis=1).tolist() == [127] * 8
    assert np.all(np.abs(rows - small.values * small.scale) <= small.scale / 2 * (1 + 1e-5))
    assert sqnr_db(rows, small.values * small.scale) > 40


def test_zeros_stay_zeros():
    small = small_constant(np.zeros((3, 4), np.float32))
    assert not small.values.any()
    assert np.all(small.scale == 1)


class DenseSpectrum(nn.Module):
    """What a user would write: a windowed DFT as one matrix, int16 [b, 512] → log power [b, 8, 33]."""

    def __init__(self):
        super().__init__()
        angle = 2 * np.pi * np.outer(np.arange(FRAME), np.arange(BINS)) / FRAME
        window = np.hanning(FRAME)[:, None] / 32768
        self.register_buffer("dft", torch.tensor(np.concatenate([np.cos(angle), np.sin(angle)], 1) * window).float())

    def forward(self, waveform):
        parts = torch.matmul(waveform.to(torch.float32).reshape(-1, 8, FRAME), self.dft)
        return torch.log(parts[..., :BINS] ** 2 + parts[..., BINS:] ** 2 + 1e-5)


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = DenseSpectrum()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(8 * BINS, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, waveform):
        logits = self.network(self.features(waveform))
        return {"logits": logits, "scores": torch.softmax(logits, -1)}


@pytest.fixture(scope="module")
def members(tiny, tmp_path_factory):
    """Files of a bundle whose front end is a dense DFT."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    data = tiny.contract_data()
    data["inputs"][0] |= {"shape": [512], "loader": None}
    del data["inputs"][0]["loader"], data["telemetry"], data["slices"]
    data["export"] = {
        "required": [],
        "variants": ["onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8"],
        "max_metric_drop": 1.0,
    }
    waves = (rng.normal(size=(40, 512)) * 10 ** rng.uniform(1.5, 3.8, (40, 1))).clip(-32768, 32767).astype(np.int16)
    items = LabelledData(inputs={"waveform": waves}, targets=np.zeros(40, np.int64))
    out = tmp_path_factory.mktemp("dense") / "dense.edgeml"
    report = export_bundle(
        Fused().eval(), contract=parse_contract(data, source="test"), calibration=items, test=items, out=out
    )
    with zipfile.ZipFile(out) as archive:
        return report, {name: archive.read(name) for name in archive.namelist()}


def test_a_users_dense_dft_shrinks_in_int8_variants_and_only_there(members):
    reports = {variant.id: variant for variant in members[0].variants}
    dft_bytes = FRAME * 2 * BINS * 4
    for form in ("onnx", "tflite"):
        assert reports[f"{form}-fp32"].inventory.front_end_bytes >= dft_bytes
        assert reports[f"{form}-int8"].bytes < reports[f"{form}-fp32"].bytes / 2.5
        operators = reports[f"{form}-int8"].inventory.operators
        assert (operators.int8, operators.float_inside, operators.float_outside) == (2, 1, 0)
        assert reports[f"{form}-int8"].parity.sqnr_db > 25
        assert reports[f"{form}-int8"].inventory.front_end_bytes == pytest.approx(dft_bytes / 4, rel=0.1)


def test_tflite_turns_the_constant_back_in_front_of_everything(members):
    model = read_tflite(members[1]["variants/tflite-int8.tflite"])
    graph = model.subgraphs[0]
    first = graph.operators[0]
    assert operator_name(model, first) == "DEQUANTIZE"
    stored = graph.tensors[first.inputs[0]]
    assert int(np.prod(stored.shape)) == FRAME * 2 * BINS
    assert len(stored.quantization.scale) == stored.shape[stored.quantization.quantizedDimension]
    code = model.operatorCodes[first.opcodeIndex]
    assert code.version == 5, "scales per channel"


def test_what_the_decision_says_is_what_is_stored(members, tiny, monkeypatch, tmp_path):
    """The same export with the decision turned round: the constants stay float."""
    from edgeml_export import variant_maker

    monkeypatch.setattr(variant_maker, "small_layers", lambda front, layers: ())
    report, _ = members
    data = tiny.contract_data()
    data["inputs"][0] |= {"shape": [512]}
    del data["inputs"][0]["loader"], data["telemetry"], data["slices"]
    data["export"] = {"required": [], "variants": ["onnx-int8"], "max_metric_drop": 1.0}
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 3000, (20, 512)).astype(np.int16)
    items = LabelledData(inputs={"waveform": waves}, targets=np.zeros(20, np.int64))
    again = export_bundle(
        Fused().eval(),
        contract=parse_contract(data, source="test"),
        calibration=items,
        test=items,
        out=tmp_path / "float.edgeml",
    )
    small = next(variant for variant in report.variants if variant.id == "onnx-int8")
    assert again.variants[0].inventory.front_end_bytes >= FRAME * 2 * BINS * 4
    assert small.inventory.front_end_bytes < again.variants[0].inventory.front_end_bytes / 2
    assert replace(small, reason=None).shipped
