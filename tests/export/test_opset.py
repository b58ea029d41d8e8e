"""The operator set: which one a contract's oldest ONNX Runtime reads, and lowering a model to it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeml_export.opset import EMITTED_OPSET, OpsetChoice, choose_opset, convert_opset
from edgeml_runtime.contract import Budget, BudgetName
from edgeml_runtime.errors import ProjectError


def budget(**changes):
    return Budget(profile="rpi4", name=BudgetName.LATENCY_MS_P95, limit=5.0, **changes)


@pytest.mark.parametrize(
    ("oldest", "opset", "ir_version"),
    [
        ("1.12", 17, 8),
        ("1.12.1", 17, 8),
        ("1.13.1", 17, 8),
        ("1.14", 18, 8),
        ("1.15", 18, 8),
        ("1.20", 18, 8),
        ("1.32.0", 18, 8),
        ("2.0", 18, 8),
    ],
)
def test_the_opset_is_the_newest_that_the_oldest_runtime_reads(make_contract, oldest, opset, ir_version):
    choice = choose_opset(make_contract(oldest_onnxruntime=oldest))
    assert choice == OpsetChoice(opset=opset, ir_version=ir_version, min_onnxruntime=oldest)


def test_a_contract_that_says_nothing_keeps_what_the_exporter_writes(make_contract):
    assert choose_opset(make_contract()).opset == EMITTED_OPSET


@pytest.mark.parametrize(
    ("emitted", "oldest", "opset", "ir_version"),
    [(13, "1.15", 13, 8), (19, "1.15", 19, 8), (19, "1.16", 19, 9), (20, "1.15", 19, 8), (22, "1.30", 21, 10)],
)
def test_a_model_of_another_origin_is_lowered_and_never_raised(make_contract, emitted, oldest, opset, ir_version):
    choice = choose_opset(make_contract(oldest_onnxruntime=oldest), emitted=emitted)
    assert (choice.opset, choice.ir_version) == (opset, ir_version)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"backend": "onnxruntime", "backend_version": "1.13.1"}, "1.13.1"),
        ({"variant": "onnx-int8", "backend_version": "1.12.0"}, "1.12.0"),
        ({"variant": "ort-fp32", "backend_version": "1.14"}, "1.14"),
        ({"backend": "onnxruntime", "backend_version": "1.9rc1"}, None),
        ({"backend": "onnxruntime", "backend_version": "1.30.0"}, "1.15"),
        ({"backend": "onnxruntime"}, "1.15"),
        ({"backend": "litert", "backend_version": "1.3"}, "1.15"),
        ({"variant": "tflite-int8", "backend_version": "1.3"}, "1.15"),
        ({"backend_version": "1.3"}, "1.15"),
    ],
)
def test_budgets_name_runtimes_too(make_contract, given, expected):
    contract = replace(make_contract(), budgets=(budget(), budget(**given)))
    if expected is None:
        with pytest.raises(ProjectError, match=r"budgets\.rpi4\.latency_ms_p95\.backend_version.*1\.12 or newer"):
            choose_opset(contract)
    else:
        assert choose_opset(contract).min_onnxruntime == expected


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("1.11.1", r"export\.oldest_onnxruntime: expected ONNX Runtime 1\.12 or newer.*found '1\.11\.1'; name a newer"),
        ("newest", r"export\.oldest_onnxruntime: expected a release of ONNX Runtime, such as '1\.15'; found 'newest'"),
    ],
)
def test_what_cannot_be_chosen_for_is_refused(make_contract, release, message):
    contract = make_contract()
    contract = replace(contract, export=replace(contract.export, oldest_onnxruntime=release))
    with pytest.raises(ProjectError, match=message):
        choose_opset(contract)


FOR_1_13 = OpsetChoice(opset=17, ir_version=8, min_onnxruntime="1.13")


def constant(name, values, dtype=np.int64):
    return numpy_helper.from_array(np.array(values, dtype), name)


def model_of(*nodes, constants=(), y=(1, 4), opset=18, inputs=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, y)
    graph = helper.make_graph(list(nodes), "graph", [x, *inputs], [out], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


REDUCE = model_of(
    helper.make_node("ReduceMean", ["x", "axes"], ["mean"], name="first", keepdims=1),
    helper.make_node("Sub", ["x", "mean"], ["difference"]),
    helper.make_node("ReduceMax", ["difference", "axes"], ["y"], name="second"),
    constants=[constant("axes", [1])],
    y=(1, 1),
)


def test_a_lowered_model_passes_every_check_and_computes_the_same():
    before = copy.deepcopy(REDUCE)
    lowered = convert_opset(REDUCE, FOR_1_13)
    assert before == REDUCE
    assert (lowered.opset_import[0].version, lowered.ir_version) == (17, 8)
    assert [node.name for node in lowered.graph.node] == ["first", "", "second"]
    assert not lowered.graph.value_info
    onnx.checker.check_model(lowered, full_check=True)
    onnx.shape_inference.infer_shapes(lowered, check_type=True, strict_mode=True, data_prop=True)
    x = np.array([[1.0, 2.0, 4.0, 9.0]], np.float32)
    for run in (ReferenceEvaluator(lowered).run, onnxruntime.InferenceSession(lowered.SerializeToString()).run):
        np.testing.assert_array_equal(run(None, {"x": x})[0], [[5.0]])
    assert lowered.SerializeToString(deterministic=True) == convert_opset(REDUCE, FOR_1_13).SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("opset", [13, 17])
def test_a_model_that_the_runtime_reads_keeps_its_operators(opset):
    model = model_of(helper.make_node("Relu", ["x"], ["y"]), opset=opset)
    kept = convert_opset(model, FOR_1_13)
    assert kept.graph == model.graph
    assert kept.opset_import == model.opset_import
    assert kept.ir_version == 8


def test_an_older_file_format_stays():
    model = model_of(helper.make_node("Relu", ["x"], ["y"]), opset=13)
    model.ir_version = 7
    assert convert_opset(model, FOR_1_13).ir_version == 7


def test_functions_are_written_out_before_they_would_be_dropped():
    body = helper.make_node("Relu", ["a"], ["b"])
    double = helper.make_function("own", "Rectify", ["a"], ["b"], [body], [helper.make_opsetid("", 18)])
    model = model_of(helper.make_node("Rectify", ["x"], ["y"], domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(double)
    lowered = convert_opset(model, FOR_1_13)
    assert [node.op_type for node in lowered.graph.node] == ["Relu"]


REDUCE_NODE = helper.make_node("ReduceMean", ["x", "axes"], ["mean"])


@pytest.mark.parametrize(
    ("model", "operators"),
    [
        pytest.param(
            model_of(
                REDUCE_NODE,
                helper.make_node("Add", ["x", "mean"], ["sum"]),
                helper.make_node("Pad", ["sum", "pads"], ["y"]),
                constants=[constant("axes", [1]), constant("pads", [0, 0, 0, 1])],
                y=(1, 5),
            ),
            "Pad",
            id="no adapter",
        ),
        pytest.param(
            model_of(
                helper.make_node("Mish", ["x"], ["m"]),
                helper.make_node("Split", ["m"], ["y", "z"], num_outputs=2, axis=1),
                y=(1, 2),
            ),
            "Mish, Split",
            id="two of them, one unknown to the older set",
        ),
        pytest.param(
            model_of(
                helper.make_node("Cast", ["where"], ["axes"], to=TensorProto.INT64),
                helper.make_node("ReduceMean", ["x", "axes"], ["y"]),
                y=(None, None),
                inputs=[helper.make_tensor_value_info("where", TensorProto.INT32, [1])],
            ),
            "ReduceMean",
            id="axes that are computed",
        ),
        pytest.param(
            model_of(helper.make_node("ReduceMean", ["x"], ["y"], noop_with_empty_axes=1)),
            "ReduceMean",
            id="an attribute that the converter leaves",
        ),
    ],
)
def test_what_cannot_be_lowered_is_named_with_the_way_out(model, operators):
    onnx.checker.check_model(model, full_check=True)
    with pytest.raises(ProjectError) as caught:
        convert_opset(model, FOR_1_13)
    message = str(caught.value)
    assert message.startswith("ONNX Runtime 1.13, the oldest that the contract names, reads operator set 17 at most")
    assert f"and {operators} as the model uses it needs 18; name 1.14 or newer in export.oldest_onnxruntime" in message


def test_every_onnx_variant_can_be_shipped_for_an_older_runtime(exported):
    for variant in ("onnx-fp32", "onnx-int8"):
        model = onnx.load_from_string(exported.converted[variant].content)
        lowered = convert_opset(model, FOR_1_13)
        x = {"waveform": np.arange(256, dtype=np.int16)[None] * 100}
        before, after = (
            onnxruntime.InferenceSession(item.SerializeToString()).run(None, x) for item in (model, lowered)
        )
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
