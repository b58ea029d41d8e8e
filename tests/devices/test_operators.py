"""A model by its operators: what is counted, what real profilers tell, and what happens when they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeml_devices.operator_macs import count_bytes, count_macs, precision_of
from edgeml_devices.operators import OperatorProfile
from edgeml_devices.profilers import job, litert_profile
from edgeml_devices.profilers.litert_profile import match_kernels, profile_litert
from edgeml_devices.profilers.onnxruntime_profile import node_runs, operators_of
from edgeml_devices.profilers.turns import midmean
from edgeml_runtime.errors import BackendError, BackendFailedError, InputError

DATA = Path(__file__).parent / "data"
TRACE = DATA / "onnxruntime-1.32-trace.json"


def tensors(*shapes, dtype="float32"):
    return [(dtype, shape) for shape in shapes]


MACS = [
    ("Conv", [(1, 3, 8, 8), (16, 3, 3, 3), (16,)], (1, 16, 6, 6), 16 * 36 * 27),
    ("Conv", [(1, 16, 8, 8), (16, 1, 3, 3)], (1, 16, 8, 8), 16 * 64 * 9),  # depthwise
    ("NhwcFusedConv", [(1, 8, 8, 4), (6, 4, 1, 1)], (1, 8, 8, 6), 64 * 6 * 4),
    ("QLinearConv", [(1, 8, 8, 4), (), (), (6, 4, 1, 1), (6,), (6,)], (1, 8, 8, 6), 64 * 6 * 4),
    ("ConvTranspose", [(1, 4, 5, 5), (4, 2, 3, 3)], (1, 2, 11, 11), 100 * 18),
    ("Gemm", [(5, 7), (7, 3), (3,)], (5, 3), 5 * 7 * 3),
    ("Gemm", [(5, 7), (3, 7), (3,)], (5, 3), 5 * 7 * 3),  # the weights transposed
    ("FusedMatMul", [(2, 7, 5), (7, 3)], (2, 5, 3), 2 * 5 * 7 * 3),
    ("MatMul", [(2, 4, 5, 7), (2, 4, 7, 3)], (2, 4, 5, 3), 8 * 5 * 7 * 3),
    ("MatMul", [(7,), (7, 3)], (3,), 21),
    ("QGemm", [(1, 64), (), (), (10, 64), (10,)], (1, 10), 640),
    ("DynamicQuantizeMatMul", [(4, 16), (16, 8), (8,)], (4, 8), 512),
    ("LSTM", [(12, 2, 5), (1, 24, 5), (1, 24, 6)], (12, 1, 2, 6), 24 * (24 * 5 + 24 * 6)),
    ("CONV_2D", [(1, 10, 10, 32), (64, 3, 3, 32), (64,)], (1, 4, 4, 64), 16 * 64 * 9 * 32),
    ("DEPTHWISE_CONV_2D", [(1, 8, 8, 1), (1, 3, 3, 32)], (1, 8, 8, 32), 64 * 32 * 9),
    ("FULLY_CONNECTED", [(1, 64), (10, 64), (10,)], (1, 10), 640),
    ("TRANSPOSE_CONV", [(4,), (2, 3, 3, 4), (1, 5, 5, 4)], (1, 11, 11, 2), 100 * 18),
    ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 2, 2, 2, 5), 8 * 5 * 27 * 2),
    ("BATCH_MATMUL", [(3, 5, 7), (3, 7, 2)], (3, 5, 2), 3 * 5 * 7 * 2),
    ("Softmax", [(1, 10)], (1, 10), 0),
]


@pytest.mark.parametrize(("kind", "inputs", "output", "macs"), MACS)
def test_macs(kind, inputs, output, macs):
    assert count_macs(kind, tensors(*inputs), tensors(output)) == macs


def test_macs_that_cannot_be_told():
    assert count_macs("MultiHeadAttention", tensors((1, 4, 8)), tensors((1, 4, 8))) is None
    assert count_macs("Conv", None, None) is None
    with pytest.raises(InputError, match="Conv: expected the shapes of such an operator, found"):
        count_macs("Conv", tensors((1, 3, 8, 8)), tensors((1, 16, 6, 6)))


def test_bytes_count_every_tensor_once():
    assert count_bytes([("uint8", (1, 8)), ("float32", ()), ("int8", (4, 8))], [("int32", (1, 4))]) == 8 + 4 + 32 + 16
    assert count_bytes(None, tensors((1,))) is None
    assert count_bytes([("string", (1,))], tensors((1,))) is None


@pytest.mark.parametrize(
    ("kind", "kernel", "inputs", "output", "precision"),
    [
        ("Conv", None, ["float32", "float32"], "float32", "float32"),
        ("QLinearConv", None, ["uint8", "float32", "uint8", "int8"], "uint8", "int8"),
        ("MatMulIntegerToFloat", None, ["uint8", "int8"], "float32", "int8"),
        ("DynamicQuantizeMatMul", None, ["float32", "int8"], "float32", "int8"),
        ("FULLY_CONNECTED", None, ["float32", "int8"], "float32", "float32 × int8"),
        ("TRANSPOSE_CONV", None, ["int32", "int8", "int8"], "int8", "int8"),
        ("CONV_2D", "Convolution (NHWC, QC8) IGEMM", ["int8", "int8"], "int8", "int8"),
        ("FULLY_CONNECTED", "Fully Connected (NC, QD8, F32, QC8W) GEMM", ["float32", "int8"], "float32", "int8"),
        (None, "Softmax (NC, F32)", None, None, "float32"),
        (None, "Convert (NC)", None, None, None),
        ("QuantizeLinear", None, ["float32"], "uint8", "uint8"),
    ],
)
def test_precision(kind, kernel, inputs, output, precision):
    inputs = None if inputs is None else [(dtype, (1,)) for dtype in inputs]
    outputs = None if output is None else [(output, (1,))]
    assert precision_of(kind, kernel, inputs, outputs) == precision


def test_a_midmean_resolves_what_whole_microseconds_do_not_and_forgets_interruptions():
    assert midmean([3, 4] * 100) == pytest.approx(3.5)
    assert midmean([3.0]) == 3.0
    assert midmean([3, 3, 3, 3, 9000]) == 3
    assert midmean([0, *[3] * 300, *[9000] * 99]) == 3


def test_a_real_trace_is_cut_into_runs():
    events = json.loads(TRACE.read_text(encoding="utf-8"))
    runs = node_runs(events)
    assert len(runs) == 3
    assert {len(run) for run in runs} == {8}
    kinds = [operator.type for operator in operators_of(runs, runs[0])]
    assert kinds == [
        "QLinearConv", "QLinearConv", "QLinearConv", "QLinearGlobalAveragePool", "Transpose", "Reshape", "QGemm",
        "Softmax",
    ]  # fmt: skip
    first = operators_of(runs, runs[0])[0]
    assert first.time_us == np.mean([run[0]["dur"] for run in runs])
    assert first.outputs == (("uint8", (1, 8, 8, 32)),)


def test_nodes_that_run_a_graph_are_left_out_and_repeated_ones_add_up():
    def node(name, kind, dur, index):
        args = {"op_name": kind, "node_index": index, "input_type_shape": [], "output_type_shape": []}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": args}

    step = node("step", "Add", 5, "3")
    ended = {"cat": "Session", "name": "model_run"}
    runs = node_runs([step, step, node("loop", "Loop", 12, "7"), ended, step, step, ended])
    (operator,) = operators_of(runs, runs[0])
    assert (operator.name, operator.time_us, operator.calls) == ("step", 10.0, 2)


def nodes(*kinds):
    return [{"type": kind, "inputs": (), "outputs": ()} for kind in kinds]


@pytest.mark.parametrize(
    ("kernels", "kinds", "matched"),
    [
        (
            ["Convert (NC)", "Convolution (NHWC, F32) IGEMM", "Mean (ND) Reduce2", "Fully Connected (NC, F32) GEMM"],
            ["DEQUANTIZE", "DEPTHWISE_CONV_2D", "PAD", "MEAN", "FULLY_CONNECTED"],
            {1: "DEPTHWISE_CONV_2D", 3: "FULLY_CONNECTED"},
        ),
        (["Fully Connected (NC, F32) GEMM"], ["CONV_2D"], {0: "CONV_2D"}),
        (["Convolution (NHWC, F32) IGEMM"], ["CONV_2D", "CONV_2D"], {}),
        (["Convolution (NHWC, F32) IGEMM"], ["FULLY_CONNECTED"], {}),
        (["Softmax (NC, F32)"], ["SOFTMAX"], {}),
    ],
)
def test_kernels_are_matched_in_order_or_not_at_all(kernels, kinds, matched):
    found = match_kernels(kernels, nodes(*kinds))
    assert {place: node["type"] for place, node in found.items()} == matched


def network():
    """Convolution, depthwise convolution and product; 32 channels, so that no kernel pads any."""
    rng = np.random.default_rng(0)
    weights = {"w0": (32, 3, 3, 3), "w1": (32, 1, 3, 3), "w2": (32 * 6 * 6, 10)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w1"], ["c"], group=32),
            helper.make_node("Flatten", ["c"], ["d"]),
            helper.make_node("MatMul", ["d", "w2"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model.SerializeToString()


NETWORK_MACS = 32 * 64 * 27 + 32 * 36 * 9 + 32 * 36 * 10


def profiled(path, **changes):
    request = {"path": str(path), "variant": None, "threads": 1, "backend": None, "seconds": 0.05}
    return OperatorProfile.from_answer("it", job.profile(request | changes))


def test_onnx_runtime_tells_its_own_times_and_weights_that_it_packed_are_counted(model_file):
    found = profiled(model_file("net.onnx", network()))
    assert found.macs == NETWORK_MACS
    assert found.profiler.startswith("onnxruntime 1.")
    assert found.runs >= 3
    assert found.profiled_ms > found.plain_ms > 0
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert [row.precision for row in found.rows if row.macs] == ["float32"] * 3
    assert "Relu" not in {row.type for row in found.rows}  # fused into the convolution
    assert found.profiled_ms > found.operators_ms


def test_a_variant_of_a_bundle_is_profiled_on_its_golden_input(make_bundle):
    found = profiled(make_bundle(), variant="onnx-fp32")
    assert [(row.type, row.macs, row.bytes) for row in found.rows] == [("Softmax", 0, 32)]


def test_litert_tells_the_times_of_xnnpacks_kernels():
    found = profiled(DATA / "conv-linear.tflite")
    assert found.profiler.startswith("ai-edge-litert 2.3")
    multiplying = [(row.type, row.kernel.partition(" (")[0], row.precision, row.macs) for row in found.rows if row.macs]
    assert multiplying == [
        ("CONV_2D", "Convolution", "float32", 32 * 900 * 27),
        ("FULLY_CONNECTED", "Fully Connected", "float32", 32 * 4),
    ]
    assert max(found.rows, key=lambda row: row.time_ms).type == "CONV_2D"
    assert 0 < found.operators_ms < found.profiled_ms
    assert found.runs >= 3
    assert "interpreter" in found.notes[0]


def test_litert_of_another_release_is_not_called(monkeypatch):
    monkeypatch.setattr(litert_profile, "version", lambda _: "2.2.0")
    with pytest.raises(BackendError, match=r"profiler is used in ai-edge-litert 2.3, and found ai-edge-litert 2.2.0"):
        profile_litert(b"", {}, threads=1, plain=list, seconds=1.0)


def test_a_backend_without_a_profiler_says_so(model_file, monkeypatch):
    monkeypatch.setattr(job, "PROFILERS", {"litert": job.PROFILERS["litert"]})
    with pytest.raises(BackendError, match="uses the profilers of litert, and this ran on onnxruntime"):
        profiled(model_file("net.onnx", network()))


def test_a_file_that_cannot_be_loaded_is_the_answer(model_file, capsys):
    request = {"path": str(model_file(content=b"no model")), "variant": None, "threads": 1, "backend": None}
    assert job.main([json.dumps(request | {"seconds": 0.1})]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "cannot load the model" in answer["error"]
    assert OperatorProfile.from_answer("it", answer).reason == answer["error"]


def test_an_answer_of_litert_with_a_status_is_an_error(tmp_path):
    from edgeml_devices.profilers.litert_profile import _library

    with pytest.raises(BackendFailedError, match=r"LiteRtCreateModelFromFile of libLiteRt.so answered with status"):
        _library().call("LiteRtCreateModelFromFile", None, b"/nowhere", None)
