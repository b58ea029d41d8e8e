"""The operators of a TFLite file, told apart by files that end after each of them.

The interpreter's Python interface has no profiler, and the plug-in cannot look into XNNPACK. So a file that ends after
operator k is run for every k: what it takes more than its predecessor is the operator's, and what XNNPACK fuses falls
to the operator that completes the fusion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.guest.found import Layer
from edgeml_devices.emulator.guest.marks import mark_beginning
from edgeml_devices.emulator.guest.tflite_cut import TfliteCutter
from edgeml_runtime.backends.litert import interpreter_class
from edgeml_runtime.errors import BackendError, BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["mark_litert"]


def _interpreter(model: bytes) -> Any:
    interpreter = interpreter_class()(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _input_indices(interpreter: Any) -> dict[str, int]:
    """By the tensors' own names, and by those of the file's one signature."""
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        indices |= {name: detail["index"] for name, detail in runner.get_input_details().items()}
    return indices


def _names(interpreter: Any, operators: int) -> tuple[Layer, ...]:
    tensors = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    found = interpreter._get_ops_details()[:operators]  # nothing public tells the operators
    return tuple(
        Layer(name=str(tensors.get(one["outputs"][0], one["op_name"])), type=str(one["op_name"])) for one in found
    )


def mark_litert(model: bytes, feeds: Mapping[str, NDArray[Any]]) -> tuple[Layer, ...]:
    """Run a TFLite file's beginnings, each between two marks.

    Args:
        model: The file.
        feeds: Its inputs by the names of its signature, in its own element types.

    Returns:
        The operators.

    Raises:
        BackendFailedError: The file cannot be cut, or its beginnings not be run.
    """
    try:
        cutter, whole = TfliteCutter(model), _interpreter(model)
        named = _input_indices(whole)
        for number in range(cutter.operators + 1):
            interpreter = _interpreter(cutter.cut(number))
            for name, feed in feeds.items():
                interpreter.set_tensor(named[name], feed)
            mark_beginning(interpreter.invoke, number, cutter.operators)
        return _names(whole, cutter.operators)
    except BackendError:
        raise
    except Exception as error:  # the interpreter raises ValueError, RuntimeError, SystemError and others
        raise BackendFailedError(f"LiteRT failed while its layers were counted: {error}") from error
