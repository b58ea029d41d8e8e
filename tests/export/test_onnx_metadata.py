"""What an ONNX file says of itself, read as other tools read it."""

from __future__ import annotations

import ast
import copy
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgeml_export.onnx_compact import compact_onnx
from edgeml_export.onnx_metadata import describe_onnx
from edgeml_runtime.contract import TargetKind, TargetSpec
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec

LABELS = ("tench", "it's", 'a "kite"', "Großer Fuchs")
ONNX_TYPES = {DType.UINT8: TensorProto.UINT8, DType.INT16: TensorProto.INT16, DType.FLOAT32: TensorProto.FLOAT}


def image(name="image", shape=(6, 5, 3), range_=(0, 255)):
    loader = LoaderSpec(name="image", version=1)
    return InputSpec(
        name=name, dtype=DType.UINT8, shape=shape, range=range_, unit="sRGB pixel", source="camera", loader=loader
    )


RECORDING = InputSpec(
    name="waveform",
    dtype=DType.INT16,
    shape=(30,),
    range=(-32768, 32767),
    unit="PCM sample",
    source="microphone",
    loader=LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 16000}),
)
READING = InputSpec(
    name="pressure",
    dtype=DType.FLOAT32,
    shape=(2,),
    range=(-0.5, 1e6),
    unit="kPa",
    source="tank sensor",
    allow_missing=True,
)


def contract_of(make_contract, *inputs, labels=LABELS, version="1.2.345"):
    shape = (len(labels),)
    outputs = (
        OutputSpec(name="logits", dtype=DType.FLOAT32, shape=shape, role=OutputRole.LOGITS),
        OutputSpec(name="scores", dtype=DType.FLOAT32, shape=shape, role=OutputRole.SCORES, labels=labels),
    )
    return replace(make_contract(), inputs=inputs, outputs=outputs, version=version)


def model_of(contract):
    """A model with the contract's inputs and outputs; the outputs do not depend on what is in the inputs."""
    values = {
        spec.name: helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.dtype], (1, *spec.shape))
        for spec in (*contract.inputs, *contract.outputs)
    }
    constants, nodes = [], []
    for spec in contract.inputs:
        nodes.append(helper.make_node("Flatten", [spec.name], [f"flat_{spec.name}"]))
        nodes.append(helper.make_node("Cast", [f"flat_{spec.name}"], [f"float_{spec.name}"], to=TensorProto.FLOAT))
    for spec in contract.outputs:
        first = contract.inputs[0]
        zeros = np.zeros((int(np.prod(first.shape)), spec.shape[0]), np.float32)
        constants.append(onnx.numpy_helper.from_array(zeros, f"weight_{spec.name}"))
        nodes.append(helper.make_node("MatMul", [f"float_{first.name}", f"weight_{spec.name}"], [spec.name]))
    inputs, outputs = ([values[spec.name] for spec in specs] for specs in (contract.inputs, contract.outputs))
    graph = helper.make_graph(nodes, "model", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def described(contract):
    model = model_of(contract)
    describe_onnx(model, contract)
    return model


def properties(model):
    return {entry.key: entry.value for entry in model.metadata_props}


def test_programs_find_labels_and_words_through_onnx_runtime(make_contract):
    contract = contract_of(make_contract, image())
    session = onnxruntime.InferenceSession(compact_onnx(described(contract)))
    found = session.get_modelmeta()
    assert found.description == "Tells four tones apart."
    assert found.version == 0x0001000200000159  # the example of docs/Versioning.md for 1.2.345
    assert found.custom_metadata_map == properties(described(contract))
    assert json.loads(found.custom_metadata_map["labels"]) == list(LABELS)
    assert ast.literal_eval(found.custom_metadata_map["names"]) == dict(enumerate(LABELS))
    assert ast.literal_eval(found.custom_metadata_map["imgsz"]) == [6, 5]
    assert found.custom_metadata_map["task"] == "classify"
    assert found.custom_metadata_map["version"] == "1.2.345"


def test_a_described_model_passes_every_check_and_computes_the_same(make_contract):
    contract = contract_of(make_contract, image(), RECORDING, READING)
    plain, model = model_of(contract), described(contract)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert model.graph.node == plain.graph.node
    assert model.graph.initializer == plain.graph.initializer
    feeds = {spec.name: np.ones((1, *spec.shape), spec.dtype.value) for spec in contract.inputs}
    before, after = (onnxruntime.InferenceSession(one.SerializeToString()).run(None, feeds) for one in (plain, model))
    np.testing.assert_array_equal(before, after)


def test_inputs_and_outputs_are_described(make_contract):
    graph = described(contract_of(make_contract, image(), RECORDING, READING)).graph
    assert {value.name: value.doc_string for value in (*graph.input, *graph.output)} == {
        "image": "sRGB pixel from camera, 0 to 255",
        "waveform": "PCM sample from microphone, -32768 to 32767",
        "pressure": "kPa from tank sensor, -0.5 to 1e+06; NaN where missing",
        "logits": "logit of each tone",
        "scores": "score of each tone",
    }


@pytest.mark.parametrize(
    ("spec", "type_", "dimensions"),
    [
        (image(), "IMAGE", ["DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE", "DATA_CHANNEL"]),
        (image(shape=(6, 5)), "IMAGE", ["DATA_BATCH", "DATA_FEATURE", "DATA_FEATURE"]),
        (RECORDING, "AUDIO", ["DATA_BATCH", "DATA_TIME"]),
        (READING, "TENSOR", ["DATA_BATCH", ""]),
    ],
    ids=["picture", "gray picture", "recording", "numbers"],
)
def test_tensors_are_denoted_as_the_specification_says(make_contract, spec, type_, dimensions):
    graph = described(contract_of(make_contract, spec)).graph
    assert graph.input[0].type.denotation == type_
    assert [dim.denotation for dim in graph.input[0].type.tensor_type.shape.dim] == dimensions
    assert [value.type.denotation for value in graph.output] == ["TENSOR", "TENSOR"]
    assert [dim.denotation for dim in graph.output[1].type.tensor_type.shape.dim] == ["DATA_BATCH", ""]


RGB = {
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "NominalRange_0_255",
}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([image()], RGB),
        ([image(shape=(6, 5, 1))], RGB | {"Image.BitmapPixelFormat": "Gray8"}),
        ([image(shape=(6, 5))], RGB | {"Image.BitmapPixelFormat": "Gray8"}),
        ([image(range_=(16, 235))], RGB | {"Image.NominalPixelRange": "NominalRange_16_235"}),
        ([image(range_=(0, 100))], {key: value for key, value in RGB.items() if key != "Image.NominalPixelRange"}),
        ([image(), image("other"), RECORDING], RGB),
        ([image(), image("other", shape=(6, 5))], {k: v for k, v in RGB.items() if k != "Image.BitmapPixelFormat"}),
        ([image(range_=(1, 9)), image("other")], {k: v for k, v in RGB.items() if k != "Image.NominalPixelRange"}),
        ([RECORDING, READING], {}),
    ],
)
def test_image_properties_say_what_holds_for_every_image(make_contract, inputs, expected):
    found = properties(described(contract_of(make_contract, *inputs)))
    assert {key: value for key, value in found.items() if key.startswith("Image.")} == expected
    assert ("imgsz" in found) is (sum(spec.dtype is DType.UINT8 for spec in inputs) == 1)


