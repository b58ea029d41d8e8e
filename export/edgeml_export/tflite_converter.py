"""The converter of TFLite variants."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgeml_export.calibration import calibrate
from edgeml_export.converters import Converted, ranges_for
from edgeml_export.scheme import Precision
from edgeml_export.tflite_activations import activation_names, output_names, tflite_activations
from edgeml_export.tflite_constants import store_constants_int8
from edgeml_export.tflite_int8 import quantize_tflite, quantized_names
from edgeml_export.tflite_inventory import tflite_inventory
from edgeml_export.tflite_metadata import describe_tflite
from edgeml_export.tflite_model import compact_tflite, convert_tflite
from edgeml_export.tflite_pixels import attach_pixels
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edgeml_evaluate import LabelledData
    from edgeml_export.calibration import Ranges
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import CalibrationMethod, VariantPlan
    from edgeml_export.tflite_model import TfliteGraph
    from edgeml_export.tracing import Traced
    from edgeml_runtime.progress import Progress

__all__ = ["TfliteConverter"]

# The first release of ai-edge-litert. It was seen to run variants of a keyword model, as was tflite-runtime 2.14.0; the
# numbers of the two are compared as they stand.
_MIN_LITERT = "1.0.1"

_WRONG_DYNAMIC = (
    "its kernels give wrong results for weights that are quantized per channel and activations that are not"
)


class TfliteConverter:
    """Makes TFLite variants; see :class:`edgeml_export.converters.Converter`."""

    def __init__(self, prepared: Prepared, traced: Traced) -> None:
        if traced.dynamic_batch:
            raise ProjectError(
                "TFLite variants have a batch of one: for --dynamic-batch take ONNX variants alone (export.variants in "
                "edgeml.toml, or --variants)"
            )
        self._prepared = prepared
        self._traced = traced
        self._ranges: dict[tuple[CalibrationMethod, int], Ranges] = {}
        self._rounded: dict[tuple[Precision, tuple[str, ...]], frozenset[str]] = {}

    def convert(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.convert`."""
        precision = plan.spec.precision
        graph = self._folded if precision is Precision.FP32 else self._graph
        front = graph.within(plan.float_layers)
        content = graph.content
        ranges: Ranges = {}
        sources = None
        if precision is not Precision.FP32:
            if precision.is_static:
                ranges, sources = ranges_for(self, plan, calibration, progress)
            content = quantize_tflite(graph, precision, plan.scheme, ranges, front | graph.after)
        if plan.small_layers:
            small = {output for output, path in graph.layers.items() if path in plan.small_layers}
            content = store_constants_int8(content, small)
        inventory = tflite_inventory(content, front)
        content, encodings = attach_pixels(content, graph.pixels, graph.input_positions)
        return Converted(
            content=describe_tflite(compact_tflite(content, graph), self._prepared.contract),
            inventory=inventory,
            backend="litert",
            min_backend_version=_MIN_LITERT,
            input_encodings=encodings,
            refused_by={"tflite-runtime": _WRONG_DYNAMIC} if precision is Precision.INT8_DYNAMIC else {},
            ranges=sources,
        )

    def ranges(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Ranges:
        """See :meth:`edgeml_export.converters.Converter.ranges`; found once per method and number of bits."""
        bits = (plan.scheme.activation_bits if plan.scheme else None) or 8
        key = plan.calibration, bits
        if key not in self._ranges:
            self._ranges[key] = calibrate(
                lambda: self.activations(calibration.inputs),
                plan.calibration,
                items=len(calibration),
                levels=2**bits,
                whole=output_names(self._float),
                progress=progress,
                step="calibrate tflite",
            )
        return self._ranges[key]

    def rounded(self, plan: VariantPlan) -> frozenset[str]:
        """See :meth:`edgeml_export.converters.Converter.rounded`."""
        key = plan.spec.precision, plan.float_layers
        if key not in self._rounded:
            graph = self._graph
            names = activation_names(graph.content)
            float_outputs = graph.within(plan.float_layers) | graph.after
            wide = dict.fromkeys(names, (-1.0, 1.0))
            quantized = quantize_tflite(graph, plan.spec.precision, plan.scheme, wide, float_outputs)
            pixels = {graph.tensors[name] for name in graph.pixels}
            self._rounded[key] = (quantized_names(quantized) & names) - pixels
        return self._rounded[key]

    def activations(self, inputs: Mapping[str, NDArray[Any]]) -> Iterable[Mapping[str, NDArray[Any]]]:
        """See :meth:`edgeml_export.converters.Converter.activations`."""
        return tflite_activations(self._float, {self._graph.inputs[name]: array for name, array in inputs.items()})

    @cached_property
    def _float(self) -> bytes:
        """The fp32 graph that takes the contract's inputs."""
        content, _ = attach_pixels(self._graph.content, self._graph.pixels, self._graph.input_positions)
        return content

    @cached_property
    def _graph(self) -> TfliteGraph:
        return convert_tflite(self._prepared, self._traced, self._traced.graph)

    @cached_property
    def _folded(self) -> TfliteGraph:
        if self._traced.folded.foldings == self._traced.graph.foldings:
            return self._graph
        return convert_tflite(self._prepared, self._traced, self._traced.folded)
