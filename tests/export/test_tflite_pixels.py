"""Pixels in front of TFLite graphs: their forms, and that every place of the first layer's output stays right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn
from torch.nn import functional

from edgeml_export.graph.folding import PixelQuantization
from edgeml_export.tflite_converter import TfliteConverter
from edgeml_export.tflite_file import operator_name, read_tflite, write_tflite
from edgeml_export.tflite_pixels import attach_pixels
from edgeml_export.tracing import trace
from edgeml_runtime.errors import DefectError
from edgeml_runtime.manifest import InputEncoding
from edgeml_runtime.progress import silent


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


users = load("user_networks")

DEFAULT = PixelQuantization(scale=1 / 64, zero_point=128)
IMAGE = {"image": ("uint8", (12, 10, 3))}
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL")
TYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
}
# float32 rounds to 6e-8, and kernels add some hundred terms in another order.
CLOSE = 1e-5


def first(x):
    return x.permute(0, 3, 1, 2)


def default(_, x):
    return first((x.float() - 128) / 64)


def head(*modules):
    """A network whose scores are every place of its first layer's output."""
    torch.manual_seed(7)
    for module in modules:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    return nn.Sequential(*modules, nn.Flatten())


def in_front(content):
    """The operators before the first layer, each with the type that it gives."""
    model = read_tflite(content)
    graph = model.subgraphs[0]
    names = [operator_name(model, operator) for operator in graph.operators]
    last = next(place for place, name in enumerate(names) if name in LAYERS)
    given = [TYPES[graph.tensors[operator.outputs[0]].type] for operator in graph.operators]
    return [f"{name} {kind}" for name, kind in zip(names[:last], given[:last], strict=True)]


def declared(content, position=0):
    """Type, scales and zero points of an input."""
    graph = read_tflite(content).subgraphs[0]
    tensor = graph.tensors[graph.inputs[position]]
    parameters = tensor.quantization
    if parameters is None or parameters.scale is None:
        return TYPES[tensor.type], None, None
    return (
        TYPES[tensor.type],
        [float(scale) for scale in parameters.scale],
        [int(zero) for zero in parameters.zeroPoint],
    )


# Inputs, preprocessing, network, and what is computed in front of the first layer, in fp32 and in int8.
WRITTEN = {
    "default": (IMAGE, default, head(nn.Conv2d(3, 4, 3, padding=1)), ["DEQUANTIZE float32"], []),
    "channels differ": (
        IMAGE, lambda s, x: first((x.float() - s.mean) / s.std), head(nn.Conv2d(3, 4, 3, padding=1)),
        ["RESHAPE uint8", "CAST float32", "ADD float32", "RESHAPE float32"],
        ["RESHAPE uint8", "CAST float32", "ADD float32", "MUL float32", "RESHAPE float32", "QUANTIZE int8"],
    ),
    "padded in front, cast last, strided": (
        IMAGE, lambda _, x: functional.pad(first(x / 255), (0, 1, 0, 1)), head(nn.Conv2d(3, 4, 3, stride=2)),
        ["DEQUANTIZE float32"], [],
    ),
    "padded and strided": (
        IMAGE, default, head(nn.Conv2d(3, 4, 3, stride=2, padding=1)),
        ["DEQUANTIZE float32", "PAD float32"], ["PAD int8"],
    ),
    "depthwise": (IMAGE, default, head(nn.Conv2d(3, 6, 3, padding=1, groups=3)), ["DEQUANTIZE float32"], []),
    "flat": ({"image": ("uint8", (60,))}, lambda _, x: x / 255, head(nn.Linear(60, 5)), ["DEQUANTIZE float32"], []),
    "flattened planes": (
        IMAGE, lambda s, x: default(s, x).flatten(1), head(nn.Linear(360, 5)),
        ["DEQUANTIZE float32", "TRANSPOSE float32", "RESHAPE float32"], ["TRANSPOSE int8", "RESHAPE int8"],
    ),
    "zero between two pixels": (
        IMAGE, lambda _, x: first(x / 127.5 - 1), head(nn.Conv2d(3, 4, 3)), ["DEQUANTIZE float32"], []
    ),
}  # fmt: skip
DEFAULT_RUN = ("default", "channels differ", "flattened planes")


