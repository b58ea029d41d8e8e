"""Reading model files of unknown origin: what they are, what is refused, and what hostile ones do not do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edgeml_export.foreign import export_foreign
from edgeml_export.foreign.facts import ForeignFacts
from edgeml_export.foreign.file import ForeignFile, ForeignKind, ForeignLimits, read_foreign
from edgeml_export.foreign.onnx import inspect_onnx, parse_onnx
from edgeml_export.foreign.process import ForeignProcess
from edgeml_export.foreign.tflite import inspect_tflite, min_litert
from edgeml_export.scheme import Precision
from edgeml_runtime.errors import ProjectError


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = load("foreign_models")
LIMITS = ForeignLimits()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.onnx", b"", "found an empty file"),
        ("m.bin", b"\x08\x08 something", "not named .onnx: it is damaged"),
        ("m.tflite", b"\0\0\0\0ORTM....", "wrap the .onnx file"),
        ("m.h5", b"\x89HDF\r\n\x1a\n....", "Keras or HDF5"),
        ("m.pt2", b"\x80\x05pickle", "never loaded"),
        ("m.tflite", models.tflite_float()[:2], "damaged, truncated"),
    ],
)
def test_what_is_no_model_file_is_named(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=says):
        read_foreign(tmp_path / name, LIMITS)


def test_missing_folder_and_too_large(tmp_path):
    with pytest.raises(ProjectError, match="found a folder"):
        read_foreign(tmp_path, LIMITS)
    with pytest.raises(ProjectError, match="cannot be read: No such file"):
        read_foreign(tmp_path / "none.onnx", LIMITS)
    (tmp_path / "m.onnx").write_bytes(bytes(101))
    with pytest.raises(ProjectError, match="at most 100 bytes"):
        read_foreign(tmp_path / "m.onnx", ForeignLimits(max_file_bytes=100))


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("m.bin", models.tflite_float(), ForeignKind.TFLITE),
        ("m.onnx", models.onnx_file(), ForeignKind.ONNX),
        ("m.zip", b"PK\x03\x04....", ForeignKind.PT2),
    ],
)
def test_the_kind_is_in_the_content(tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    assert read_foreign(tmp_path / name, LIMITS) == ForeignFile(name=name, kind=kind, content=content)


@pytest.mark.parametrize(
    ("content", "precision", "weight_bytes", "int8", "refused"),
    [
        (models.tflite_float(), Precision.FP32, 24 * 4 + 12, 0, False),
        (models.tflite_float(weights="FLOAT16"), Precision.FP16, 24 * 2 + 12, 0, False),
        (models.tflite_float(weights="INT8"), Precision.W8, 24 + 12, 0, False),
        (models.tflite_float(weights="hybrid"), Precision.INT8_DYNAMIC, 24 + 12, 1, False),
        (models.tflite_float(weights="hybrid", per_channel=True), Precision.INT8_DYNAMIC, 24 + 12, 1, True),
        (models.tflite_int8(), Precision.INT8, 24 + 12, 1, False),
        (models.tflite_int8(kind="INT16"), Precision.INT16X8, 24 + 24, 1, False),
    ],
    ids=["fp32", "fp16", "w8", "dynamic", "dynamic-per-channel", "int8", "int16x8"],
)
def test_what_a_tflite_file_is(content, precision, weight_bytes, int8, refused):
    facts = inspect_tflite(content, LIMITS)
    assert facts.precision is precision
    assert facts.inventory.weight_bytes == weight_bytes
    assert facts.inventory.operators.int8 == int8
    assert ("tflite-runtime" in facts.refused_by) is refused
    assert ForeignFacts.from_dict(facts.to_dict()) == facts


def test_a_tflite_file_that_only_adds_has_the_precision_of_its_tensors():
    file = models.Tflite()
    x, y = (file.tensor(name, "INT8", [1, 8], scale=0.1) for name in "xy")
    file.operator("ADD", [x, x], [y], schema.AddOptionsT(), version=2)
    assert inspect_tflite(file.finish([x], [y]), LIMITS).precision is Precision.INT8


@pytest.mark.parametrize(
    ("note", "oldest"), [(b"2.3.0", "1.0.1"), (b"2.17.1", "1.0.1"), (b"2.18.0", "9.9"), (b"", "9.9"), (b"new", "9.9")]
)
def test_the_oldest_litert_follows_from_the_converters_note(note, oldest):
    file = models.Tflite()
    x, y = (file.tensor(name, "FLOAT32", [1, 8]) for name in "xy")
    file.operator("TANH", [x], [y])
    file.note(b"min_runtime_version", note)
    assert min_litert(file.finish([x], [y]), "9.9") == oldest


def broken_tflite(change):
    file = models.Tflite()
    x, y = (file.tensor(name, "FLOAT32", [1, 8]) for name in "xy")
    file.operator("TANH", [x], [y])
    change(file)
    return file.finish([x], [y])


def _other_input(file):
    file.graph.operators[0].inputs = np.array([77], np.int32)


def _other_code(file):
    file.graph.operators[0].opcodeIndex = 5


def _other_buffer(file):
    file.graph.tensors[0].buffer = 9


def _negative(file):
    file.graph.tensors[0].shape = np.array([1, -8], np.int32)


def _huge(file):
    file.graph.tensors[0].shape = np.array([1, 1 << 30], np.int32)


def _four_bits(file):
    file.graph.tensors[0].type = schema.TensorType.INT4


def _same_names(file):
    file.graph.tensors.append(file.graph.tensors[0])
    file.finish = lambda x, y: models.Tflite.finish(file, [0, 2], [1])


def _two_graphs(file):
    file.model.subgraphs.append(file.graph)


def _while(file):
    options = schema.WhileOptionsT()
    file.operator("WHILE", [0], [1], options)


def _nothing(file):
    file.graph.operators.clear()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_other_input, "offsets lead outside"),
        (_other_code, "offsets lead outside"),
        (_other_buffer, "offsets lead outside"),
        (_negative, "offsets lead outside"),
        (_huge, "found 1073741824 in 'x'"),
        (_four_bits, "weights of 8 bits or more"),
        (_same_names, "names of their own"),
        (_two_graphs, "one subgraph, found 2"),
        (_while, "control flow, found WHILE"),
        (_nothing, "without some of them"),
    ],
)
def test_a_tflite_file_that_cannot_be_wrapped_is_refused(change, says):
    with pytest.raises(ProjectError, match=says):
        inspect_tflite(broken_tflite(change), LIMITS)


def test_a_truncated_tflite_file_is_refused_wherever_it_ends():
    content = models.tflite_float()
    for end in range(8, len(content), 61):
        with pytest.raises(ProjectError):
            inspect_tflite(content[:end], LIMITS)


def test_too_many_operators_are_not_even_unpacked():
    with pytest.raises(ProjectError, match="at most 0 operators"):
        inspect_tflite(models.tflite_float(), ForeignLimits(max_operators=0))


def with_node(node, *, before=0):
    model = models.onnx_model()
    model.graph.node.insert(before, node)
    return model


def _external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _if(model):
    branch = helper.make_graph([helper.make_node("Identity", ["features"], ["b"])], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch, name="choice"))


def _int4(model):
    model.graph.initializer[0].data_type = TensorProto.INT4


def _large(model):
    model.graph.initializer[0].dims[0] = 1 << 60


def _many_bits(model):
    model.graph.node.append(helper.make_node("MatMulNBits", ["a"], ["b"], domain="com.microsoft"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_external, "found 'weights' in a file beside it; join them with onnx.save_model"),
        (_if, r"control flow, found the operator If \(choice\)"),
        (_int4, "'weights': expected weights of 8 bits or more"),
        (_large, "'weights': expected at most"),
        (_many_bits, "found the operator MatMulNBits"),
        (lambda model: model.graph.ClearField("node"), "without some of them"),
    ],
)
def test_an_onnx_file_that_cannot_be_wrapped_is_refused(change, says):
    model = models.onnx_model()
    change(model)
    with pytest.raises(ProjectError, match=says):
        parse_onnx(model.SerializeToString(), LIMITS)


def test_bytes_that_are_no_onnx_file_are_refused():
    content = models.onnx_file()
    with pytest.raises(ProjectError, match="truncated or damaged"):
        parse_onnx(content[:-7], LIMITS)
    with pytest.raises(ProjectError, match="at most 1 operators, found 2"):
        parse_onnx(content, ForeignLimits(max_operators=1))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (with_node(helper.make_node("Frobnicate", ["features"], ["a"])), "ONNX has no operator Frobnicate"),
        (
            with_node(helper.make_node("Tanh", ["nowhere"], ["a"])),
            r"check_model\(full_check=True\) accepts: .*nowhere",
        ),
        (models.onnx_model(features=9), "check_model"),
    ],
    ids=["operator", "dangling", "shapes"],
)
def test_an_onnx_file_that_breaks_the_rules_is_refused(model, says):
    with pytest.raises(ProjectError, match=says):
        inspect_onnx(model.SerializeToString(), LIMITS)


def test_an_operator_that_onnx_runtime_lacks_is_named():
    model = with_node(helper.make_node("Frobnicate", ["features"], ["a"], domain="com.acme"))
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    with pytest.raises(ProjectError, match=r"ONNX Runtime lacks the operator com\.acme[:.]Frobnicate"):
        inspect_onnx(model.SerializeToString(), LIMITS)


def converted_weights(kind):
    """The float model with its weights stored as another type, and turned back in front of the product."""
    model = models.onnx_model()
    stored = {
        "fp16": models.WEIGHTS.astype(np.float16),
        "w8": models.int8_weights()[0],
    }[kind]
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(stored, "stored"))
    if kind == "fp16":
        node = helper.make_node("Cast", ["stored"], ["weights"], to=TensorProto.FLOAT)
    else:
        model.graph.initializer.append(numpy_helper.from_array(np.float32(models.int8_weights()[1]), "scale"))
        model.graph.initializer.append(numpy_helper.from_array(np.int8(0), "zero"))
        node = helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["weights"])
    model.graph.node.insert(0, node)
    return model


@pytest.mark.parametrize(
    ("model", "precision", "weight_bytes"),
    [
        (models.onnx_model(), Precision.FP32, 24 * 4 + 12),
        (converted_weights("fp16"), Precision.FP16, 24 * 2 + 12),
        (converted_weights("w8"), Precision.W8, 24 + 12),
    ],
    ids=["fp32", "fp16", "w8"],
)
def test_what_an_onnx_file_is(model, precision, weight_bytes):
    facts = inspect_onnx(model.SerializeToString(), LIMITS)
    assert (facts.precision, facts.inventory.weight_bytes) == (precision, weight_bytes)
    assert [str(tensor) for tensor in facts.inputs] == ["'features' float32[batch, 8]"]
    assert [str(tensor) for tensor in facts.outputs] == ["'scores' float32[batch, 3]"]


def test_local_functions_are_looked_into():
    model = converted_weights("w8")
    turned = model.graph.node[0]
    inner = helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"])
    function = helper.make_function("local", "Back", ["w", "s", "z"], ["f"], [inner], [helper.make_opsetid("", 17)])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node[0].CopyFrom(helper.make_node("Back", turned.input, turned.output, domain="local", name="back"))
    assert inspect_onnx(model.SerializeToString(), LIMITS).precision is Precision.W8


def wrapped(tmp_path, content, name="m.tflite", **named):
    (tmp_path / name).write_bytes(content)
    return export_foreign(
        tmp_path / name, contract=models.contract(), out=tmp_path / "x.edgeml", unscored=True, **named
    )


def custom(name, options):
    file = models.Tflite()
    x = file.tensor("x", "FLOAT32", [1, 8])
    y = file.tensor("y", "FLOAT32", [1, 3])
    file.operator("CUSTOM", [x], [y], custom=name, custom_options=options)
    return file.finish([x], [y])


def test_a_crash_in_native_code_is_an_error_here(tmp_path):
    """A vector of 2 GiB in the options of an operator that reads them without a check."""
    with pytest.raises(ProjectError, match=r"m.tflite: the inference library crashed \(SIGSEGV\)"):
        wrapped(tmp_path, custom(b"Mfcc", b"\xf0\xff\xff\x7f\x24\x04"))
    assert list(tmp_path.iterdir()) == [tmp_path / "m.tflite"]


def test_an_operator_that_litert_lacks_is_named(tmp_path):
    with pytest.raises(ProjectError, match=r"lacks the operator Acme\.Op: convert the model without it"):
        wrapped(tmp_path, custom(b"Acme.Op", b""))
    file = models.Tflite()
    x = file.tensor("x", "FLOAT32", [1, 8])
    y = file.tensor("y", "FLOAT32", [1, 3])
    file.operator("TANH", [x], [y], version=99)
    with pytest.raises(ProjectError, match="lacks the operator TANH in version 99"):
        wrapped(tmp_path, file.finish([x], [y]))


def test_shapes_that_only_show_when_it_runs_are_refused(tmp_path):
    file = models.Tflite()
    x = file.tensor("x", "FLOAT32", [1, 8])
    y = file.tensor("y", "FLOAT32", [1, 3])
    file.operator("TANH", [x], [y])
    with pytest.raises(ProjectError, match=r"'scores': expected float32\[3\] for one item, found float32\[8\]"):
        wrapped(tmp_path, file.finish([x], [y]))


def test_a_file_that_takes_too_long_is_given_up(tmp_path):
    with pytest.raises(ProjectError, match=r"no sign of life for 0\.01 s from the process that was to inspect"):
        wrapped(tmp_path, models.tflite_float(), limits=ForeignLimits(max_silence_s=0.01))


def test_memory_is_capped(tmp_path):
    content = models.onnx_file()
    with (
        ForeignProcess(ForeignLimits(max_memory_bytes=1 << 20)) as process,
        pytest.raises(ProjectError, match="it needs more than 1048576 bytes of memory"),
    ):
        process.inspect(ForeignFile(name="m.onnx", kind=ForeignKind.ONNX, content=content))


def test_the_process_is_gone_afterwards():
    with ForeignProcess(LIMITS) as process:
        inner = process._process
        process.inspect(ForeignFile(name="m", kind=ForeignKind.TFLITE, content=models.tflite_float()))
        assert inner.poll() is None
    assert inner.returncode is not None
    assert not process._folder.exists()