def test_a_regression_has_a_unit_and_no_labels(make_contract):
    value = OutputSpec(name="speed", dtype=DType.FLOAT32, shape=(1,), role=OutputRole.VALUE, unit="m/s")
    contract = replace(
        contract_of(make_contract, image()),
        outputs=(value,),
        target=TargetSpec(name="speed", kind=TargetKind.REGRESSION),
    )
    model = described(contract)
    assert model.graph.output[0].doc_string == "speed in m/s"
    assert properties(model).keys() == {"version", "imgsz"} | RGB.keys()


@pytest.mark.parametrize(
    ("version", "packed"),
    [
        ("1.2.345", 0x0001000200000159),
        ("0.1.0", 0x0000000100000000),
        ("32767.65535.999999999", 0x7FFFFFFF3B9AC9FF),
        ("0.0.7", 0),
        ("32768.0.0", 0),
        ("1.65536.0", 0),
    ],
)
def test_a_version_that_cannot_be_packed_is_left_out(make_contract, version, packed):
    model = described(contract_of(make_contract, RECORDING, version=version))
    assert model.model_version == packed
    assert properties(model)["version"] == version


def test_describing_again_changes_nothing_and_other_words_stay(make_contract):
    contract = contract_of(make_contract, image(), RECORDING)
    model = model_of(contract)
    model.metadata_props.add(key="zoo", value="kept")
    model.metadata_props.add(key="labels", value="of another model")
    describe_onnx(model, contract)
    once = copy.deepcopy(model)
    describe_onnx(model, contract)
    assert model.SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)
    assert [entry.key for entry in model.metadata_props] == sorted(properties(model)), "the order of a set, otherwise"
    assert properties(model)["zoo"] == "kept"
    assert json.loads(properties(model)["labels"]) == list(LABELS)


def test_tensors_that_the_contract_does_not_know_are_left_alone(make_contract):
    contract = contract_of(make_contract, RECORDING)
    model = model_of(contract)
    describe_onnx(model, replace(contract, inputs=(READING,), outputs=contract.outputs[1:]))
    assert [value.doc_string for value in (*model.graph.input, *model.graph.output)] == ["", "", "score of each tone"]
