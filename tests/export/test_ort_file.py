"""Files in ONNX Runtime's own format: same answers, same bytes, and kept from CPUs that would read them wrongly."""

from __future__ import annotations

import resource
import signal
import struct

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeml_export import ort_file
from edgeml_export.ort_canonical import canonical_ort
from edgeml_export.ort_file import required_isa, save_ort
from edgeml_runtime.backends.onnxruntime import OnnxRuntimeBackend
from edgeml_runtime.errors import DefectError, ProjectError, StorageError
from edgeml_runtime.isa import cpu_features

RNG = np.random.default_rng(5)


def constant(name, shape, scale=0.2):
    return numpy_helper.from_array((RNG.standard_normal(shape) * scale).astype(np.float32), name)


def model_of(nodes, constants, outputs, *, x=(1, 16, 6, 6)):
    inputs, results = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        for shapes in ({"x": x}, outputs)
    )
    graph = helper.make_graph(nodes, "model", inputs, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="")
    onnx.checker.check_model(model, full_check=True)
    model.metadata_props.add(key="labels", value='["one", "two"]')
    return model.SerializeToString(deterministic=True)


def branches():
    """A float convolution and two behind it, whose layout has to be undone for the outputs and for a product."""
    names = ["y0", "y1", "y2"]
    constants = [constant(f"w_{name}", (16, 16, 3, 3)) for name in names]
    nodes = [
        helper.make_node("Conv", ["x" if name == "y0" else "y0", f"w_{name}"], [name], pads=[1, 1, 1, 1])
        for name in names
    ]
    nodes.append(helper.make_node("MatMul", ["y1", "y2"], ["y3"]))
    return model_of(nodes, constants, dict.fromkeys([*names, "y3"], (1, 16, 6, 6)))


