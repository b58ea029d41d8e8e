"""What int8 variants compute in: every convolution and matrix product in integers, in the forms that networks have."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeml_evaluate import LabelledData
from edgeml_export import export_bundle
from edgeml_export.quiet import quiet
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract_parse import parse_contract

PRODUCTS = {"Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "LSTM", "GRU"}
INT8 = {"QLinearConv", "QLinearMatMul", "QGemm", "MatMulIntegerToFloat", "ConvInteger", "MatMulInteger"}
TFLITE_PRODUCTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV"}


def block(inputs, outputs, kernel=3, *, stride=1, groups=1, act=nn.ReLU):
    """A convolution with "same" padding, batch normalisation and a nonlinearity."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act())


class Image(nn.Module):
    """Blocks of the usual image networks: a residual sum, squeeze and excitation, branches, groups, a resize."""

    def __init__(self):
        super().__init__()
        self.stem = block(3, 8, stride=2)
        self.inside = nn.Sequential(block(8, 8), nn.Conv2d(8, 8, 3, padding=1))
        self.depthwise, self.pointwise = block(8, 8, groups=8, act=nn.Hardswish), block(8, 16, 1, act=nn.ReLU6)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.one, self.three = block(16, 8, 1, act=nn.SiLU), block(16, 8, groups=4, act=nn.LeakyReLU)
        self.last, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = self.pointwise(self.depthwise(torch.relu(x + self.inside(x))))
        x = x * F.hardsigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = F.max_pool2d(torch.cat([self.one(x), self.three(x)], 1), 2)
        x = torch.tanh(self.last(F.interpolate(x, scale_factor=2)))
        return self.head(F.avg_pool2d(x, 2).mean((2, 3)))


class Attention(nn.Module):
    """Patches and an encoder layer: products of two activations beside those with weights."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Signal(nn.Module):
    """Convolutions over one axis."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, 8, 9, 4, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, groups=8, padding=1),
            nn.Conv1d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x.flatten(2))


class Table(nn.Module):
    """Linear layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(768, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.LayerNorm(32),
            nn.GELU(), nn.Linear(32, 4),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class Growing(nn.Module):
    """A transposed convolution."""

    def __init__(self):
        super().__init__()
        self.down, self.up, self.head = block(3, 8, stride=2), nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.up(self.down(x)).mean((2, 3)))


class Recurrent(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.LSTM(48, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.rows(x.transpose(1, 2).flatten(2))[0][:, -1])


class Awkward(nn.Module):
    """What quantizers or kernels stumble over: conditions, small divisors, sums whose scales are powers of two."""

    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 8, 2, 2, groups=2)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x.clamp(-1, 1)
        x = self.conv(x - x.flip(2))
        x = torch.where(x > 0, x, 0.1 * x)
        first = torch.relu(x[:, :1])
        return self.head(self.up(x * first / (first + 1e-3)).mean((2, 3)))


class Fused(nn.Module):
    """uint8 [b, 16, 16, 3] → logits and scores, through the usual normalisation."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        logits = self.network(((pixels.to(torch.float32) - 128) / 64).permute(0, 3, 1, 2))
        return {"logits": logits, "scores": torch.softmax(logits, -1)}


def contract(**rules):
    return parse_contract(
        {
            "model": {"name": "blocks", "version": "1.0.0"},
            "inputs": [
                {
                    "name": "pixels",
                    "dtype": "uint8",
                    "shape": [16, 16, 3],
                    "range": [0, 255],
                    "unit": "1",
                    "source": "x",
                }
            ],
            "outputs": [
                {"name": "logits", "role": "logits", "shape": [4]},
                {"name": "scores", "role": "scores", "shape": [4], "labels": ["a", "b", "c", "d"]},
            ],
            "target": {"name": "kind", "kind": "classification"},
            "metric": {"primary": "accuracy", "floor": 0.1},
            "export": {"variants": ["onnx-int8", "tflite-int8"], "required": [], "float_scopes": []} | rules,
        },
        source="test",
    )


def export(network, out, **rules):
    """Export with random weights; what the network itself says of noise is taken for right."""
    torch.manual_seed(0)
    model = Fused(network()).eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        targets = model(torch.from_numpy(pixels))["logits"].argmax(1).numpy()
    items = LabelledData(inputs={"pixels": pixels}, targets=targets)
    rules = {"max_metric_drop": 0.2} | rules
    return export_bundle(model, contract=contract(**rules), calibration=items, test=items, out=out)


