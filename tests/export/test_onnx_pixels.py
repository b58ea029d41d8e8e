"""Pixels in front of ONNX graphs: the forms they take, and that every place of the first layer's output stays right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from edgeml_export.graph.folding import PixelQuantization
from edgeml_export.onnx_converter import OnnxConverter
from edgeml_export.onnx_pixels import attach_pixels, detach_layout, quantized_pixels
from edgeml_export.tracing import trace
from edgeml_runtime.progress import silent


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


users = load("user_networks")

DEFAULT = PixelQuantization(scale=1 / 64, zero_point=128)
# float32 rounds to 6e-8, and the order of some hundred terms of a sum is another one.
CLOSE = 1e-5


def session(model, *, optimized=None):
    """ONNX Runtime as devices run it, with every optimization."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def float_model(*nodes, shape, weights, outputs, name="image"):
    """A model of normalised float values [n, *shape]."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    made = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    constants = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    graph = helper.make_graph(list(nodes), "model", inputs, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def image_model(batch=1, *, height=9, width=11, channels=3, kernel=(3, 3), outputs=4, **options):
    """Interleaved pixels, transposed and convolved."""
    rng = np.random.default_rng(3)
    shape = (outputs, channels // options.get("group", 1), *kernel)
    weights = {"w": rng.normal(0, 1, shape).astype(np.float32), "b": rng.normal(0, 1, outputs).astype(np.float32)}
    return float_model(
        helper.make_node("Transpose", ["image"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w", "b"], ["y"], "conv", **options),
        shape=[batch, height, width, channels],
        weights=weights,
        outputs=["y"],
    )


def pixels_of(model, count, *, seed=4):
    declared = model.graph.input[0].type.tensor_type.shape.dim
    shape = (count, *(dim.dim_value for dim in declared[1:]))
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def with_pixels(model, *, interleave, pixel=DEFAULT):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    attach_pixels(changed, {"image": pixel}, interleave=interleave)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def operators(model):
    return [node.op_type for node in model.graph.node]


IMAGES = {
    "plain": {},
    "padded": {"pads": [1, 1, 1, 1]},
    "padded on two sides": {"pads": [0, 0, 1, 1], "strides": [2, 2]},
    "padded differently everywhere": {"pads": [2, 1, 0, 3]},
    "strided": {"strides": [2, 3], "pads": [1, 1, 1, 1]},
    "wide kernel": {"kernel": (2, 5), "kernel_shape": [2, 5], "pads": [1, 2, 1, 2]},
    "one channel": {"channels": 1, "pads": [1, 1, 1, 1]},
    "four channels": {"channels": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]},
    "pointwise": {"kernel": (1, 1)},
    "open batch": {"batch": "n", "pads": [1, 1, 1, 1]},
    "explicit defaults": {"dilations": [1, 1], "group": 1, "auto_pad": "NOTSET"},
}


@pytest.mark.parametrize("options", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("pixel", [DEFAULT, PixelQuantization(scale=0.02, zero_point=3)], ids=["default", "other"])
def test_interleaved_pixels_are_read_as_they_lie(options, pixel):
    model = image_model(**options)
    changed = with_pixels(model, interleave=True, pixel=pixel)
    assert operators(changed) == ["Reshape", "DequantizeLinear", "Conv"]
    count = 3 if options.get("batch") else 1
    pixels = pixels_of(model, count)
    values = (pixels.astype(np.float32) - pixel.zero_point) * np.float32(pixel.scale)
    (expected,) = session(model).run(None, {"image": values})
    (found,) = session(changed).run(None, {"image": pixels})
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < CLOSE * expected.std()


KEPT = {
    "grouped": {"channels": 4, "group": 2},
    "depthwise": {"channels": 3, "group": 3, "outputs": 3},
    "dilated": {"dilations": [2, 2]},
    "padded by rule": {"auto_pad": "SAME_UPPER"},
}


@pytest.mark.parametrize("options", KEPT.values(), ids=KEPT)
def test_what_cannot_be_read_interleaved_is_transposed(options):
    model = image_model(**options)
    changed = with_pixels(model, interleave=True)
    assert operators(changed) == ["DequantizeLinear", "Transpose", "Conv"]
    pixels = pixels_of(model, 1)
    (expected,) = session(model).run(None, {"image": (pixels.astype(np.float32) - 128) / 64})
    (found,) = session(changed).run(None, {"image": pixels})
    assert np.abs(found - expected).max() < CLOSE * expected.std()


def two_readers():
    """The transposed image goes into two convolutions."""
    model = image_model()
    model.graph.node.append(helper.make_node("Conv", ["planes", "w2"], ["y2"], "conv2"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w2"))
    model.graph.output.append(helper.make_tensor_value_info("y2", TensorProto.FLOAT, None))
    return model


def one_weight_for_two():
    """A second convolution has the weights of the first."""
    model = image_model(outputs=3)
    model.graph.node.append(helper.make_node("Conv", ["y", "w"], ["y2"], "conv2"))
    model.graph.output.append(helper.make_tensor_value_info("y2", TensorProto.FLOAT, None))
    return model


def an_output():
    """The normalised image is an output, too."""
    model = image_model()
    model.graph.node.append(helper.make_node("Identity", ["planes"], ["normalised"], "identity"))
    model.graph.output.append(helper.make_tensor_value_info("normalised", TensorProto.FLOAT, None))
    return model


def other_order():
    """Height and width change places."""
    model = image_model()
    model.graph.node[0].attribute[0].ints[:] = [0, 3, 2, 1]
    return model


def computed_weights():
    model = image_model()
    model.graph.node.insert(0, helper.make_node("Identity", ["w"], ["w1"], "identity"))
    model.graph.node[2].input[1] = "w1"
    return model


@pytest.mark.parametrize(
    "make", [two_readers, one_weight_for_two, an_output, other_order, computed_weights], ids=lambda make: make.__name__
)
def test_only_a_convolution_of_its_own_is_rewritten(make):
    model = make()
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model = onnx.shape_inference.infer_shapes(model)
    changed = with_pixels(model, interleave=True)
    assert "Transpose" in operators(changed)
    pixels = pixels_of(model, 1)
    expected = session(model).run(None, {"image": (pixels.astype(np.float32) - 128) / 64})
    found = session(changed).run(None, {"image": pixels})
    for here, there in zip(found, expected, strict=True):
        assert np.abs(here - there).max() < CLOSE * there.std()


def test_nothing_is_rewritten_where_nobody_asks():
    assert operators(with_pixels(image_model(), interleave=False)) == ["DequantizeLinear", "Transpose", "Conv"]


def quantized(values, weights, *nodes, shape, output):
    """A QDQ model that quantizes what it is given; scale and zero point are the pixels'."""
    constants = {"s": np.float32(1 / 64), "z": np.uint8(128)} | weights
    return float_model(
        helper.make_node("QuantizeLinear", [values, "s", "z"], ["stored"], "quantize"),
        helper.make_node("DequantizeLinear", ["stored", "s", "z"], ["known"], "dequantize"),
        *nodes,
        shape=shape,
        weights=constants,
        outputs=[output],
        name=values,
    )


