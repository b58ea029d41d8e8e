"""TFLite fp32 → fewer bits: static and dynamic quantization, int8 and fp16 weights, as recipes of ai-edge-quantizer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema

from edgeml_export.calibration import refuse_unbounded
from edgeml_export.quiet import quiet
from edgeml_export.scheme import Precision
from edgeml_export.tflite_activations import as_qsvs
from edgeml_export.tflite_file import constant, operator_name, read_tflite, write_tflite
from edgeml_export.tflite_model import SIGNATURE
from edgeml_runtime.errors import DefectError, ProjectError

if TYPE_CHECKING:
    from collections.abc import Collection

    from edgeml_export.calibration import Ranges
    from edgeml_export.scheme import QuantScheme
    from edgeml_export.tflite_model import TfliteGraph

__all__ = ["quantize_tflite", "quantized_names"]


def quantize_tflite(
    graph: TfliteGraph,
    precision: Precision,
    quant: QuantScheme | None,
    ranges: Ranges,
    float_outputs: Collection[str],
) -> bytes:
    """Quantize everything but the float operators; inputs and outputs stay float.

    Args:
        graph: The fp32 graph.
        precision: What to make.
        quant: The scheme; None for fp16.
        ranges: Name of an activation → the smallest and largest value it is to express; needed where ``precision`` is
            static.
        float_outputs: Names of the tensors whose operators stay float.

    Returns:
        The quantizer's file.

    Raises:
        ProjectError: When the quantizer fails, or a range is not finite.
    """
    with quiet():
        from ai_edge_quantizer import quantizer
    try:
        with quiet():
            made = quantizer.Quantizer(graph.content)
            _set_recipe(made, precision, quant, float_outputs)
        statistics = None
        if precision.is_static:
            known = dict(ranges) | {graph.tensors[name]: pixel.range for name, pixel in graph.pixels.items()}
            wanted = _wanted(made, graph)
            refuse_unbounded({name: known[name] for name in wanted if name in known})
            statistics = as_qsvs(known, wanted)
        with quiet():
            result = made.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    except ProjectError:
        raise
    except Exception as error:  # ai-edge-quantizer raises bare builtins
        raise ProjectError(
            f"quantization failed: {type(error).__name__}: {error}; name the module with the operator in "
            "export.float_scopes in edgeml.toml, or take the variant out of export.variants"
        ) from error
    content = bytes(result.quantized_model)
    return _with_general_scales(content) if precision is Precision.INT16X8 else content


def quantized_names(content: bytes) -> frozenset[str]:
    """The activations that a file computes as integers by a scale of their own.

    Args:
        content: What :func:`quantize_tflite` gave.

    Returns:
        Their names in the fp32 graph. Where float operators read or write them too, the quantizer has left the name to
        the float tensor, and given the integers the same name with ``_quantized`` behind it.
    """
    model = read_tflite(content)
    integers = (schema.TensorType.INT8, schema.TensorType.INT16)
    return frozenset(
        tensor.name.decode().removesuffix("_quantized")
        for tensor in model.subgraphs[0].tensors
        if tensor.type in integers and constant(model, tensor) is None and tensor.quantization is not None
    )


def _with_general_scales(content: bytes) -> bytes:
    """Say of sums of 16-bit integers that their scales are no powers of two.

    Where three scales happen to be near powers of two, as those of a range from −1 to 1 are, LiteRT takes another way
    that demands more of them, and fails (tensorflow/lite/kernels/add.cc and sub.cc, ``pot_scale_int16``).
    """
    model = read_tflite(content)
    for operator in model.subgraphs[0].operators:
        if operator_name(model, operator) in ("ADD", "SUB") and operator.builtinOptions is not None:
            operator.builtinOptions.potScaleInt16 = False
    return write_tflite(model)


def _wanted(made: Any, graph: TfliteGraph) -> dict[str, Any]:
    """The activations whose ranges the quantizer needs with its recipe, as its own calibrator finds them."""
    with quiet():
        from ai_edge_quantizer import calibrator

        ranges = calibrator.Calibrator(graph.content, num_threads=1)
        # The recipe manager is what the calibrator wants, and the quantizer has no public way to hand it over.
        ranges.calibrate({SIGNATURE: [dict(graph.example)]}, made._recipe_manager)
    found: dict[str, Any] = ranges.get_model_qsvs()
    return found


def _set_recipe(made: Any, precision: Precision, quant: QuantScheme | None, float_outputs: Collection[str]) -> None:
    """Later rules override earlier ones; an operator's scope is the names of its outputs, each followed by ``;``."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    names = qtyping.TFLOperationName
    keep = algorithm_manager.AlgorithmName.NO_QUANTIZE
    if precision is Precision.FP16:
        _cast_weights(made)
    elif quant is None:
        raise DefectError(f"no scheme for {precision.value}")
    else:
        kinds = qtyping.QuantGranularity
        granularity = kinds.CHANNELWISE if quant.per_channel else kinds.TENSORWISE
        if precision.is_static:
            made.add_static_config(
                ".*",
                names.ALL_SUPPORTED,
                activation_num_bits=quant.activation_bits,
                weight_num_bits=quant.weight_bits,
                weight_granularity=granularity,
            )
        else:
            add = made.add_weight_only_config if precision is Precision.W8 else made.add_dynamic_config
            add(".*", names.ALL_SUPPORTED, num_bits=quant.weight_bits, granularity=granularity)
    for name in (names.INPUT, names.OUTPUT):
        made.update_quantization_recipe(".*", name, None, keep)
    if precision.is_static:
        # LiteRT refuses to divide by an integer that stands for zero, which a small divisor is rounded to.
        made.update_quantization_recipe(".*", names.DIV, None, keep)
    for output in sorted(float_outputs):
        made.update_quantization_recipe(f"^{re.escape(output)};?", names.ALL_SUPPORTED, None, keep)


def _cast_weights(made: Any) -> None:
    """Weights as 16-bit floats, cast back when the model is loaded."""
    from ai_edge_quantizer import algorithm_manager, qtyping
    from ai_edge_quantizer.algorithms.nonlinear_quantize import float_casting

    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    for name in sorted(float_casting.SUPPORTED_WEIGHT_QUANT_OPS):
        made.update_quantization_recipe(".*", name, config, algorithm_manager.AlgorithmName.FLOAT_CASTING)
