"""Float layers between quantized ones, which ONNX Runtime would quantize by itself."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_export.onnx_float_layers import keep_float

SHAPES = {
    "three channels": (1, 3, 5, 5),
    "one channel": (1, 1, 5, 5),
    "an open batch": ("batch", 3, 5, 5),
}


def qdq_around_a_convolution(shape):
    """x, quantized and dequantized → Conv with float weights → Relu → quantized and dequantized, y."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / 128),
        "zero": np.uint8(128),
        "w": rng.normal(0, 1, (4, shape[1], 3, 3)).astype(np.float32),
        "b": rng.normal(0, 1, 4).astype(np.float32),
        "out_scale": np.float32(1 / 32),
        "out_zero": np.uint8(0),
    }
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        node("Conv", ["xd", "w", "b"], ["c"], name="conv"),
        node("Relu", ["c"], ["r"], name="relu"),
        node("QuantizeLinear", ["r", "out_scale", "out_zero"], ["rq"]),
        node("DequantizeLinear", ["rq", "out_scale", "out_zero"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [info("x", TensorProto.FLOAT, shape)],
        [info("y", TensorProto.FLOAT, [shape[0], 4, 3, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def optimized(model, path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_layer_stays_float_and_computes_the_same(shape, tmp_path):
    left, kept = (qdq_around_a_convolution(shape) for _ in range(2))
    keep_float(kept, {"conv", "relu"})
    onnx.checker.check_model(kept, full_check=True)
    _, of_left = optimized(left, tmp_path / "left.onnx")
    session, of_kept = optimized(kept, tmp_path / "kept.onnx")
    assert "QLinearConv" in of_left, "what ONNX Runtime does of its own; otherwise this module is not needed any more"
    assert "QLinearConv" not in of_kept
    x = np.random.default_rng(1).uniform(-1, 1, (1, *shape[1:])).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(left.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": x})[0] == pytest.approx(plain.run(None, {"x": x})[0], abs=1 / 32 + 1e-6)


def test_others_are_left_as_they_are():
    model = qdq_around_a_convolution((1, 3, 5, 5))
    before = model.SerializeToString()
    keep_float(model, set())
    keep_float(model, {"relu"})
    assert model.SerializeToString() == before


def test_a_shared_input_keeps_its_single_scale_for_the_others():
    """A quantized neighbour has to find the pattern that it is recognised by."""
    model = qdq_around_a_convolution((1, 3, 5, 5))
    model.graph.node.append(helper.make_node("Relu", ["xd"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3, 5, 5]))
    keep_float(model, {"conv"})
    onnx.checker.check_model(model, full_check=True)
    made = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    assert constants[made["xd"].input[1]].shape == ()
    assert constants[made[conv.input[0]].input[1]].shape == (3,)