WEIGHT = {"w": np.random.default_rng(5).normal(0, 1, (60, 4)).astype(np.float32)}


def layout_model():
    return float_model(
        helper.make_node("Transpose", ["image"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["planes", "shape"], ["flat"], "reshape"),
        helper.make_node("MatMul", ["flat", "w"], ["y"], "product"),
        shape=[1, 4, 5, 3],
        weights={"shape": np.array([1, 60], np.int64)} | WEIGHT,
        outputs=["y"],
    )


def test_layout_is_taken_off_and_put_back_with_what_it_reads():
    model = layout_model()
    detached = detach_layout(model, "image")
    assert operators(model) == ["MatMul"]
    assert [node.op_type for node in detached.nodes] == ["Transpose", "Reshape"]
    assert [tensor.name for tensor in detached.constants] == ["shape"]
    assert model.graph.input[0].name == detached.values == "flat"
    core = quantized(
        "flat", WEIGHT, helper.make_node("MatMul", ["known", "w"], ["y"], "product"), shape=[1, 60], output="y"
    )
    quantized_pixels(core, detached, DEFAULT)
    onnx.checker.check_model(core, full_check=True)
    assert operators(core) == ["Transpose", "Reshape", "DequantizeLinear", "MatMul"]
    pixels = pixels_of(core, 1)
    (expected,) = session(layout_model()).run(None, {"image": (pixels.astype(np.float32) - 128) / 64})
    (found,) = session(core).run(None, {"image": pixels})
    assert np.abs(found - expected).max() < CLOSE * expected.std()


def test_without_layout_the_pixel_itself_is_quantized():
    nodes = [helper.make_node("MatMul", ["known", "w"], ["y"], "product")]
    core = quantized("image", WEIGHT, *nodes, shape=[1, 60], output="y")
    detached = detach_layout(core, "image")
    assert detached.nodes == ()
    quantized_pixels(core, detached, DEFAULT)
    onnx.checker.check_model(core, full_check=True)
    assert operators(core) == ["DequantizeLinear", "MatMul"]
    assert core.graph.node[0].input[0] == "image"


def test_what_stays_float_reads_pixels_that_are_turned_back():
    nodes = [
        helper.make_node("MatMul", ["known", "w"], ["product"], "product"),
        helper.make_node("ReduceMax", ["image"], ["brightest"], "brightest"),
        helper.make_node("Add", ["product", "brightest"], ["y"], "add"),
    ]
    model = quantized("image", WEIGHT, *nodes, shape=[1, 60], output="y")
    expected_of = session(model)
    quantized_pixels(model, detach_layout(model, "image"), DEFAULT)
    onnx.checker.check_model(model, full_check=True)
    assert operators(model).count("DequantizeLinear") == 2
    pixels = pixels_of(model, 1)
    (expected,) = expected_of.run(None, {"image": (pixels.astype(np.float32) - 128) / 64})
    (found,) = session(model).run(None, {"image": pixels})
    assert np.abs(found - expected).max() < CLOSE * expected.std()


def test_layout_of_a_shape_that_is_computed_stays():
    model = layout_model()
    model.graph.node.insert(0, helper.make_node("Identity", ["shape"], ["shape1"], "identity"))
    model.graph.node[2].input[1] = "shape1"
    detached = detach_layout(model, "image")
    assert [node.op_type for node in detached.nodes] == ["Transpose"]
    assert detached.values == "planes"


IMAGE = {"image": ("uint8", (12, 10, 3))}


def first(x):
    return x.permute(0, 3, 1, 2)


def head(*modules):
    """A network whose scores are every place of its first layer's output."""
    torch.manual_seed(7)
    for module in modules:
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    return nn.Sequential(*modules, nn.Flatten())


# Inputs, preprocessing, network, and what ONNX Runtime computes in front of the first layer, in fp32 and int8.
WRITTEN = {
    "default": (
        IMAGE, lambda _, x: first((x.float() - 128) / 64), head(nn.Conv2d(3, 4, 3, padding=1)),
        ["Reshape", "DequantizeLinear"], [],
    ),
    "padded in front, cast last, strided": (
        IMAGE, lambda _, x: functional.pad(first(x / 255), (0, 1, 0, 1)), head(nn.Conv2d(3, 4, 3, stride=2)),
        ["Reshape", "DequantizeLinear"], [],
    ),
    "depthwise": (
        IMAGE, lambda _, x: first((x.float() - 128) / 64), head(nn.Conv2d(3, 6, 3, padding=1, groups=3)),
        ["Transpose", "DequantizeLinear"], [],
    ),
    "flat": (
        {"image": ("uint8", (60,))}, lambda _, x: x / 255, head(nn.Linear(60, 5)), ["DequantizeLinear"], [],
    ),
    "flattened planes": (
        IMAGE, lambda _, x: first((x.float() - 128) / 64).flatten(1), head(nn.Linear(360, 5)),
        ["Transpose", "Reshape", "DequantizeLinear"], ["Transpose", "Reshape"],
    ),
    "zero between two pixels": (
        IMAGE, lambda _, x: first(x / 127.5 - 1), head(nn.Conv2d(3, 4, 3)), ["Reshape", "DequantizeLinear"], [],
    ),
    "channels differ": (
        IMAGE, lambda s, x: first((x.float() - s.mean) / s.std), head(nn.Conv2d(3, 4, 3, padding=1)),
        ["Reshape", "Cast", "Add", "Reshape", "Transpose"],
        ["Reshape", "Cast", "Add", "Mul", "QuantizeLinear", "Reshape"],
    ),
}  # fmt: skip
LAYERS = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "QLinearConv", "QGemm", "QLinearMatMul")


