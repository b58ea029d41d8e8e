"""Files that end after one of their layers run, and give what the whole file computes up to there."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_devices.emulator.guest.onnx_cut import OnnxCutter
from edgeml_devices.emulator.guest.tflite_cut import TfliteCutter
from edgeml_runtime.backends.litert import interpreter_class
from edgeml_runtime.errors import BackendFailedError

TFLITE = Path(__file__).parent.parent / "data" / "conv-linear.tflite"
RNG = np.random.default_rng(0)


def onnx_model():
    weights = RNG.standard_normal((4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Split", ["b"], ["c", "d", "e"], axis=1, num_outputs=3),
        helper.make_node("Add", ["c", "c"], ["y"], name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def run_onnx(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [output.name for output in session.get_outputs()], session.run(None, feeds)


class TestOnnx:
    def test_every_beginning_gives_what_the_whole_has_there(self):
        model, x = onnx_model(), RNG.standard_normal((2, 4)).astype(np.float32)
        cutter = OnnxCutter(model)
        assert [(node.name, node.type, node.output) for node in cutter.nodes] == [
            ("first", "MatMul", "a"),
            ("b", "Relu", "b"),
            ("c", "Split", "c"),
            ("last", "Add", "y"),
        ]
        whole = onnx.load_from_string(model)
        for node in cutter.nodes:
            whole.graph.output.append(helper.make_empty_tensor_value_info(node.output))
        names, values = run_onnx(whole.SerializeToString(), {"x": x})
        expected = dict(zip(names, values, strict=True))
        for number, node in enumerate(cutter.nodes, 1):
            found, (value,) = run_onnx(cutter.cut(number), {"x": x})
            assert found == [node.output]
            np.testing.assert_array_equal(value, expected[node.output])

    def test_without_nodes_the_input_is_copied(self):
        x = np.ones((2, 4), np.float32)
        _, (value,) = run_onnx(OnnxCutter(onnx_model()).cut(0), {"x": x})
        np.testing.assert_array_equal(value, x)

    def test_an_output_that_is_left_out_is_passed_over(self):
        node = helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=1)
        given = [helper.make_empty_tensor_value_info("x")]
        model = helper.make_model(helper.make_graph([node], "g", given, [helper.make_empty_tensor_value_info("h")]))
        assert OnnxCutter(model.SerializeToString()).nodes[0].output == "h"

    @pytest.mark.parametrize("content", [b"", b"\x0a", b"no onnx file at all", b"\x3a\x7f", b"\x3a\x00"])
    def test_rubbish_is_refused(self, content):
        with pytest.raises(BackendFailedError, match="not cut"):
            OnnxCutter(content)

    def test_a_file_that_ends_early_is_refused(self):
        model = onnx_model()
        for length in range(1, len(model), 7):
            with pytest.raises(BackendFailedError, match="not cut"):
                OnnxCutter(model[:length])


def run_tflite(model, feed=None):
    interpreter = interpreter_class()(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    feed = RNG.standard_normal(given["shape"]).astype(given["dtype"]) if feed is None else feed
    interpreter.set_tensor(given["index"], feed)
    interpreter.invoke()
    return feed, taken["index"], interpreter.get_tensor(taken["index"])


class TestTflite:
    def test_the_last_beginning_is_the_whole(self):
        model = TFLITE.read_bytes()
        cutter = TfliteCutter(model)
        feed, index, value = run_tflite(model)
        _, found, same = run_tflite(cutter.cut(cutter.operators), feed)
        assert found == index
        np.testing.assert_array_equal(same, value)

    def test_every_beginning_runs_and_ends_elsewhere(self):
        model = TFLITE.read_bytes()
        cutter = TfliteCutter(model)
        ends = [run_tflite(cutter.cut(number))[1] for number in range(1, cutter.operators + 1)]
        assert len(set(ends)) == cutter.operators >= 2
        assert all(len(cutter.cut(number)) == len(model) for number in range(cutter.operators + 1))

    def test_without_operators_the_input_is_the_output(self):
        feed, _, value = run_tflite(TfliteCutter(TFLITE.read_bytes()).cut(0))
        np.testing.assert_array_equal(value, feed)

    @pytest.mark.parametrize("content", [b"", b"\x00" * 3, b"\xff" * 64, b"\x00" * 64])
    def test_rubbish_is_refused(self, content):
        with pytest.raises(BackendFailedError, match="TFLite file"):
            TfliteCutter(content)
