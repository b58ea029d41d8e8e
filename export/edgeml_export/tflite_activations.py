"""The activations of a TFLite model, item by item, and their ranges as ai-edge-quantizer takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgeml_export.quiet import quiet
from edgeml_export.tflite_file import constant, operator_name, read_tflite
from edgeml_runtime.errors import DefectError, ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from edgeml_export.calibration import Ranges

__all__ = ["activation_names", "as_qsvs", "output_names", "tflite_activations"]


def tflite_activations(content: bytes, inputs: Mapping[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run a model item by item, with one thread.

    What a padding puts around its values is left out where it is infinite: it stands for nothing that a maximum over
    them would choose, and the quantizer makes it the lowest integer.

    Args:
        content: The file, in fp32, with a batch of one.
        inputs: Name of an input, in the signature or else in the graph → [n, *shape].

    Yields:
        For each item: name in the file of a float32 tensor that is no constant → its values.

    Raises:
        ProjectError: When LiteRT cannot load or run the model.
    """
    names, padded = _float_tensors(content)
    try:
        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
            interpreter.allocate_tensors()
        places = _input_places(interpreter)
        for index in range(len(next(iter(inputs.values())))):
            for name, array in inputs.items():
                interpreter.set_tensor(places[name], np.ascontiguousarray(array[index : index + 1]))
            interpreter.invoke()
            values = {place: interpreter.get_tensor(place) for place in names}
            for place in padded:
                values[place] = values[place][~np.isinf(values[place])]
            yield {names[place]: found for place, found in values.items()}
    except Exception as error:  # LiteRT raises bare builtins
        raise ProjectError(f"calibration failed: {type(error).__name__}: {error}") from error


def activation_names(content: bytes) -> frozenset[str]:
    """Names of the float32 tensors that are no constants.

    Args:
        content: The file, in fp32.

    Returns:
        The names that :func:`tflite_activations` gives.
    """
    return frozenset(_float_tensors(content)[0].values())


def output_names(content: bytes) -> tuple[str, ...]:
    """What the outputs of a model are called in its file, in their order.

    Args:
        content: The file.

    Returns:
        Names among those that :func:`tflite_activations` gives.
    """
    graph = read_tflite(content).subgraphs[0]
    return tuple(graph.tensors[place].name.decode() for place in graph.outputs)


def as_qsvs(ranges: Ranges, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, NDArray[Any]]]:
    """Ranges as ai-edge-quantizer takes them ("quantization statistics values").

    Args:
        ranges: Of every activation that :func:`tflite_activations` gives.
        wanted: What the quantizer's own calibrator finds for any item: which activations it needs with the recipe at
            hand, and the shape of each one's ``min`` and ``max``.

    Returns:
        The same entries with the given ranges in them, for ``Quantizer.quantize``.

    Raises:
        DefectError: When an activation has no range.
    """
    return {name: _qsv(name, entry, ranges) for name, entry in wanted.items()}


def _qsv(name: str, entry: Mapping[str, Any], ranges: Ranges) -> dict[str, NDArray[Any]]:
    if entry["min"].dtype.kind in "biu":
        return dict(entry)  # conditions and indices: listed, but never quantized
    if name not in ranges:
        raise DefectError(f"expected a range for every activation that is to be quantized, found none for {name!r}")
    low, high = ranges[name]
    return {**entry, "min": np.full_like(entry["min"], low), "max": np.full_like(entry["max"], high)}


def _float_tensors(content: bytes) -> tuple[dict[int, str], frozenset[int]]:
    """Place and name of what is computed in float32, and the places that paddings compute."""
    model = read_tflite(content)
    graph = model.subgraphs[0]
    computed = [*graph.inputs, *(place for operator in graph.operators for place in operator.outputs)]
    names = {
        int(place): graph.tensors[place].name.decode()
        for place in computed
        if graph.tensors[place].type == schema.TensorType.FLOAT32 and constant(model, graph.tensors[place]) is None
    }
    paddings = [operator for operator in graph.operators if operator_name(model, operator) in ("PAD", "PADV2")]
    return names, frozenset(names.keys() & {int(place) for operator in paddings for place in operator.outputs})


def _input_places(interpreter: Interpreter) -> dict[str, int]:
    if interpreter.get_signature_list():
        details = interpreter.get_signature_runner().get_input_details()
    else:
        details = {detail["name"]: detail for detail in interpreter.get_input_details()}
    return {name: int(detail["index"]) for name, detail in details.items()}
