"""ONNX fp32 → int8: static quantization in QDQ form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from edgeml_export.calibration import refuse_unbounded
from edgeml_export.onnx_model import IR_VERSION, OnnxGraph
from edgeml_export.quiet import quiet
from edgeml_export.scheme import CalibrationMethod as Method
from edgeml_export.scratch import scratch_folder
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_export.scheme import QuantScheme
    from edgeml_runtime.progress import Progress

__all__ = ["quantize_onnx"]

_CALIBRATION = {Method.MIN_MAX: CalibrationMethod.MinMax}


class _Items(CalibrationDataReader):  # type: ignore[misc]
    """Calibration items one by one.

    Args:
        inputs: Input name → [n, *shape].
        progress: Told about every item.
        step: What to call this in the progress.
    """

    def __init__(self, inputs: Mapping[str, NDArray[Any]], progress: Progress, step: str) -> None:
        self._inputs, self._progress, self._step = inputs, progress, step
        self._total = len(next(iter(inputs.values())))
        self._next = 0

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next item, or None behind the last one."""
        self._progress(ProgressEvent(step=self._step, done=self._next, total=self._total))
        if self._next == self._total:
            return None
        items = slice(self._next, self._next + 1)
        self._next += 1
        return {name: np.ascontiguousarray(array[items]) for name, array in self._inputs.items()}


def quantize_onnx(
    graph: OnnxGraph, inputs: Mapping[str, NDArray[Any]], quant: QuantScheme, progress: Progress, *, step: str
) -> ModelProto:
    """Quantize everything but the float nodes.

    The last layer is computed in int8 too, but hands its sums on in float: logits rounded to 256 steps would tie.

    Args:
        graph: The fp32 graph.
        inputs: Calibration items of the training split: input name → [n, *shape].
        quant: The scheme.
        progress: Told about every calibration item.
        step: What to call this in the progress.

    Returns:
        The quantized model, with the same names of inputs and outputs.

    Raises:
        ProjectError: When the quantizer fails, or an activation is NaN.
        StorageError: When temporary files cannot be written.
    """
    options = {
        "OpTypesToExcludeOutputQuantization": _last_products(graph),
        "ActivationSymmetric": False,
        "WeightSymmetric": True,
    }
    with scratch_folder() as folder:
        path = folder / "int8.onnx"
        try:
            with quiet(streams=False):
                quantize_static(
                    onnx.shape_inference.infer_shapes(graph.model),
                    path,
                    _Items(inputs, progress, step),
                    quant_format=QuantFormat.QDQ,
                    per_channel=quant.per_channel,
                    reduce_range=quant.weight_bits == 7,
                    activation_type=QuantType.QInt8 if quant.activation_signed else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=sorted(graph.float_nodes),
                    calibrate_method=_CALIBRATION[quant.calibration],
                    extra_options=options,
                )
            model = onnx.load(path)
        except OSError:
            raise
        except Exception as error:  # onnxruntime.quantization raises bare builtins
            raise ProjectError(f"quantization failed: {type(error).__name__}: {error}") from error
    refuse_unbounded(_scales(model))
    model.ir_version = IR_VERSION
    model.producer_name = model.producer_version = ""
    del model.metadata_props[:], model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _scales(model: ModelProto) -> dict[str, tuple[Any, Any]]:
    """Scale of everything quantized; a scale is as finite as the range that it was computed from."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    arrays = {node.input[0]: onnx.numpy_helper.to_array(constants[node.input[1]]) for node in quantized}
    return {name: (array, array) for name, array in arrays.items()}


def _last_products(graph: OnnxGraph) -> list[str]:
    """Operator types, among those that can hand on float sums, of the nodes that compute outputs."""
    outputs = {output.name for output in graph.model.graph.output}
    return sorted({node.op_type for node in graph.model.graph.node if outputs & set(node.output)} & {"Gemm", "MatMul"})
