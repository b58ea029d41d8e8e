"""TFLite fp32 → int8: static quantization of activations and weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.calibration import refuse_unbounded
from edgeml_export.quiet import quiet
from edgeml_export.tflite_model import SIGNATURE, TfliteGraph
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_export.scheme import QuantScheme
    from edgeml_runtime.progress import Progress

__all__ = ["quantize_tflite"]

_BLOCK = 16


def quantize_tflite(
    graph: TfliteGraph, inputs: Mapping[str, NDArray[Any]], quant: QuantScheme, progress: Progress, *, step: str
) -> bytes:
    """Quantize everything but the float operators; inputs and outputs keep the contract's dtypes.

    Activation ranges are the true minimum and maximum over the items: the quantizer's default, a moving average, clips.

    Args:
        graph: The fp32 graph.
        inputs: Calibration items of the training split: contract input name → [n, *shape].
        quant: The scheme.
        progress: Told about calibration items.
        step: What to call this in the progress.

    Returns:
        The quantizer's file.

    Raises:
        ProjectError: When the quantizer fails.
    """
    with quiet():
        from ai_edge_quantizer import quantizer
    try:
        with quiet():
            made = quantizer.Quantizer(graph.content)
            _set_recipe(made, graph, quant)
        ranges = _calibrate(made, graph, inputs, progress, step)
        refuse_unbounded({name: (found["min"], found["max"]) for name, found in ranges.items() if "min" in found})
        with quiet():
            result = made.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    except ProjectError:
        raise
    except Exception as error:  # ai-edge-quantizer raises bare builtins
        raise ProjectError(f"quantization failed: {type(error).__name__}: {error}") from error
    return bytes(result.quantized_model)


def _calibrate(
    made: Any, graph: TfliteGraph, inputs: Mapping[str, NDArray[Any]], progress: Progress, step: str
) -> dict[str, Any]:
    """The range of every tensor over all items."""
    with quiet():
        from ai_edge_quantizer import calibrator
        from ai_edge_quantizer.utils import qsv_utils

        ranges = calibrator.Calibrator(graph.content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    total = len(next(iter(inputs.values())))
    for start in range(0, total, _BLOCK):
        items = [
            {graph.inputs[name]: np.ascontiguousarray(array[index : index + 1]) for name, array in inputs.items()}
            for index in range(start, min(total, start + _BLOCK))
        ]
        with quiet():
            # The recipe manager is what the calibrator wants, and the quantizer has no public way to hand it over.
            ranges.calibrate({SIGNATURE: items}, made._recipe_manager)
        progress(ProgressEvent(step=step, done=start + len(items), total=total))
    found: dict[str, Any] = ranges.get_model_qsvs()
    return found


def _set_recipe(made: Any, graph: TfliteGraph, quant: QuantScheme) -> None:
    """Later rules override earlier ones; an operator's scope is the names of its outputs, each followed by ``;``."""
    from ai_edge_quantizer import algorithm_manager, qtyping

    names = qtyping.TFLOperationName
    keep = algorithm_manager.AlgorithmName.NO_QUANTIZE
    granularity = qtyping.QuantGranularity
    made.add_static_config(
        ".*",
        names.ALL_SUPPORTED,
        activation_num_bits=quant.activation_bits,
        weight_num_bits=quant.weight_bits,
        weight_granularity=granularity.CHANNELWISE if quant.per_channel else granularity.TENSORWISE,
    )
    for name in (names.INPUT, names.OUTPUT):
        made.update_quantization_recipe(".*", name, None, keep)
    for output in sorted(graph.float_outputs):
        made.update_quantization_recipe(f"^{re.escape(output)};?", names.ALL_SUPPORTED, None, keep)
