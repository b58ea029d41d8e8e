"""Weights in fewer bits that ONNX Runtime computes with in float."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_export.onnx_weights import store_constants_int8, store_weights_fp16, store_weights_int8

RNG = np.random.default_rng(11)
STORES = {"fp16": store_weights_fp16, "int8": store_weights_int8}


def model_of(*nodes, shape, **weights):
    """A model of an input x, whose last node gives y."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def node(operator, *inputs, output="y", **options):
    return helper.make_node(operator, ["x", *inputs], [output], operator.lower(), **options)


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def check(model):
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(model), full_check=True)


def weights_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model):
    return [node.op_type for node in model.graph.node]


# Operator with its weight, shape of the input, shape of the weight, and the axes that a channel's scale covers.
KINDS = {
    "conv": (node("Conv", "w"), (1, 6, 9, 9), (8, 6, 3, 3), (1, 2, 3)),
    "depthwise": (node("Conv", "w", group=8), (1, 8, 9, 9), (8, 1, 3, 3), (1, 2, 3)),
    "transposed": (node("ConvTranspose", "w"), (1, 6, 5, 5), (6, 8, 3, 3), (0, 2, 3)),
    "gemm": (node("Gemm", "w"), (2, 12), (12, 8), (0,)),
    "gemm, transposed": (node("Gemm", "w", transB=1), (2, 12), (8, 12), (1,)),
    "matmul": (node("MatMul", "w"), (2, 5, 12), (12, 8), (0,)),
    "matmul of a batch": (node("MatMul", "w"), (3, 5, 12), (3, 12, 8), (0, 1)),
}


@pytest.mark.parametrize(("operator", "shape", "weight", "others"), KINDS.values(), ids=KINDS)
def test_int8_weights_have_a_scale_per_output_channel(operator, shape, weight, others):
    # Channels of very different sizes: a common scale would round the small ones away.
    sizes = np.expand_dims(np.geomspace(1e-3, 1e3, 8), others)
    values = (RNG.normal(0, 1, weight) * sizes).astype(np.float32)
    model = model_of(operator, shape=shape, w=values)
    small = store_weights_int8(model, ())
    check(small)
    assert operators(small) == ["Cast", "Mul", operator.op_type]
    stored = weights_of(small)
    assert sorted(stored) == ["w.int8", "w.scale"]
    assert stored["w.int8"].dtype == np.int8
    assert stored["w.scale"].shape == tuple(1 if axis in others else size for axis, size in enumerate(weight))
    again = stored["w.int8"] * stored["w.scale"]
    assert np.all(np.abs(again - values) <= stored["w.scale"] / 2 * 1.001), "half a step"
    assert np.all(np.abs(stored["w.int8"]).max(axis=others) == 127), "the whole range of the integers"
    x = RNG.normal(0, 1, shape).astype(np.float32)
    # The kernels are the same ones; constants are folded before.
    assert np.array_equal(run(small, x), run(model_of(operator, shape=shape, w=again), x))


@pytest.mark.parametrize(("operator", "shape", "weight", "others"), KINDS.values(), ids=KINDS)
def test_fp16_weights_are_rounded_once(operator, shape, weight, others):
    values = RNG.normal(0, 1, weight).astype(np.float32)
    small = store_weights_fp16(model_of(operator, shape=shape, w=values), ())
    check(small)
    assert operators(small) == ["Cast", operator.op_type]
    assert weights_of(small)["w.fp16"].dtype == np.float16
    x = RNG.normal(0, 1, shape).astype(np.float32)
    rounded = model_of(operator, shape=shape, w=values.astype(np.float16))
    assert np.array_equal(run(small, x), run(rounded, x))


def two_layers():
    return model_of(
        node("MatMul", "w", output="h"),
        helper.make_node("Add", ["h", "b"], ["y"], "add"),
        shape=(2, 12),
        w=RNG.normal(0, 1, (12, 8)),
        b=RNG.normal(0, 1, (12, 8)[1:]),
    )