def in_front(content, folder):
    """What ONNX Runtime computes before the first layer."""
    session(content, optimized=folder / "optimized.onnx")
    found = operators(onnx.load(folder / "optimized.onnx"))
    return found[: next(place for place, name in enumerate(found) if name in LAYERS)]


DEFAULT_RUN = ("default", "flattened planes", "channels differ")


@pytest.mark.parametrize(
    ("inputs", "function", "network", "fp32", "int8"),
    [
        pytest.param(*case, id=name, marks=[] if name in DEFAULT_RUN else pytest.mark.long)
        for name, case in WRITTEN.items()
    ],
)
def test_variants_of_pixels(inputs, function, network, fp32, int8, tmp_path):
    prepared, items = users.make(function, network, inputs)
    converter = OnnxConverter(prepared, trace(prepared))
    expected = users.eager(prepared, items.inputs)
    whole = converter.convert(users.plan("onnx-fp32"), items, silent)
    assert in_front(whole.content, tmp_path) == fp32
    assert np.abs(users.run(whole, items.inputs) - expected).max() < CLOSE * expected.std()
    small = converter.convert(users.plan("onnx-int8"), items, silent)
    assert in_front(small.content, tmp_path) == int8
    # Outputs are rounded to 255 steps of their range, weights to 7 bits; a padding that stood for another pixel than
    # the one that becomes zero would be off by tens of steps at the borders.
    step = np.ptp(expected) / 255
    assert np.abs(users.run(small, items.inputs) - expected).max() < 4 * step


