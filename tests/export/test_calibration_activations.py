"""Real models of both formats, watched while they run; the quantizers make of our ranges what they make of theirs."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import onnx
import pytest
import torch
from ai_edge_quantizer import calibrator, qtyping, quantizer
from ai_edge_quantizer.utils import qsv_utils
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import save_tensors_data
from torch import nn

from edgeml_export.calibration import calibrate
from edgeml_export.onnx_activations import activation_names, as_tensors_data, onnx_activations
from edgeml_export.quiet import quiet
from edgeml_export.tflite_activations import as_qsvs, output_names, tflite_activations
from edgeml_export.tflite_file import read_tflite
from edgeml_export.tflite_model import SIGNATURE
from edgeml_runtime.contract import CalibrationMethod as Method
from edgeml_runtime.errors import DefectError, ProjectError

ITEMS = 6


class Net(nn.Module):
    """A padded maximum, a branch that is added, and a look-up by an integer beside the image."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.table = nn.Embedding(5, 8)
        self.last = nn.Linear(16, 4)

    def forward(self, image, place):
        x = self.first(image)
        x = torch.relu(x + self.second(x)).mean((2, 3))
        return self.last(torch.cat([x, self.table(place).squeeze(1)], dim=1))


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    return {
        "image": (rng.normal(size=(ITEMS, 3, 12, 12)) * 2).astype(np.float32),
        "place": rng.integers(0, 5, (ITEMS, 1), dtype=np.int32),
    }


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def onnx_model(net, items):
    example = tuple(torch.from_numpy(array[:1]) for array in items.values())
    with quiet():
        model = torch.onnx.export(
            net, example, dynamo=True, verbose=False, input_names=list(items), output_names=["logits"]
        ).model_proto
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(scope="module")
def tflite_content(net, items):
    with quiet():
        import litert_torch

        example = {name: torch.from_numpy(array[:1]) for name, array in items.items()}
        return bytes(litert_torch.convert(net, sample_kwargs=example).model_content())


def onnx_source(model, items):
    return partial(onnx_activations, model, activation_names(model), items)


def tflite_source(content, items):
    return partial(tflite_activations, content, items)


def eager(net, items):
    with torch.inference_mode():
        return net(*(torch.from_numpy(array) for array in items.values())).numpy()


def test_onnx_gives_every_activation_of_every_item(net, onnx_model, items):
    found = list(onnx_source(onnx_model, items)())
    assert len(found) == ITEMS
    assert np.array_equal(np.concatenate([item["image"] for item in found]), items["image"])
    assert np.allclose(np.concatenate([item["logits"] for item in found]), eager(net, items), atol=1e-5)
    assert {values.dtype for item in found for values in item.values()} == {np.dtype(np.float32)}
    names = activation_names(onnx_model)
    assert found[0].keys() == set(names)
    assert names[0] == "image"
    assert "place" not in names
    assert not {tensor.name for tensor in onnx_model.graph.initializer} & set(names)


def test_tflite_gives_every_activation_of_every_item(net, tflite_content, items):
    found = list(tflite_source(tflite_content, items)())
    assert len(found) == ITEMS
    (output,) = output_names(tflite_content)
    assert np.allclose(np.concatenate([item[output] for item in found]), eager(net, items), atol=1e-5)
    assert {values.dtype for item in found for values in item.values()} == {np.dtype(np.float32)}
    graph = read_tflite(tflite_content).subgraphs[0]
    assert found[0].keys() < {tensor.name.decode() for tensor in graph.tensors}


def test_infinite_padding_is_no_activation(tflite_content, items):
    ranges = calibrate(tflite_source(tflite_content, items), Method.MIN_MAX, items=ITEMS)
    assert np.isfinite(list(ranges.values())).all()
    padded = [values for item in tflite_source(tflite_content, items)() for values in item.values() if values.ndim == 1]
    assert len(padded) > 0, "the padding of the maximum, which holds infinities, is flat without them"


@pytest.mark.parametrize("method", Method)
def test_both_formats_have_the_same_range_of_the_output(onnx_model, tflite_content, items, method):
    (output,) = output_names(tflite_content)
    one = calibrate(onnx_source(onnx_model, items), method, items=ITEMS)["logits"]
    other = calibrate(tflite_source(tflite_content, items), method, items=ITEMS)[output]
    assert one == pytest.approx(other, abs=1e-4)