@pytest.mark.parametrize(
    ("inputs", "function", "network", "fp32", "int8"),
    [
        pytest.param(*case, id=name, marks=[] if name in DEFAULT_RUN else pytest.mark.long)
        for name, case in WRITTEN.items()
    ],
)
def test_variants_of_pixels(inputs, function, network, fp32, int8):
    prepared, items = users.make(function, network, inputs)
    found = trace(prepared)
    converter = TfliteConverter(prepared, found)
    expected = users.eager(prepared, items.inputs)
    whole = converter.convert(users.plan("tflite-fp32"), items, silent)
    assert in_front(whole.content) == fp32
    assert whole.input_encodings == {}
    assert np.abs(users.run(whole, items.inputs) - expected).max() < CLOSE * expected.std()
    small = converter.convert(users.plan("tflite-int8"), items, silent)
    assert in_front(small.content) == int8
    # Outputs are rounded to 255 steps of their range, weights to 8 bits; a padding that stood for another pixel than
    # the one that becomes zero would be off by tens of steps at the borders.
    step = np.ptp(expected) / 255
    assert np.abs(users.run(small, items.inputs) - expected).max() < 3 * step
    if found.graph.pixels:
        assert small.input_encodings == {"image": InputEncoding.OFFSET_BINARY}
        pixel = found.graph.pixels["image"]
        scale = [pytest.approx(pixel.scale, rel=1e-6)]
        assert declared(whole.content) == ("uint8", scale, [pixel.zero_point])
        assert declared(small.content) == ("int8", scale, [pixel.zero_point - 128])
    else:
        assert small.input_encodings == {}
        assert declared(small.content) == ("uint8", None, None)


@pytest.fixture(scope="module")
def converted():
    """The default normalisation in three precisions, with its model."""
    prepared, items = users.make(default, head(nn.Conv2d(3, 4, 3, padding=1)), IMAGE)
    converter = TfliteConverter(prepared, trace(prepared))
    made = {
        precision: converter.convert(users.plan(f"tflite-{precision}"), items, silent)
        for precision in ("int8", "w8", "int16x8")
    }
    return made, items, users.eager(prepared, items.inputs)


def test_the_default_quantizes_pixels_exactly(converted):
    made, *_ = converted
    assert declared(made["int8"].content) == ("int8", [1 / 64], [0])
    model = read_tflite(made["int8"].content)
    (entry,) = model.signatureDefs[0].inputs
    assert (entry.name, entry.tensorIndex) == (b"image", model.subgraphs[0].inputs[0])


@pytest.mark.parametrize("precision", ["int8", "w8", "int16x8"])
def test_every_pixel_is_the_value_that_it_stands_for(converted, precision):
    """One pixel of each value in a black image, through the backend, which writes the input."""
    made, items, expected = converted
    found = users.run(made[precision], items.inputs)
    # Weights have 8 bits in all three, outputs 8 or more.
    assert np.abs(found - expected).max() < 3 * np.ptp(expected) / 255
    if precision != "int8":
        assert declared(made[precision].content) == ("uint8", [1 / 64], [128])
        assert in_front(made[precision].content)[0] == "DEQUANTIZE float32"
        assert made[precision].input_encodings == {}


def quantized_file(scale=1 / 64, zero_point=0, *, keep_input=False):
    """A file that quantizes its float input, and gives the integers as they are."""
    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], [schema.OperatorCodeT()]
    code = schema.BuiltinOperator.QUANTIZE
    model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = code
    model.operatorCodes[0].version = 1
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", schema.TensorType.FLOAT32), tensor("q", schema.TensorType.INT8, scale, zero_point)]
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1, 0] if keep_input else [1]
    model.subgraphs = [graph]
    return write_tflite(model)


def tensor(name, kind, scale=None, zero_point=0):
    made = schema.TensorT()
    made.name, made.type, made.shape, made.buffer, made.hasRank = name, kind, [1, 4], 0, True
    if scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.array([scale], np.float32)
        made.quantization.zeroPoint = np.array([zero_point], np.int64)
    return made