def with_second_reader(operator, *inputs):
    """A weight that another operator reads, too."""
    model = model_of(node("MatMul", "w", output="h"), shape=(12, 12), w=RNG.normal(0, 1, (12, 12)))
    model.graph.node.append(helper.make_node(operator, [*inputs], ["y"], "second"))
    return model


# What stays as it is, and why.
KEPT = {
    "named": (two_layers(), ["matmul"]),
    "small": (model_of(node("MatMul", "w"), shape=(2, 7), w=RNG.normal(0, 1, (7, 9))), []),
    "a vector": (model_of(node("MatMul", "w"), shape=(2, 100), w=RNG.normal(0, 1, 100)), []),
    "no weight": (model_of(node("Add", "w"), shape=(10, 10), w=RNG.normal(0, 1, (10, 10))), []),
    "read as a value, too": (with_second_reader("Add", "h", "w"), []),
    "on the left": (
        model_of(helper.make_node("MatMul", ["w", "x"], ["y"], "m"), shape=(12, 3), w=RNG.normal(0, 1, (9, 12))), []
    ),
    "channels on two axes": (with_second_reader("Gemm", "h", "w"), []),
}  # fmt: skip
KEPT["channels on two axes"][0].graph.node[1].attribute.append(helper.make_attribute("transB", 1))


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
@pytest.mark.parametrize(("model", "keep"), KEPT.values(), ids=KEPT)
def test_what_stays_as_it_is(store, model, keep):
    before = model.SerializeToString(deterministic=True)
    stored = store(model, keep)
    assert operators(stored) == operators(model)
    assert stored.graph.initializer == model.graph.initializer
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_a_weight_of_two_layers_is_stored_once(store):
    model = with_second_reader("MatMul", "h", "w")
    stored = store(model, ())
    assert operators(stored).count("Cast") == 1
    assert len(stored.graph.initializer) == (1 if store is store_weights_fp16 else 2)
    x = RNG.normal(0, 1, (12, 12)).astype(np.float32)
    assert np.abs(run(stored, x) - run(model, x)).max() < 0.02 * np.abs(run(model, x)).max()
    assert weights_of(model).keys() == {"w"}, "the model itself was changed"


@pytest.mark.parametrize(("largest", "fits"), [(65504, True), (65505, False), (1e6, False)])
def test_weights_too_large_for_fp16_stay(largest, fits):
    values = RNG.normal(0, 1, (12, 8))
    values[3, 4] = -largest
    stored = store_weights_fp16(model_of(node("MatMul", "w"), shape=(1, 12), w=values), ())
    assert (operators(stored) == ["Cast", "MatMul"]) is fits
    assert np.isfinite(run(stored, np.ones((1, 12), np.float32))).all()


@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-44], ids=["zeros", "tiny", "denormal"])
def test_channels_without_a_scale(size):
    """A scale that float32 cannot express would turn the weights into NaN."""
    values = RNG.normal(0, 1, (12, 8)).astype(np.float32)
    values[:, 2] = size
    stored = weights_of(store_weights_int8(model_of(node("MatMul", "w"), shape=(1, 12), w=values), ()))
    again = stored["w.int8"] * stored["w.scale"]
    assert np.isfinite(again).all()
    assert np.abs(again[:, 2] - size).max() <= 1e-40
    assert np.abs(again - values).max() <= stored["w.scale"].max()


def test_constants_of_named_nodes_as_int8():
    basis = RNG.normal(0, 1, (20, 30)).astype(np.float32)
    model = model_of(
        node("MatMul", "basis", output="h"),
        helper.make_node("Add", ["h", "table"], ["g"], "add"),
        helper.make_node("MatMul", ["g", "w"], ["y"], "head"),
        shape=(10, 20),
        basis=basis,
        table=RNG.normal(0, 1, (10, 30)),
        w=RNG.normal(0, 1, (30, 10)),
    )
    stored = store_constants_int8(model, ["matmul", "add"])
    check(stored)
    assert sorted(weights_of(stored)) == ["basis.int8", "basis.scale", "table.int8", "table.scale", "w"]
    x = RNG.normal(0, 1, (10, 20)).astype(np.float32)
    expected = run(model, x)
    assert np.sqrt(np.square(run(stored, x) - expected).mean()) < 0.02 * expected.std()
