"""The activations of an ONNX model, item by item, and their ranges as ONNX Runtime's quantizer takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeml_export.calibration import Ranges

__all__ = ["activation_names", "as_tensors_data", "onnx_activations"]


def activation_names(model: ModelProto) -> tuple[str, ...]:
    """Everything that could be quantized: the float32 inputs, and the float32 tensors that nodes compute.

    Args:
        model: With a type for every tensor within reach of shape inference.

    Returns:
        Names, inputs first, then in the order of the nodes.
    """
    return tuple(_activation_infos(model))


def onnx_activations(
    model: ModelProto, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run a model item by item, with one thread and without optimizations, which would change what is computed.

    Args:
        model: In fp32, with a batch of one.
        names: Wanted activations, of :func:`activation_names`.
        inputs: Input name → [n, *shape].

    Yields:
        For each item: name of an activation → its values, [1, ...] float32.

    Raises:
        ProjectError: When ONNX Runtime cannot load or run the model.
    """
    given = [name for name in names if name in inputs]
    computed = [name for name in names if name not in inputs]
    try:
        session = _session(model, computed)
        for index in range(len(next(iter(inputs.values())))):
            feeds = {name: np.ascontiguousarray(array[index : index + 1]) for name, array in inputs.items()}
            values = session.run(computed, feeds) if computed else []
            # An input is handed on as it is: ONNX Runtime gives out its own memory for an output that is an input.
            yield dict(zip(computed, values, strict=True)) | {name: feeds[name] for name in given}
    except Exception as error:  # ONNX Runtime raises an exception class per status code
        raise ProjectError(f"calibration failed: {type(error).__name__}: {error}") from error


def as_tensors_data(ranges: Ranges) -> TensorsData:
    """Ranges as ``onnxruntime.quantization`` takes them.

    A range that is not finite goes in as an infinite one: the quantizer then gives the activation an infinite scale,
    which stands in the model only if the activation is quantized at all.

    Args:
        ranges: Of every activation in :func:`activation_names`.

    Returns:
        For ``tensors_range`` of ``QDQQuantizer``; or, saved by ``save_tensors_data``, for ``calibration_cache_path`` of
        ``quantize_static`` with ``CalibrationMethod.MinMax``, whichever method found the ranges.
    """
    unbounded = (-np.inf, np.inf)
    ends = {name: found if np.isfinite(found).all() else unbounded for name, found in ranges.items()}
    data = {
        name: TensorData(lowest=np.array([low], np.float32), highest=np.array([high], np.float32))
        for name, (low, high) in ends.items()
    }
    return TensorsData(CalibrationMethod.MinMax, data)


def _session(model: ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session whose outputs are the given activations."""
    infos = _activation_infos(model)
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(infos[name] for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _activation_infos(model: ModelProto) -> dict[str, onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    infos = {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}
    constants = {tensor.name for tensor in graph.initializer}
    computed = [name for node in graph.node if node.op_type != "Constant" for name in node.output]
    names = [name for name in (*(item.name for item in graph.input), *computed) if name and name not in constants]
    return {
        name: infos[name]
        for name in names
        if name in infos and infos[name].type.tensor_type.elem_type == TensorProto.FLOAT
    }
