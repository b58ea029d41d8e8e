"""The parts of export that need no conversion: scopes, golden vectors, histograms, tolerances, silence."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import edgeml_export
from edgeml_export.calibration import calibrate, refuse_unbounded
from edgeml_export.golden_cases import choose_items, tolerances
from edgeml_export.onnx_activations import activation_names, onnx_activations
from edgeml_export.onnx_compact import compact_onnx, drop_unused
from edgeml_export.onnx_int8 import quantize_onnx, quantize_onnx_dynamic
from edgeml_export.onnx_model import IR_VERSION, OPSET, OnnxGraph
from edgeml_export.prepared import Positional
from edgeml_export.quiet import quiet
from edgeml_export.reference import default_features, reference_histograms
from edgeml_export.scheme import KNOWN_VARIANTS, Precision, plan_variant
from edgeml_export.scopes import ModuleScopes, within
from edgeml_export.tflite_file import read_tflite, write_tflite
from edgeml_runtime.contract import CalibrationMethod, Statistic
from edgeml_runtime.errors import ProjectError, StorageError


def test_public_names():
    assert sorted(edgeml_export.__all__) == [
        "CalibrationMethod",
        "ExportOptions",
        "ExportReport",
        "Folding",
        "HostileResult",
        "Inventory",
        "KNOWN_VARIANTS",
        "LayerLoss",
        "OperatorCount",
        "Parity",
        "Precision",
        "QuantScheme",
        "SearchStep",
        "ValidationLoss",
        "VariantPlan",
        "VariantReport",
        "VariantSpec",
        "VnniCheck",
        "export_bundle",
    ]
    assert all(hasattr(edgeml_export, name) for name in edgeml_export.__all__)


def test_importing_export_imports_no_converter():
    heavy = {"ai_edge_quantizer", "litert_torch", "onnx", "onnxruntime", "onnxscript"}
    code = f"import sys, edgeml_export; print({heavy} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_u8s8_products_cannot_saturate():
    """Two products of an activation and a weight, added in int16 as AVX2 does without VNNI."""
    scheme = ONNX_INT8
    largest_weight = 2 ** (scheme.weight_bits - 1)
    assert not scheme.activation_signed
    assert 2 * (2**scheme.activation_bits - 1) * largest_weight <= np.iinfo(np.int16).max


@pytest.mark.parametrize(
    ("path", "inside"),
    [("features", True), ("features.mel", True), ("features2", False), ("network.features", False), ("", False)],
)
def test_within(path, inside):
    assert within(path, ["features"]) is inside


class Mel(nn.Module):
    pass


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.items = nn.ModuleList([Mel(), Mel()])


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.my_features = Mel(), Mel()
        self.network, self.other = Blocks(), Blocks()


HERE = __name__
ROOT = f"edgeml_export.prepared.Positional/{HERE}.Fused_model"


@pytest.mark.parametrize(
    ("scopes", "name", "answer"),
    [
        (["features"], f"{ROOT}/{HERE}.Mel_features;3", True),
        (["features"], f"{ROOT}/{HERE}.Mel_features;", True),
        (["features"], f"{ROOT}/{HERE}.Mel_my_features;3", False),
        (["features"], f"{ROOT};2", False),
        (["features"], "arith.constant3", None),
        (["features"], "logits", None),
        # A ModuleList is never called, so it is no link of the chain.
        (["network.items.1"], f"{ROOT}/{HERE}.Blocks_network/{HERE}.Mel_1;4", True),
        (["network.items.1"], f"{ROOT}/{HERE}.Blocks_network/{HERE}.Mel_0;4", False),
        (["network.items.1"], f"{ROOT}/{HERE}.Blocks_other/{HERE}.Mel_1;4", False),
        (["network"], f"{ROOT}/{HERE}.Blocks_network/{HERE}.Mel_0;;{ROOT}/{HERE}.Blocks_network/{HERE}.Mel_1;2", True),
        # An activation of one module that was fused into an operator of another, which stands at the end.
        (["features"], f"{ROOT}/{HERE}.Mel_features;;{ROOT}/{HERE}.Blocks_network;2", False),
        (["network"], f"{ROOT}/{HERE}.Mel_features;;{ROOT}/{HERE}.Blocks_network;2", True),
        (["features"], f"{ROOT}/{HERE}.Mel_features;;arith.constant;", True),
    ],
)
def test_scope_of_a_tensor_name(scopes, name, answer):
    assert ModuleScopes.of(Positional(Fused(), ("logits",)), scopes).is_float(name) is answer


def test_ambiguous_scope_is_refused():
    """Where blocks are called without the module that holds them, two chains are the same."""
    scopes = ModuleScopes.of(Positional(Fused(), ("logits",)), ["network"])
    with pytest.raises(ProjectError, match=r"'network.items.1', which stays float, or to 'other.items.1'"):
        scopes.is_float(f"{ROOT}/{HERE}.Mel_1;4")


def test_golden_items_take_every_class_first(make_contract, items):
    few = items.test.take(np.arange(40))
    chosen = choose_items(make_contract(), few, {})
    assert len(chosen) == len(set(chosen)) == 8
    assert chosen == sorted(chosen)
    firsts = {int(np.flatnonzero(few.targets == label)[0]) for label in np.unique(few.targets)}
    assert firsts <= set(chosen)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (5, 5), (8, 8), (101, 8)])
def test_golden_items_are_as_many_as_there_are(make_contract, items, count, expected):
    assert len(choose_items(make_contract(), items.test.take(np.arange(count)), {})) == expected


def test_golden_items_with_many_classes(make_contract, items):
    many = replace(items.test, targets=np.arange(101))
    chosen = choose_items(make_contract(), many, {})
    assert len(chosen) == 32
    assert (chosen[0], chosen[-1]) == (0, 100)


def test_golden_items_have_one_with_a_file(make_contract, items):
    chosen = choose_items(make_contract(), items.test, {})
    absent = next(index for index in range(101) if index not in chosen)
    assert sorted([*chosen, absent]) == choose_items(make_contract(), items.test, {absent: "x.wav"})
    assert chosen == choose_items(make_contract(), items.test, {chosen[2]: "x.wav"})


def test_tolerance_of_scores_follows_from_that_of_logits(make_contract):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, (200, 4)).astype(np.float32)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    allowed = tolerances(make_contract(), {"logits": logits, "scores": scores}, Precision.INT8)
    assert allowed["logits"] == pytest.approx(4 * np.ptp(logits) / 255)
    moved = logits + rng.choice([-1, 1], logits.shape) * allowed["logits"]
    other = np.exp(moved) / np.exp(moved).sum(axis=1, keepdims=True)
    assert np.abs(other - scores).max() <= allowed["scores"]
    assert np.abs(other - scores).max() > 0.8 * allowed["scores"], "the bound is tight"
    exact = tolerances(make_contract(), {"logits": logits, "scores": scores}, Precision.FP32)
    assert exact["logits"] == pytest.approx(1e-3 * logits.std())


def test_default_histograms(make_contract, items):
    contract = replace(make_contract(), telemetry=())
    scores = np.array([[0.1, 0.2, 0.7, 0.0]], np.float32)
    tensors = {"waveform": items.test.inputs["waveform"], "logits": scores, "scores": scores}
    features = {feature.name: feature for feature in default_features(contract, tensors)}
    assert list(features) == ["waveform_mean", "waveform_std", "scores_max"]
    assert (features["waveform_mean"].edges[0], features["waveform_mean"].edges[-1]) == (-32768, 32767)
    assert features["scores_max"].statistic is Statistic.MAX
    found = {item.name: item for item in reference_histograms(contract, tensors)}
    assert found["waveform_std"].n == 101
    assert found["waveform_std"].counts[0] == found["waveform_std"].counts[-1] == 0
    assert found["scores_max"].counts[14] == 1


def test_compact_onnx_computes_the_same():
    """Two equal constants, one nobody reads, long names, documentation."""
    same = [numpy_helper.from_array(np.ones(3, np.float32), f"constant.with.a.long.name.{i}") for i in range(2)]
    unused = numpy_helper.from_array(np.ones(300, np.float32), "unused")
    nodes = [
        helper.make_node("Add", ["x", same[0].name], ["a long value name"], name="node with a long name"),
        helper.make_node("Mul", ["a long value name", same[1].name], ["y"]),
    ]
    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "graph", shape[:1], shape[1:], [*same, unused])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    before = model.SerializeToString()
    content = compact_onnx(model)
    assert model.SerializeToString() == before
    small = onnx.load_from_string(content)
    onnx.checker.check_model(small, full_check=True)
    assert len(small.graph.initializer) == 1
    assert ([item.name for item in small.graph.input], [item.name for item in small.graph.output]) == (["x"], ["y"])
    assert len(content) < 160
    from onnx.reference import ReferenceEvaluator

    x = np.arange(3, dtype=np.float32)
    results = [ReferenceEvaluator(one).run(None, {"x": x})[0] for one in (small, model)]
    assert np.array_equal(*results)


def test_constants_that_only_a_branch_reads_stay():
    """The body of an If reads values of the graph around it."""
    names = ("read", "in_branch", "unused")
    constants = [numpy_helper.from_array(np.full(3, index, np.float32), name) for index, name in enumerate(names)]

    def branch(name, operator):
        node = helper.make_node(operator, ["x", "in_branch"], [f"{name}_y"])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [3])])

    nodes = [
        helper.make_node("Cast", ["condition"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["branched"], then_branch=branch("a", "Add"), else_branch=branch("b", "Sub")),
        helper.make_node("Mul", ["branched", "read"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [3]),
        helper.make_tensor_value_info("condition", TensorProto.INT64, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    drop_unused(graph)
    assert [tensor.name for tensor in graph.initializer] == ["read", "in_branch"]


@pytest.mark.parametrize("variant_id", ["tflite-fp32", "tflite-int8"])
def test_tflite_weights_are_aligned(exported, variant_id):
    """The schema wants the data of every buffer at a multiple of 16 bytes."""
    from ai_edge_litert import schema_py_generated as schema

    content = exported.converted[variant_id].content
    model = schema.Model.GetRootAsModel(content, 0)
    offsets = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            offsets.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(offsets) > 5
    assert {offset % 16 for offset in offsets} == {0}


def test_tflite_reads_weights_behind_the_flatbuffer(exported):
    """Larger files hold the weights behind the flatbuffer, which states offset and size."""
    content = exported.converted["tflite-fp32"].content
    model = read_tflite(content)
    largest = max((buffer for buffer in model.buffers if buffer.data is not None), key=lambda buffer: len(buffer.data))
    data, largest.data = bytes(largest.data), None
    for _ in range(2):  # the offset depends on the length of what stands before it, and not the other way round
        largest.offset = largest.offset or 1
        largest.size = len(data)
        written = write_tflite(model)
        largest.offset = -(-len(written) // 16) * 16
    outside = written.ljust(largest.offset, b"\0") + data
    assert len(written) < len(content) - len(data) + 100
    assert write_tflite(read_tflite(outside)) == write_tflite(read_tflite(content))


def test_quiet_silences_everything_and_then_nothing(capfd, caplog):
    def talk(word):
        print(word)
        print(word, file=sys.stderr)
        os.write(1, f"{word}\n".encode())
        os.write(2, f"{word}\n".encode())
        logging.getLogger("somebody").error(word)

    with quiet():
        talk("hidden")
        warnings.warn("hidden", stacklevel=1)
    talk("heard")
    out, err = capfd.readouterr()
    assert "hidden" not in out + err + caplog.text
    assert out.count("heard") == err.count("heard") == 2
    assert "heard" in caplog.text
    assert "LITERT_TORCH_SHOW_PROGRESS" not in os.environ


def test_quiet_lets_errors_through(capfd):
    with pytest.raises(ValueError, match="loud"), quiet():
        raise ValueError("loud")
    print("heard")
    assert capfd.readouterr().out == "heard\n"


def test_positional_keeps_the_contracts_order():
    class Unordered(nn.Module):
        def forward(self, x):
            return {"extra": x, "scores": x + 1, "logits": x}

    logits, scores = Positional(Unordered(), ("logits", "scores"))(torch.zeros(1))
    assert (logits, scores) == (0, 1)


def test_activation_that_is_nan_cannot_be_quantized():
    """NaN scales make the TFLite interpreter crash instead of fail."""
    refuse_unbounded({"fine": (np.array(-1.0), np.array([2.0, 3.0]))})
    for low, high in [(np.nan, 1.0), (0.0, np.array([1.0, np.inf]))]:
        with pytest.raises(ProjectError, match="'App/Net;2' is NaN or infinite for a calibration item"):
            refuse_unbounded({"fine": (0.0, 1.0), "App/Net;2": (low, high)})


@pytest.fixture
def product():
    """One matrix product, and four items for it."""
    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in (("x", 3), ("y", 2))]
    model = helper.make_model(
        helper.make_graph([node], "graph", shapes[:1], shapes[1:], [weight]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    graph = OnnxGraph(model=model, paths={}, after=frozenset(), pixels={})
    return graph, np.arange(12, dtype=np.float32).reshape(4, 3)


ONNX_INT8 = plan_variant(KNOWN_VARIANTS["onnx-int8"], calibration=CalibrationMethod.MIN_MAX).scheme


def ranges_of(graph, x):
    source = onnx_activations(graph.model, activation_names(graph.model), {"x": x})
    return calibrate(lambda: source, CalibrationMethod.MIN_MAX, items=len(x))


def test_onnx_quantization_refuses_infinity(product):
    graph, x = product
    quantized = quantize_onnx(graph, ranges_of(graph, x), ONNX_INT8, ())
    assert [node.op_type for node in quantized.graph.node].count("DequantizeLinear") >= 2
    x[2, 1] = np.inf
    with pytest.raises(ProjectError, match="NaN or infinite"):
        quantize_onnx(graph, ranges_of(graph, x), ONNX_INT8, ())


def test_full_temporary_folder_is_named(product, tmp_path, monkeypatch):
    graph, _ = product
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(StorageError, match=f"{tmp_path}: temporary files cannot be written"):
            quantize_onnx_dynamic(graph, ONNX_INT8, ())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