def onnx_operators(content):
    """Operators of an ONNX file as ONNX Runtime executes them on this machine, layout included."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = "optimized.onnx"
    with quiet():
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load("optimized.onnx").graph.node)


def tflite_operators(content):
    """Operators of a TFLite file with weights or two activations → the types of their first two inputs."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        found = []
        for operator in interpreter._get_ops_details():
            if operator["op_name"] in TFLITE_PRODUCTS:
                first = [index for index in operator["inputs"] if index >= 0]
                first = first[1:] if operator["op_name"] == "TRANSPOSE_CONV" else first[:2]
                kinds = tuple(interpreter._get_tensor_details(index, 0)["dtype"].__name__ for index in first)
                found.append((operator["op_name"], *kinds[:2]))
        return Counter(found)


def check(network, products, tmp_path, monkeypatch, float_products=(0, 0)):
    monkeypatch.chdir(tmp_path)
    report = export(network, tmp_path / "blocks.edgeml")
    assert [variant.reason for variant in report.variants] == [None, None]
    counts = [variant.inventory.operators for variant in report.variants]
    assert [(count.int8, count.float_inside, count.float_outside) for count in counts] == [
        (products - outside, 0, outside) for outside in float_products
    ]
    with Bundle.open(report.bundle) as bundle:
        found = onnx_operators(bundle.read("variants/onnx-int8.onnx"))
        assert sum(found[name] for name in PRODUCTS) == float_products[0], found
        assert sum(found[name] for name in INT8) == products - float_products[0], found
        kinds = tflite_operators(bundle.read("variants/tflite-int8.tflite"))
        assert sum(kinds.values()) == products
        assert {kind for _, *types in kinds for kind in types} == {"int8"}, kinds
    return report


def test_blocks_of_image_networks_are_int8(tmp_path, monkeypatch, no_emulator):
    """Eleven convolutions and a linear layer."""
    report = check(Image, 11, tmp_path, monkeypatch)
    assert all(variant.parity.sqnr_db > 25 for variant in report.variants)


@pytest.mark.parametrize("variant_id", ["onnx-int8", "tflite-int8", "tflite-int16x8"])
def test_awkward_operators_are_quantized_or_left_float(variant_id, tmp_path, no_emulator):
    """A divisor of 0.001 rounds to zero; ranges from −1 to 1 and from −2 to 2 have scales near powers of two."""
    (variant,) = export(Awkward, tmp_path / "awkward.edgeml", variants=[variant_id]).variants
    assert variant.reason is None
    assert variant.parity.sqnr_db > 10


@pytest.mark.long
@pytest.mark.parametrize(("network", "products"), [(Attention, 8), (Signal, 4), (Table, 3)])
def test_other_networks_are_int8(network, products, tmp_path, monkeypatch, no_emulator):
    check(network, products, tmp_path, monkeypatch)


@pytest.mark.long
def test_what_onnx_runtime_has_no_int8_kernel_for_is_counted(tmp_path, monkeypatch, no_emulator):
    check(Growing, 3, tmp_path, monkeypatch, float_products=(1, 0))
    report = export(Recurrent, tmp_path / "recurrent.edgeml")
    onnx_int8, tflite_int8 = (variant.inventory.operators for variant in report.variants)
    assert (onnx_int8.int8, onnx_int8.float_outside) == (1, 1)
    assert (tflite_int8.int8, tflite_int8.float_outside) == (17, 0), "16 steps, unrolled"


@pytest.mark.long
def test_a_declared_scope_is_what_stays_float(tmp_path, monkeypatch, no_emulator):
    monkeypatch.chdir(tmp_path)
    report = export(Image, tmp_path / "blocks.edgeml", float_scopes=["network.stem", "network.squeeze"])
    for variant in report.variants:
        counted = variant.inventory.operators
        assert (counted.int8, counted.float_inside, counted.float_outside) == (9, 2, 0), variant.id
    with Bundle.open(report.bundle) as bundle:
        found = onnx_operators(bundle.read("variants/onnx-int8.onnx"))
        kinds = tflite_operators(bundle.read("variants/tflite-int8.tflite"))
    assert sum(found[name] for name in PRODUCTS) == 2
    assert sum(count for (_, kind, _), count in kinds.items() if kind == "float32") == 2