def test_the_quantizing_operator_goes():
    content, encodings = attach_pixels(quantized_file(), {"x": DEFAULT}, {"x": 0})
    graph = read_tflite(content).subgraphs[0]
    assert not graph.operators
    assert declared(content) == ("int8", [1 / 64], [0])
    assert encodings == {"x": InputEncoding.OFFSET_BINARY}


def test_a_float_input_that_is_an_output_is_made_of_pixels():
    content, encodings = attach_pixels(quantized_file(keep_input=True), {"x": DEFAULT}, {"x": 0})
    model = read_tflite(content)
    assert [operator_name(model, operator) for operator in model.subgraphs[0].operators] == ["DEQUANTIZE", "QUANTIZE"]
    assert declared(content) == ("uint8", [1 / 64], [128])
    assert encodings == {}


def test_layout_is_done_on_integers_that_are_rounded_again_where_calibration_found_less():
    """Pixels between 60 and 190 only: what is quantized behind the layout has a finer scale than the pixels."""
    data = {"image": np.random.default_rng(8).integers(60, 191, (6, 12, 10, 3)).astype(np.uint8)}
    function, network = WRITTEN["flattened planes"][1:3]
    prepared, items = users.make(function, network, IMAGE, data=data)
    expected = users.eager(prepared, data)
    made = TfliteConverter(prepared, trace(prepared)).convert(users.plan("tflite-int8"), items, silent)
    assert in_front(made.content) == ["TRANSPOSE int8", "RESHAPE int8", "QUANTIZE int8"]
    assert declared(made.content) == ("int8", [1 / 64], [0])
    assert np.abs(users.run(made, data) - expected).max() < 3 * np.ptp(expected) / 255


@pytest.mark.parametrize(("scale", "zero_point"), [(1 / 63, 0), (1 / 64, 1)])
def test_integers_that_are_not_the_pixels_are_a_defect(scale, zero_point):
    with pytest.raises(DefectError, match=r"expected an input quantized with scale 0.015625 and zero point 0"):
        attach_pixels(quantized_file(scale, zero_point), {"x": DEFAULT}, {"x": 0})


def test_without_pixels_a_file_stays_as_it_is():
    content = quantized_file()
    assert attach_pixels(content, {}, {"x": 0}) == (content, {})


folding, weights = load("test_folding"), load("test_fold_weights")


def test_several_inputs_each_in_its_form():
    prepared, items = users.make(folding.mixed, folding.Joined(), folding.MIXED)
    converter = TfliteConverter(prepared, trace(prepared))
    expected = users.eager(prepared, items.inputs)
    small = converter.convert(users.plan("tflite-int8"), items, silent)
    assert [declared(small.content, position)[0] for position in range(4)] == ["int8", "int16", "float32", "uint8"]
    assert small.input_encodings == {"image": InputEncoding.OFFSET_BINARY}
    found = users.run(small, items.inputs)
    assert np.sqrt(np.square(found - expected).mean()) < 0.05 * expected.std()


CORPUS = users.corpus(folding, weights)
# What the converter cannot express, whatever it is folded to.
IMPOSSIBLE = ("stops: several results", "kept: weights of the input's own")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CORPUS if name not in IMPOSSIBLE])
def test_every_way_of_writing_it(name):
    inputs, function, network = CORPUS[name]
    prepared, items = users.make(function, network, inputs)
    converter = TfliteConverter(prepared, trace(prepared))
    expected = users.eager(prepared, items.inputs)
    found = users.run(converter.convert(users.plan("tflite-fp32"), items, silent), items.inputs)
    assert np.abs(found - expected).max() < 1e-4 * expected.std(), "what the contract asks of fp32"
    found = users.run(converter.convert(users.plan("tflite-int8"), items, silent), items.inputs)
    # 8 bits of weights and activations, each rounded once or twice: about 35 dB.
    assert np.sqrt(np.square(found - expected).mean()) < 0.05 * expected.std()
