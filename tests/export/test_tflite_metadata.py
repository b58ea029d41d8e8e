"""What a TFLite file says of itself: read field by field here, and by the tools' own schema where that is installed."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types as numbers
from flatbuffers.table import Table

from edgeml_export.tflite_file import read_tflite, write_tflite
from edgeml_export.tflite_metadata import describe_tflite
from edgeml_runtime.backends.litert import LiteRTBackend, interpreter_class
from edgeml_runtime.contract import TargetKind, TargetSpec
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec

LABELS = tuple(f"class {index}" for index in range(10))
TYPES = {
    DType.UINT8: schema.TensorType.UINT8,
    DType.INT16: schema.TensorType.INT16,
    DType.FLOAT32: schema.TensorType.FLOAT32,
}
THERE = Path(__file__).resolve().parents[2] / ".venv-tflite" / "bin" / "python"


def image(shape=(6, 5, 3)):
    return InputSpec(
        name="image",
        dtype=DType.UINT8,
        shape=shape,
        range=(0, 255),
        unit="sRGB pixel",
        source="camera",
        loader=LoaderSpec(name="image", version=1),
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
    name="pressure", dtype=DType.FLOAT32, shape=(2,), range=(-0.5, 1e6), unit="kPa", source="tank sensor"
)


def contract_of(make_contract, *inputs, labels=LABELS):
    shape = (len(labels),)
    outputs = (
        OutputSpec(name="logits", dtype=DType.FLOAT32, shape=shape, role=OutputRole.LOGITS),
        OutputSpec(name="scores", dtype=DType.FLOAT32, shape=shape, role=OutputRole.SCORES, labels=labels),
    )
    return replace(make_contract(), inputs=inputs, outputs=outputs, version="1.2.3")


def file_of(contract, *, type_=None, scale=None, zero_point=0):
    """A file with the contract's inputs and outputs and nothing between; the inputs may be quantized."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    for spec in (*contract.inputs, *contract.outputs):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = spec.name, [1, *spec.shape], TYPES[spec.dtype]
        if spec in contract.inputs and type_ is not None:
            tensor.type = type_
        if spec in contract.inputs and scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        graph.tensors.append(tensor)
    count = len(contract.inputs)
    graph.inputs, graph.outputs = list(range(count)), list(range(count, len(graph.tensors)))
    return write_tflite(model)


# The schema, as far as it is used: table → field number → its name and type.
FIELDS = {
    "ModelMetadata": {
        0: ("name", "str"),
        1: ("description", "str"),
        2: ("version", "str"),
        3: ("subgraphs", "[SubGraphMetadata]"),
        7: ("min_parser_version", "str"),
    },
    "SubGraphMetadata": {2: ("inputs", "[TensorMetadata]"), 3: ("outputs", "[TensorMetadata]")},
    "TensorMetadata": {
        0: ("name", "str"),
        1: ("description", "str"),
        3: ("content", "Content"),
        4: ("process_units", "[ProcessUnit]"),
        5: ("stats", "Stats"),
        6: ("files", "[AssociatedFile]"),
    },
    "Content": {0: ("kind", numbers.Uint8Flags), 1: ("properties", {1: "Feature", 2: "Image", 4: "Audio"})},
    "Feature": {},
    "Image": {0: ("color_space", numbers.Int8Flags)},
    "Audio": {0: ("sample_rate", numbers.Uint32Flags), 1: ("channels", numbers.Uint32Flags)},
    "ProcessUnit": {0: ("kind", numbers.Uint8Flags), 1: ("options", {1: "Normalization"})},
    "Normalization": {0: ("mean", "[f]"), 1: ("std", "[f]")},
    "Stats": {0: ("max", "[f]"), 1: ("min", "[f]")},
    "AssociatedFile": {0: ("name", "str"), 2: ("type", numbers.Int8Flags)},
}


