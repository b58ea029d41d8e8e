"""The nodes of an ONNX file, told apart by files that end after each of them.

ONNX Runtime's profiler tells times, and forms texts between its readings of the clock that would be counted as well. So
the graph is saved as ONNX Runtime has optimized it for this CPU, and its beginnings are run as they are: what one takes
more than its predecessor is the last node's.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.guest.found import Layer
from edgeml_devices.emulator.guest.marks import mark_beginning
from edgeml_devices.emulator.guest.onnx_cut import OnnxCutter
from edgeml_runtime.backends import load_backend
from edgeml_runtime.errors import BackendError, BackendFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["mark_onnxruntime"]


def _open(onnxruntime: Any, model: bytes, *, saved_as: str | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL if saved_as is None else levels.ORT_ENABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    options.log_severity_level = 4
    if saved_as is not None:
        options.optimized_model_filepath = saved_as
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _optimized(onnxruntime: Any, model: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgeml-layers-") as folder:
        place = os.path.join(folder, "optimized.onnx")
        _open(onnxruntime, model, saved_as=place)
        with open(place, "rb") as file:
            return file.read()


def mark_onnxruntime(model: bytes, feeds: Mapping[str, NDArray[Any]]) -> tuple[Layer, ...]:
    """Run an ONNX file's beginnings, each between two marks.

    Args:
        model: The file.
        feeds: Its inputs by name.

    Returns:
        The nodes.

    Raises:
        BackendFailedError: ONNX Runtime raised, or the graph cannot be cut.
    """
    onnxruntime = import_module(load_backend("onnxruntime").package)
    arrays = dict(feeds)
    try:
        cutter = OnnxCutter(_optimized(onnxruntime, model))
        for number in range(len(cutter.nodes) + 1):
            session = _open(onnxruntime, cutter.cut(number))
            mark_beginning(partial(session.run, None, arrays), number, len(cutter.nodes))
    except BackendError:
        raise
    except Exception as error:  # ONNX Runtime raises types of its own that derive from Exception alone
        raise BackendFailedError(f"ONNX Runtime failed while its layers were counted: {error}") from error
    return tuple(Layer(name=node.name, type=node.type) for node in cutter.nodes)
