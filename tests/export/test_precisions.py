"""Every precision in every format: it runs, is as close as its name says, and holds what its name says."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeml_export import KNOWN_VARIANTS, export_bundle
from edgeml_export.tflite_file import constant, operator_name, read_tflite
from edgeml_runtime import Model
from edgeml_runtime.bundle import Bundle

# Variant → decibels that its logits keep at least, and do not exceed: another number of bits would show.
SQNR_DB = {
    "fp32": (110, 200),
    "fp16": (55, 90),
    "w8": (30, 55),
    "int8": (25, 50),
    "int8-dynamic": (25, 50),
    "int16x8": (25, 55),
}
# Products of the network in int8, in float inside of the float scope ``features``, and in float elsewhere.
COUNTS = {
    "fp32": (0, 1, 3),
    "fp16": (0, 1, 3),
    "w8": (0, 1, 3),
    "int8": (3, 1, 0),
    "int8-dynamic": (3, 1, 0),
    "int16x8": (3, 1, 0),
}
BYTES_PER_WEIGHT = {"fp32": 4, "fp16": 2}
KERNELS = {(8, 1, 3, 3), (32, 8, 3, 3), (4, 32)}
BASIS = (16, 16)
IDS = list(KNOWN_VARIANTS)


def precision_of(variant_id):
    return variant_id.partition("-")[2]


@pytest.fixture(scope="module")
def everything(trained, make_contract, items, tmp_path_factory):
    """The export of every known variant."""
    from edgeml_export import vnni_check

    contract = make_contract(variants=IDS, required=[])
    out = tmp_path_factory.mktemp("precisions") / "tiny.edgeml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vnni_check, "emulator", lambda: None)
        report = export_bundle(trained, contract=contract, calibration=items.train, test=items.test, out=out)
    with Bundle.open(out) as bundle:
        contents = {variant.id: bundle.read(variant.file) for variant in bundle.manifest.variants}
    return SimpleNamespace(reports={variant.id: variant for variant in report.variants}, contents=contents, out=out)


def test_every_precision_has_its_rows():
    assert {precision_of(variant_id) for variant_id in IDS} == set(SQNR_DB) == set(COUNTS)


@pytest.mark.parametrize("variant_id", IDS)
def test_it_is_shipped_and_as_close_as_its_name_says(everything, variant_id):
    report = everything.reports[variant_id]
    low, high = SQNR_DB[precision_of(variant_id)]
    assert report.reason is None
    assert low < report.parity.sqnr_db < high
    assert report.paired_loss.within
    assert report.metric.value > 0.9


@pytest.mark.parametrize("variant_id", IDS)
def test_the_shipped_file_runs_and_tests_itself(everything, items, variant_id):
    with Model.load(everything.out, variant=variant_id) as model:
        assert model.self_test().passed
        decided = [model.predict(waveform).outputs["logits"].argmax() for waveform in items.test.inputs["waveform"]]
    assert np.mean(decided == items.test.targets) == pytest.approx(everything.reports[variant_id].metric.value)


@pytest.mark.parametrize("variant_id", IDS)
def test_operators_are_counted(everything, variant_id):
    counted = everything.reports[variant_id].inventory.operators
    assert (counted.int8, counted.float_inside, counted.float_outside) == COUNTS[precision_of(variant_id)]


@pytest.mark.parametrize("variant_id", IDS)
def test_weight_bytes_are_those_of_the_precision(everything, variant_id):
    """2504 kernel weights in so many bytes; biases, of which one format may keep another width, beside them."""
    inventory = everything.reports[variant_id].inventory
    kernels = (8 * 9 + 32 * 8 * 9 + 128) * BYTES_PER_WEIGHT.get(precision_of(variant_id), 1)
    biases = 8 + 32 + 4
    assert kernels + 4 * biases <= inventory.weight_bytes - inventory.front_end_bytes <= kernels + 8 * biases + 16


# Precision → what an ONNX file stores kernels as, and the operators that have to be in it, with their number.
ONNX = {
    "fp32": (np.float32, {"Conv": 2, "Gemm": 1, "MatMul": 1, "DequantizeLinear": 0}),
    "fp16": (np.float16, {"Conv": 2, "Gemm": 1, "MatMul": 1, "Cast": 4, "DequantizeLinear": 0}),
    "w8": (np.int8, {"Conv": 2, "Gemm": 1, "MatMul": 1, "Cast": 4, "DequantizeLinear": 0}),
    "int8": (np.int8, {"Conv": 2, "Gemm": 1, "MatMul": 1, "QuantizeLinear": 5}),
    "int8-dynamic": (np.int8, {"ConvInteger": 2, "MatMulInteger": 1, "MatMul": 1, "DynamicQuantizeLinear": 3}),
}


@pytest.mark.parametrize("precision", ONNX)
def test_onnx_stores_and_computes_what_its_name_says(everything, precision):
    dtype, operators = ONNX[precision]
    graph = onnx.load_from_string(everything.contents[f"onnx-{precision}"]).graph
    found = Counter(node.op_type for node in graph.node)
    assert {name: found[name] for name in operators} == operators
    arrays = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    kernels = [array for array in arrays if array.shape in KERNELS or array.shape[::-1] in KERNELS]
    assert len(kernels) == 3
    assert {array.dtype for array in kernels} == {np.dtype(dtype)}
    basis = [array for array in arrays if array.shape == BASIS]
    assert [array.dtype for array in basis] == [np.float32], "the float scope stays float"
    if precision.startswith("int8"):
        assert max(np.abs(array.astype(int)).max() for array in kernels) <= 64, "7 bits are safe without VNNI"
    if precision == "w8":
        assert max(np.abs(array.astype(int)).max() for array in kernels) == 127


# Precision → types of a TFLite product's activations, weights and biases in the network.
TFLITE = {
    "fp32": ("FLOAT32", "FLOAT32", "FLOAT32"),
    "fp16": ("FLOAT32", "FLOAT32", "FLOAT32"),
    "w8": ("FLOAT32", "FLOAT32", "FLOAT32"),
    "int8": ("INT8", "INT8", "INT32"),
    "int8-dynamic": ("FLOAT32", "INT8", "FLOAT32"),
    "int16x8": ("INT16", "INT8", "INT64"),
}
STORED = {"fp32": "FLOAT32", "fp16": "FLOAT16"}


@pytest.mark.parametrize("precision", TFLITE)
def test_tflite_stores_and_computes_what_its_name_says(everything, precision):
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    model = read_tflite(everything.contents[f"tflite-{precision}"])
    graph = model.subgraphs[0]

    def types(indices):
        return tuple(names[graph.tensors[index].type] for index in indices)

    products = [o for o in graph.operators if operator_name(model, o) in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    front, head = [o for o in graph.operators if operator_name(model, o) == "FULLY_CONNECTED"]
    assert [types(operator.inputs) for operator in (*products, head)] == [TFLITE[precision]] * 3
    assert types(index for index in front.inputs if index >= 0) == ("FLOAT32", "FLOAT32"), "the float scope stays float"
    logarithm = next(operator for operator in graph.operators if operator_name(model, operator) == "LOG")
    assert types((*logarithm.inputs, *logarithm.outputs)) == ("FLOAT32", "FLOAT32")
    shapes = {(1, 3, 3, 8), (32, 3, 3, 8), (4, 32)}
    kernels = [
        tensor for tensor in graph.tensors if tuple(tensor.shape) in shapes and constant(model, tensor) is not None
    ]
    assert [names[tensor.type] for tensor in kernels] == [STORED.get(precision, "INT8")] * 3


def test_static_int8_files_read_and_give_what_the_contract_says(everything):
    """Whatever lies inside, inputs and outputs have the contract's types."""
    from edgeml_runtime.backends import load_backend

    with Bundle.open(everything.out) as bundle:
        for variant in bundle.manifest.variants:
            inputs, outputs = load_backend(variant.backend).declared(bundle.read(variant.file))
            assert [(tensor.name, tensor.dtype) for tensor in inputs] == [("waveform", "int16")], variant.id
            assert {(tensor.name, tensor.dtype) for tensor in outputs} == {("logits", "float32"), ("scores", "float32")}


def test_a_variant_known_to_be_wrong_somewhere_is_refused_there(everything):
    with Bundle.open(everything.out) as bundle:
        refused = {variant.id: tuple(variant.refused_by) for variant in bundle.manifest.variants if variant.refused_by}
    assert refused["tflite-int8-dynamic"] == ("tflite-runtime",)
    assert not {"tflite-fp32", "tflite-int8"} & refused.keys()