def read_table(name, content, position):
    """A table as a dictionary; a field that is not listed above is an error."""
    table, found = Table(content, position), {}
    vtable = position - table.Get(numbers.SOffsetTFlags, position)
    for slot in range((table.Get(numbers.VOffsetTFlags, vtable) - 4) // 2):
        place = table.Offset(4 + 2 * slot)
        if place:
            field, type_ = FIELDS[name][slot]
            found[field] = read_value(type_, table, place, found)
    return found


def read_value(type_, table, place, found):
    if type_ == "str":
        return table.String(table.Pos + place).decode()
    if type_ == "[f]":
        return table.GetVectorAsNumpy(numbers.Float32Flags, place).tolist()
    if isinstance(type_, dict):
        return read_table(type_[found["kind"]], table.Bytes, table.Indirect(table.Pos + place))
    if not isinstance(type_, str):
        return table.Get(type_, table.Pos + place)
    if type_.startswith("["):
        places = (table.Vector(place) + 4 * index for index in range(table.VectorLen(place)))
        return [read_table(type_[1:-1], table.Bytes, table.Indirect(at)) for at in places]
    return read_table(type_, table.Bytes, table.Indirect(table.Pos + place))


def metadata_buffer(content):
    model = read_tflite(content)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    return np.asarray(model.buffers[entry.buffer].data, np.uint8).tobytes()


def read_metadata(content):
    buffer = metadata_buffer(content)
    assert buffer[4:8] == b"M001"
    return read_table("ModelMetadata", buffer, int.from_bytes(buffer[:4], "little"))


def read_input(content):
    (subgraph,) = read_metadata(content)["subgraphs"]
    return subgraph["inputs"][0]


def archive(content):
    return zipfile.ZipFile(io.BytesIO(content))


def test_model_inputs_and_outputs_are_described(make_contract):
    contract = contract_of(make_contract, image(), RECORDING, READING)
    found = read_metadata(describe_tflite(file_of(contract), contract))
    feature = {"kind": 1, "properties": {}}
    assert found == {
        "name": "tiny",
        "description": "Tells four tones apart.",
        "version": "1.2.3",
        "min_parser_version": "1.3.0",
        "subgraphs": [
            {
                "inputs": [
                    {
                        "name": "image",
                        "description": "sRGB pixel from camera, 0 to 255",
                        "content": {"kind": 2, "properties": {"color_space": 1}},
                        "stats": {"max": [255], "min": [0]},
                    },
                    {
                        "name": "waveform",
                        "description": "PCM sample from microphone, -32768 to 32767",
                        "content": {"kind": 4, "properties": {"sample_rate": 16000, "channels": 1}},
                        "stats": {"max": [32767], "min": [-32768]},
                    },
                    {
                        "name": "pressure",
                        "description": "kPa from tank sensor, -0.5 to 1e+06",
                        "content": feature,
                        "stats": {"max": [1e6], "min": [-0.5]},
                    },
                ],
                "outputs": [
                    {"name": "logits", "description": "logit of each tone", "content": feature},
                    {
                        "name": "scores",
                        "description": "score of each tone",
                        "content": feature,
                        "files": [{"name": "labels.txt", "type": 2}],
                    },
                ],
            }
        ],
    }


@pytest.mark.parametrize(("shape", "color_space"), [((6, 5, 3), 1), ((6, 5, 1), 2), ((6, 5), 2)])
def test_the_color_space_of_an_image(make_contract, shape, color_space):
    contract = contract_of(make_contract, image(shape))
    content = describe_tflite(file_of(contract), contract)
    assert read_input(content)["content"]["properties"] == {"color_space": color_space}
    assert read_metadata(content)["min_parser_version"] == "1.0.0"


def test_the_labels_lie_in_a_zip_behind_the_model(make_contract):
    contract = contract_of(make_contract, READING, labels=("one", "Großer Fuchs", "two\nlines"))
    content = describe_tflite(file_of(contract), contract)
    (entry,) = archive(content).infolist()
    assert archive(content).read("labels.txt").decode() == "one\nGroßer Fuchs\ntwo lines"
    # What zipfile, with which tflite-support packs files, writes on Unix, but for the time.
    assert (entry.compress_type, entry.create_system, entry.external_attr, entry.extra) == (0, 3, 0o600 << 16, b"")
    assert entry.date_time == (1980, 1, 1, 0, 0, 0)
    assert content[entry.header_offset :].startswith(b"PK\x03\x04")
    assert write_tflite(read_tflite(content)) == content[: entry.header_offset]


@pytest.mark.parametrize("variant", ["tflite-fp32", "tflite-int8"])
def test_the_interpreter_runs_the_file_as_before(exported, items, variant):
    plain = write_tflite(read_tflite(exported.converted[variant].content))
    described = describe_tflite(plain, exported.contract)
    interpreter = interpreter_class()(model_content=described)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["waveform"], "outputs": ["logits", "scores"]}
    }
    backends = [
        LiteRTBackend.create(content, input_names=["waveform"], output_names=["logits", "scores"], threads=1)
        for content in (plain, described)
    ]
    for index in range(8):
        feeds = [items.test.inputs["waveform"][index : index + 1]]
        before, after = (backend.run(feeds) for backend in backends)
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("spec", [image(), RECORDING, READING], ids=["image", "recording", "numbers"])
def test_ten_classes_take_less_than_a_kilobyte(make_contract, spec):
    contract = contract_of(make_contract, spec)
    plain = file_of(contract)
    assert len(describe_tflite(plain, contract)) - len(plain) < 1000


@pytest.mark.parametrize(
    ("type_", "scale", "zero_point", "offset"),
    [
        (schema.TensorType.INT8, 1 / 64, 0, 128),
        (schema.TensorType.INT8, 1 / 255, -128, 128),
        (schema.TensorType.UINT8, 1 / 64, 128, 0),
    ],
)
def test_the_normalization_of_a_quantized_image_gives_its_pixels_back(make_contract, type_, scale, zero_point, offset):
    contract = contract_of(make_contract, image())
    found = read_input(describe_tflite(file_of(contract, type_=type_, scale=scale, zero_point=zero_point), contract))
    (unit,) = found["process_units"]
    (mean,), (std,) = unit["options"]["mean"], unit["options"]["std"]
    pixels = np.arange(256)
    np.testing.assert_array_equal(np.rint((pixels - mean) / std / scale) + zero_point, pixels - offset)
    assert found["stats"] == {"max": [255 - offset], "min": [0 - offset]}
    assert found["description"].endswith("; held as int8, 128 lower" if offset else "0 to 255")