def with_subgraphs():
    """A choice between two matrices, in graphs of their own."""
    out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, (1, 3))
    bodies = [
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Relu", ["product"], ["inner"])],
            f"body{index}",
            [],
            [out],
            [constant("w", (4, 3))],
        )
        for index in range(2)
    ]
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["above"]),
        helper.make_node("If", ["above"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    return model_of(nodes, [numpy_helper.from_array(np.float32(0), "zero")], {"y": (1, 3)}, x=(1, 4))


def dense():
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Softmax", ["h"], ["y"])]
    return model_of(nodes, [constant("w", (4, 3)), constant("b", (3,))], {"y": (1, 3)}, x=(1, 4))


MODELS = {"branches": branches(), "subgraphs": with_subgraphs(), "dense": dense()}


def canonical(name):
    """A file of one of the models that this CPU reads, whether or not it may be shipped."""
    return canonical_ort(ort_file._optimized(MODELS[name]))


def run(content, outputs, feeds):
    """Through the runtime's own backend, as a device does."""
    backend = OnnxRuntimeBackend.create(content, input_names=list(feeds), output_names=outputs, threads=1)
    return backend.run(list(feeds.values()))


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_file_gives_the_same_answers(name):
    model = onnx.load_from_string(MODELS[name])
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    outputs = [value.name for value in model.graph.output]
    for _ in range(4):
        x = RNG.standard_normal(shape).astype(np.float32)
        before, after = (run(one, outputs, {"x": x}) for one in (MODELS[name], canonical(name).content))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_is_the_same_bytes_however_onnx_runtime_orders_it(name):
    """Its order is that of addresses and of hash tables, so that every session of a process has its own."""
    raw = {ort_file._optimized(MODELS[name]) for _ in range(24)}
    assert len(raw) > 1, "this test proves nothing when ONNX Runtime itself writes the same bytes"
    assert len({canonical_ort(one).content for one in raw}) == 1
    content = canonical(name).content
    assert canonical_ort(content).content == content
    assert len(content) <= min(map(len, raw))


@pytest.mark.parametrize("variant", ["onnx-fp32", "onnx-int8"])
def test_a_variant_of_a_real_export(exported, items, variant):
    content = exported.converted[variant].content
    saved = canonical_ort(ort_file._optimized(content)).content
    for index in range(20):
        feeds = {"waveform": items.test.inputs["waveform"][index : index + 1]}
        before, after = (run(one, ["logits", "scores"], feeds) for one in (content, saved))
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_nodes_are_numbered_in_an_order_in_which_they_can_run(name):
    """Read with the bindings that come with ONNX Runtime."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    graph = InferenceSession.GetRootAs(bytearray(canonical(name).content)).Model().Graph()
    nodes = [graph.Nodes(position) for position in range(graph.NodesLength())]
    assert [node.Index() for node in nodes] == list(range(len(nodes)))
    assert graph.MaxNodeIndex() == len(nodes)
    seen = set()
    made = {node.Outputs(index) for node in nodes for index in range(node.OutputsLength())}
    for node in nodes:
        assert {node.Inputs(index) for index in range(node.InputsLength())} & made <= seen
        seen.update(node.Outputs(index) for index in range(node.OutputsLength()))


def test_labels_and_names_of_tensors_stay():
    session = onnxruntime.InferenceSession(canonical("dense").content)
    assert session.get_modelmeta().custom_metadata_map == {"labels": '["one", "two"]'}
    assert [value.name for value in session.get_inputs()] == ["x"]
    assert [value.name for value in session.get_outputs()] == ["y"]


def test_it_is_saved_at_full_optimization():
    blocked = {operator for domain, operator in canonical("branches").operators if domain == "com.microsoft.nchwc"}
    assert blocked == {"Conv", "ReorderInput", "ReorderOutput"}


def test_blocked_weights_are_kept_from_cpus_with_other_blocks():
    if "avx512f" in cpu_features():
        assert save_ort(MODELS["branches"]).requires_isa == ("avx512f",)
    elif "avx2" in cpu_features():
        with pytest.raises(ProjectError, match=r"blocks of 8 channels.*export on a CPU with AVX-512F"):
            save_ort(MODELS["branches"])


def test_other_files_run_everywhere_from_the_release_on_that_saved_them():
    saved = save_ort(MODELS["dense"])
    assert saved.content == canonical("dense").content
    assert saved.requires_isa == ()
    assert onnxruntime.__version__.startswith(saved.min_onnxruntime + ".")


@pytest.mark.parametrize(
    ("machine", "block", "expected"),
    [("x86_64", 16, ("avx512f",)), ("AMD64", 16, ("avx512f",)), ("aarch64", 16, ("asimd",)), ("arm64", 16, ("asimd",))],
)
def test_the_required_feature_follows_from_the_blocks(machine, block, expected):
    assert required_isa(machine, block) == expected


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "loongarch64"])
def test_small_blocks_cannot_be_told_apart(machine):
    with pytest.raises(ProjectError, match=rf"blocks of 8 channels.*{machine}.*AVX-512F would read them in the wrong"):
        required_isa(machine, 8)


def test_the_blocks_are_those_of_this_cpu():
    features = cpu_features()
    if "avx512f" in features:
        assert ort_file._channel_block() == 16
    elif "avx2" in features:
        assert ort_file._channel_block() == 8


def test_a_model_that_cannot_be_loaded_is_the_projects_fault():
    broken = onnx.load_from_string(MODELS["dense"])
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(
        ProjectError, match=r"cannot save the model as an \.ort file: .*NoSuchOperator.*leave the variant"
    ):
        save_ort(broken.SerializeToString())


def test_a_full_disk_is_not():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(StorageError, match="onnxruntime failed to save a file; make room"):
            save_ort(MODELS["dense"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_field_that_is_not_known_is_not_lost_silently():
    """A later release may add one: here the root table gets a fifth."""
    builder = flatbuffers.Builder(64)
    version = builder.CreateString("7")
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(0, version, 0)
    builder.PrependInt32Slot(4, 1, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"ORTM")
    with pytest.raises(DefectError, match=r"\.ort files with a field 4 of InferenceSession"):
        canonical_ort(bytes(builder.Output()))


@pytest.mark.parametrize("content", [MODELS["dense"], struct.pack("<I4s", 8, b"TFL3")], ids=["ONNX", "TFLite"])
def test_another_format_is_refused(content):
    with pytest.raises(DefectError, match=r"expected an \.ort file"):
        canonical_ort(content)
