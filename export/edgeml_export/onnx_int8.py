"""ONNX fp32 → int8 in QDQ form, and int8 with ranges found at run time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edgeml_export.calibration import refuse_unbounded
from edgeml_export.onnx_activations import as_tensors_data
from edgeml_export.onnx_compact import drop_unused
from edgeml_export.onnx_float_layers import keep_float
from edgeml_export.onnx_model import IR_VERSION
from edgeml_export.onnx_pixels import attach_pixels, detach_layout, quantized_pixels
from edgeml_export.quiet import quiet
from edgeml_export.scratch import scratch_folder
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from edgeml_export.calibration import Ranges
    from edgeml_export.onnx_model import OnnxGraph
    from edgeml_export.scheme import QuantScheme

__all__ = ["quantize_onnx", "quantize_onnx_dynamic", "quantized_names"]

_FLOAT_OUTPUTS = frozenset({"Gemm", "MatMul"})


def quantize_onnx(graph: OnnxGraph, ranges: Ranges, quant: QuantScheme, float_nodes: Collection[str]) -> ModelProto:
    """Quantize everything but the float nodes.

    The last layer is computed in int8 too, but hands its sums on in float: logits rounded to 256 steps would tie.

    Args:
        graph: The fp32 graph.
        ranges: Name of an activation → the smallest and largest value it is to express.
        quant: The scheme.
        float_nodes: Names of the nodes that stay float.

    Returns:
        The quantized model, with the same names of inputs and outputs; inputs of which pixels were cut take pixels.

    Raises:
        ProjectError: When the quantizer fails, or an activation is NaN.
    """
    refuse_unbounded({name: ranges[name] for name in _quantized_tensors(graph, float_nodes) if name in ranges})
    core = _copy(graph.model)
    kept = {*float_nodes, *_awkward(core)}
    detached = [detach_layout(core, name) for name in graph.pixels]
    overrides = {
        item.values: [
            {
                "scale": np.array(graph.pixels[item.name].scale, np.float32),
                "zero_point": np.array(graph.pixels[item.name].zero_point, np.uint8),
                "quant_type": QuantType.QUInt8,
            }
        ]
        for item in detached
    }
    options = {"ActivationSymmetric": False, "WeightSymmetric": True, "TensorQuantOverrides": overrides}
    with _translated():
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(core),
            quant.per_channel,
            quant.weight_bits == 7,
            QuantType.QInt8,
            QuantType.QInt8 if quant.activation_signed else QuantType.QUInt8,
            as_tensors_data({**ranges, **{item.values: graph.pixels[item.name].range for item in detached}}),
            [],
            sorted(kept),
            sorted({*QLinearOpsRegistry, *QDQRegistry}),
            options,
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    model: ModelProto = quantizer.model.model
    _hand_on_sums(model, graph)
    for item in detached:
        quantized_pixels(model, item, graph.pixels[item.name])
    keep_float(model, kept)
    with _translated():
        return _tidy(model)


def quantize_onnx_dynamic(graph: OnnxGraph, quant: QuantScheme, float_nodes: Collection[str]) -> ModelProto:
    """Quantize weights; activations are quantized at run time by the range of each call's own values.

    Args:
        graph: The fp32 graph.
        quant: The scheme.
        float_nodes: Names of the nodes that stay float.

    Returns:
        The quantized model, with the same names of inputs and outputs.

    Raises:
        ProjectError: When the quantizer fails.
        StorageError: When temporary files cannot be written.
    """
    core = _copy(graph.model)
    attach_pixels(core, graph.pixels, interleave=True)
    _split_gemm(core)
    with scratch_folder() as folder, _translated():
        path = folder / "dynamic.onnx"
        quantize_dynamic(
            core,
            path,
            op_types_to_quantize=["Conv", "MatMul"],
            per_channel=quant.per_channel,
            reduce_range=quant.weight_bits == 7,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(float_nodes),
            extra_options={"WeightSymmetric": True},
        )
        return _tidy(onnx.load(path))


def quantized_names(model: ModelProto) -> frozenset[str]:
    """The activations that a model rounds by itself.

    Args:
        model: In QDQ form.

    Returns:
        Names of the tensors that a QuantizeLinear reads; pixels, which are integers from the start, are not among them.
    """
    return frozenset(node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear")


@contextmanager
def _translated() -> Iterator[None]:
    """onnxruntime.quantization logs to the root logger and raises bare builtins."""
    try:
        with quiet(streams=False):
            yield
    except (OSError, ProjectError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ProjectError(
            f"quantization failed: {type(error).__name__}: {text:.200}; name the module with the operator in "
            "export.float_scopes in edgeml.toml, or take the variant out of export.variants"
        ) from error


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def _tidy(model: ModelProto) -> ModelProto:
    model.ir_version = IR_VERSION
    model.producer_name = model.producer_version = ""
    del model.metadata_props[:], model.graph.value_info[:]
    drop_unused(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def _quantized_tensors(graph: OnnxGraph, float_nodes: Collection[str]) -> set[str]:
    """Tensors at nodes that are quantized."""
    nodes = [node for node in graph.model.graph.node if node.name not in float_nodes]
    return {name for node in nodes for name in (*node.input, *node.output)}


def _awkward(model: ModelProto) -> set[str]:
    """Nodes that are better left float.

    Divisions and what computes their divisors, because small ones are rounded to zero; transposed convolutions in
    groups, whose bias the quantizer takes for one of a single group.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    divisors = {node.input[1] for node in model.graph.node if node.op_type == "Div"} - constants
    return {
        node.name
        for node in model.graph.node
        if (node.op_type == "Div" and node.input[1] in divisors)
        or divisors.intersection(node.output)
        or (node.op_type == "ConvTranspose" and any(item.name == "group" and item.i > 1 for item in node.attribute))
    }


def _hand_on_sums(model: ModelProto, graph: OnnxGraph) -> None:
    """Take the rounding off outputs that a matrix product computes, so that it hands on its sums in float."""
    nodes = model.graph.node
    maker = {name: node for node in nodes for name in node.output}
    for output in graph.model.graph.output:
        dequantize = maker.get(output.name)
        quantize = maker.get(dequantize.input[0]) if dequantize is not None else None
        product = maker.get(quantize.input[0]) if quantize is not None else None
        if product is None or product.op_type not in _FLOAT_OUTPUTS or quantize is None or dequantize is None:
            continue
        if (quantize.op_type, dequantize.op_type) != ("QuantizeLinear", "DequantizeLinear"):
            continue
        for node in nodes:
            node.input[:] = [output.name if name == product.output[0] else name for name in node.input]
        product.output[0] = output.name
        nodes.remove(quantize)
        nodes.remove(dequantize)


def _split_gemm(model: ModelProto) -> None:
    """Write Gemm as MatMul and Add, of which the dynamic quantizer knows the first; weights are transposed here."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        options = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        plain = options.get("alpha", 1.0) == 1 and options.get("beta", 1.0) == 1 and not options.get("transA", 0)
        if node.op_type != "Gemm" or not plain or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = node.input[1]
        if options.get("transB", 0):
            weight = f"{node.name}:weight"
            values = np.ascontiguousarray(onnx.numpy_helper.to_array(constants[node.input[1]]).T)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, weight))
        if len(node.input) < 3:
            nodes.append(helper.make_node("MatMul", [node.input[0], weight], [node.output[0]], node.name))
            continue
        product = f"{node.name}:product"
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], node.name))
        nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], f"{node.name}:bias"))
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