@pytest.mark.parametrize("type_", [schema.TensorType.UINT8, schema.TensorType.INT8])
def test_an_image_that_is_not_quantized_needs_no_normalization(make_contract, type_):
    contract = contract_of(make_contract, image())
    assert "process_units" not in read_input(describe_tflite(file_of(contract, type_=type_), contract))


def test_other_quantized_inputs_are_not_normalized(make_contract):
    contract = contract_of(make_contract, RECORDING)
    assert "process_units" not in read_input(describe_tflite(file_of(contract, scale=0.5), contract))


def test_a_regression_has_a_unit_and_no_labels(make_contract):
    value = OutputSpec(name="speed", dtype=DType.FLOAT32, shape=(1,), role=OutputRole.VALUE, unit="m/s")
    target = TargetSpec(name="speed", kind=TargetKind.REGRESSION)
    contract = replace(contract_of(make_contract, READING), outputs=(value,), target=target)
    content = describe_tflite(file_of(contract), contract)
    assert not zipfile.is_zipfile(io.BytesIO(content))
    (subgraph,) = read_metadata(content)["subgraphs"]
    assert subgraph["outputs"] == [
        {"name": "speed", "description": "speed in m/s", "content": {"kind": 1, "properties": {}}}
    ]


def test_describing_again_replaces_and_other_metadata_stays(make_contract):
    contract = contract_of(make_contract, image())
    model = read_tflite(file_of(contract))
    entry = schema.MetadataT()
    entry.name, entry.buffer = "min_runtime_version", 1
    model.metadata = [entry]
    model.buffers.append(schema.BufferT())
    model.buffers[1].data = np.frombuffer(b"2.14.0", np.uint8)
    once = describe_tflite(write_tflite(model), contract)
    assert describe_tflite(once, contract) == once
    other = describe_tflite(once, contract_of(make_contract, image(), labels=("yes", "no")))
    assert archive(other).namelist() == ["labels.txt"]
    assert archive(other).read("labels.txt") == b"yes\nno"
    found = read_tflite(other)
    assert [entry.name for entry in found.metadata] == [b"min_runtime_version", b"TFLITE_METADATA"]
    assert bytes(found.buffers[1].data) == b"2.14.0"
    assert len(found.buffers) == 3


def test_of_tensors_that_the_contract_does_not_know_the_name_alone_is_stated(make_contract):
    contract = contract_of(make_contract, image())
    content = describe_tflite(file_of(contract), replace(contract, inputs=(READING,), outputs=contract.outputs[1:]))
    (subgraph,) = read_metadata(content)["subgraphs"]
    assert subgraph["inputs"] == [{"name": "image"}]
    assert subgraph["outputs"][0] == {"name": "logits"}
    assert subgraph["outputs"][1]["files"] == [{"name": "labels.txt", "type": 2}]


READ_THERE = """
import json, sys
from tensorflow_lite_support.metadata import metadata_schema_py_generated as schema

def plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if hasattr(value, "__dict__"):
        fields = {name: plain(item) for name, item in vars(value).items()}
        return {"table": type(value).__name__} | {name: item for name, item in fields.items() if item is not None}
    return value

content = sys.stdin.buffer.read()
assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
print(json.dumps(plain(schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0)))))
"""


def test_tflite_support_reads_the_same(make_contract):
    probe = [THERE, "-c", "from tensorflow_lite_support.metadata import metadata_schema_py_generated"]
    if not THERE.exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no .venv-tflite with tflite-support: make tflite-test makes it, on Python 3.11")
    contract = contract_of(make_contract, image(), RECORDING)
    content = describe_tflite(file_of(contract, scale=1 / 64), contract)
    done = subprocess.run(
        [THERE, "-c", READ_THERE], input=metadata_buffer(content), capture_output=True, check=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert (found["name"], found["version"], found["minParserVersion"]) == ("tiny", "1.2.3", "1.3.0")
    (subgraph,) = found["subgraphMetadata"]
    picture, recording = subgraph["inputTensorMetadata"]
    assert picture["content"]["contentProperties"] == {"table": "ImagePropertiesT", "colorSpace": 1}
    assert picture["processUnits"][0]["options"] == {"table": "NormalizationOptionsT", "mean": [0], "std": [64]}
    assert picture["stats"] == {"table": "StatsT", "max": [255], "min": [0]}
    assert recording["content"]["contentProperties"] == {
        "table": "AudioPropertiesT",
        "sampleRate": 16000,
        "channels": 1,
    }
    logits, scores = subgraph["outputTensorMetadata"]
    assert logits["description"] == "logit of each tone"
    (file,) = scores["associatedFiles"]
    assert (file["name"], file["type"]) == ("labels.txt", 2)