def test_an_open_batch_of_pixels():
    function, network = WRITTEN["default"][1:3]
    prepared, items = users.make(function, network, IMAGE)
    converter = OnnxConverter(prepared, trace(prepared, dynamic_batch=True))
    expected = users.eager(prepared, items.inputs)
    for variant, tolerance in (("onnx-fp32", CLOSE * expected.std()), ("onnx-int8", 4 * np.ptp(expected) / 255)):
        content = converter.convert(users.plan(variant), items, silent).content
        (found,) = session(content).run(["scores"], items.inputs)
        assert np.abs(found - expected).max() < tolerance


folding, weights = load("test_folding"), load("test_fold_weights")
CORPUS = users.corpus(folding, weights)


@pytest.mark.long
@pytest.mark.parametrize("name", CORPUS)
def test_every_way_of_writing_it(name):
    inputs, function, network = CORPUS[name]
    prepared, items = users.make(function, network, inputs)
    converter = OnnxConverter(prepared, trace(prepared))
    expected = users.eager(prepared, items.inputs)
    found = users.run(converter.convert(users.plan("onnx-fp32"), items, silent), items.inputs)
    assert np.abs(found - expected).max() < 1e-4 * expected.std(), "what the contract asks of fp32"
    for variant in ("onnx-int8", "onnx-w8", "onnx-int8-dynamic"):
        found = users.run(converter.convert(users.plan(variant), items, silent), items.inputs)
        # 7 bits of weights and 8 of activations, each rounded once or twice: about 35 dB.
        assert np.sqrt(np.square(found - expected).mean()) < 0.05 * expected.std(), variant