class Reader(CalibrationDataReader):
    """Items for ONNX Runtime's own calibration."""

    def __init__(self, items):
        self._rest = [{name: array[i : i + 1] for name, array in items.items()} for i in range(ITEMS)]

    def get_next(self):
        return self._rest.pop(0) if self._rest else None


def quantized_onnx(model, folder, reader=None, **changes):
    with quiet():
        quantize_static(
            copy.deepcopy(model),  # it moves the weights of the one it is given to a file
            folder / "int8.onnx",
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            **changes,
        )
    return (folder / "int8.onnx").read_bytes()


def test_onnx_runtime_makes_the_same_model_of_our_ranges(onnx_model, items, tmp_path):
    theirs = quantized_onnx(onnx_model, tmp_path, Reader(items))
    ranges = calibrate(onnx_source(onnx_model, items), Method.MIN_MAX, items=ITEMS)
    cache = tmp_path / "ranges.json"
    save_tensors_data(as_tensors_data(ranges), cache)
    assert quantized_onnx(onnx_model, tmp_path, calibration_cache_path=cache) == theirs
    save_tensors_data(as_tensors_data({name: (low, high * 0.9) for name, (low, high) in ranges.items()}), cache)
    assert quantized_onnx(onnx_model, tmp_path, calibration_cache_path=cache) != theirs


def prepared_quantizer(content):
    with quiet():
        made = quantizer.Quantizer(content)
        made.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    return made


def their_qsvs(made, content, items, count):
    with quiet():
        own = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
        rows = [{name: array[i : i + 1] for name, array in items.items()} for i in range(count)]
        own.calibrate({SIGNATURE: rows}, made._recipe_manager)
    return own.get_model_qsvs()


def quantized_tflite(made, qsvs):
    with quiet():
        return bytes(made.quantize(qsvs, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def test_ai_edge_quantizer_makes_the_same_file_of_our_ranges(tflite_content, items):
    made = prepared_quantizer(tflite_content)
    theirs = quantized_tflite(made, their_qsvs(made, tflite_content, items, ITEMS))
    ranges = calibrate(tflite_source(tflite_content, items), Method.MIN_MAX, items=ITEMS)
    wanted = their_qsvs(made, tflite_content, items, 1)
    assert quantized_tflite(made, as_qsvs(ranges, wanted)) == theirs
    narrower = {name: (low, high * 0.9) for name, (low, high) in ranges.items()}
    assert quantized_tflite(made, as_qsvs(narrower, wanted)) != theirs


def test_an_activation_without_a_range_is_a_defect(tflite_content, items):
    made = prepared_quantizer(tflite_content)
    with pytest.raises(DefectError, match="expected a range for every activation"):
        as_qsvs({}, their_qsvs(made, tflite_content, items, 1))


def with_logarithm(*, quantized):
    """x · weight, and its logarithm, which is infinite or NaN; the logarithm is quantized or not."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
        helper.make_node("Log", ["y"], ["log"]),
        helper.make_node("MatMul", ["log" if quantized else "y", "weight"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("z", "log")],
        [numpy_helper.from_array(np.eye(2, dtype=np.float32), "weight")],
    )
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    )


@pytest.mark.parametrize("quantized", [True, False])
@pytest.mark.parametrize("value", [0, -1])
def test_an_unbounded_activation_shows_in_the_scales_only_where_it_is_quantized(quantized, value, tmp_path):
    model = with_logarithm(quantized=quantized)
    ranges = calibrate(onnx_source(model, {"x": np.array([[value, 1]], np.float32)}), Method.MIN_MAX, items=1)
    assert not np.isfinite(ranges["log"]).all()
    save_tensors_data(as_tensors_data(ranges), tmp_path / "ranges.json")
    quantized_onnx(model, tmp_path, calibration_cache_path=tmp_path / "ranges.json")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    scales = [numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name.endswith("_scale")]
    assert all(np.isfinite(scale).all() for scale in scales) is not quantized


def test_weights_that_old_models_list_among_the_inputs_are_no_activations():
    model = with_logarithm(quantized=True)
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [2, 2]))
    assert activation_names(model) == ("x", "y", "log", "z")


@pytest.mark.parametrize("format_", ["onnx", "tflite"])
def test_what_a_backend_raises_is_translated(onnx_model, tflite_content, items, format_):
    wrong = {**items, "image": items["image"][:, :2]}
    source = onnx_source(onnx_model, wrong) if format_ == "onnx" else tflite_source(tflite_content, wrong)
    with pytest.raises(ProjectError, match="calibration failed"):
        list(source())
