"""The converter of ONNX variants."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import onnx

from edgeml_export.calibration import calibrate
from edgeml_export.converters import Converted, ranges_for
from edgeml_export.onnx_activations import activation_names, onnx_activations
from edgeml_export.onnx_compact import compact_onnx
from edgeml_export.onnx_int8 import quantize_onnx, quantize_onnx_dynamic, quantized_names
from edgeml_export.onnx_inventory import onnx_inventory
from edgeml_export.onnx_metadata import describe_onnx
from edgeml_export.onnx_model import convert_onnx
from edgeml_export.onnx_pixels import attach_pixels
from edgeml_export.onnx_weights import store_constants_int8, store_weights_fp16, store_weights_int8
from edgeml_export.opset import choose_opset, convert_opset
from edgeml_export.scheme import Precision
from edgeml_runtime.errors import DefectError, ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto

    from edgeml_evaluate import LabelledData
    from edgeml_export.calibration import Ranges
    from edgeml_export.onnx_model import OnnxGraph
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import CalibrationMethod, VariantPlan
    from edgeml_export.tracing import Traced
    from edgeml_runtime.progress import Progress

__all__ = ["OnnxConverter"]


class OnnxConverter:
    """Makes ONNX variants; see :class:`edgeml_export.converters.Converter`."""

    def __init__(self, prepared: Prepared, traced: Traced) -> None:
        self._prepared = prepared
        self._traced = traced
        self._ranges: dict[CalibrationMethod, Ranges] = {}
        self._rounded: dict[tuple[str, ...], frozenset[str]] = {}

    def convert(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.convert`."""
        if plan.dynamic_batch and plan.spec.precision is Precision.INT8_DYNAMIC:
            raise ProjectError(
                "with an open batch dimension, activations are quantized by the range of the whole batch: an item's "
                "answer would depend on the others, and differ from what was evaluated; take onnx-int8 or onnx-w8, or "
                "export without --dynamic-batch"
            )
        graph = self._folded if plan.spec.precision is Precision.FP32 else self._graph
        front = graph.within(self._scopes(plan))
        ranges, sources = ranges_for(self, plan, calibration, progress) if plan.spec.precision.is_static else ({}, None)
        model = self._model(plan, front | graph.after, ranges)
        if plan.small_layers:
            model = store_constants_int8(model, graph.called_in(plan.small_layers))
        choice = choose_opset(self._prepared.contract)
        model = convert_opset(model, choice)
        inventory = onnx_inventory(model, front)
        describe_onnx(model, self._prepared.contract)
        onnx.checker.check_model(model, full_check=True)
        return Converted(
            content=compact_onnx(model),
            inventory=inventory,
            backend="onnxruntime",
            min_backend_version=choice.min_onnxruntime,
            ranges=sources,
        )

    def ranges(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Ranges:
        """See :meth:`edgeml_export.converters.Converter.ranges`; found once for all variants with the same method."""
        method = plan.calibration
        if method not in self._ranges:
            self._ranges[method] = calibrate(
                lambda: self.activations(calibration.inputs),
                method,
                items=len(calibration),
                whole=self._prepared.output_names,
                progress=progress,
                step="calibrate onnx",
            )
        return self._ranges[method]

    def rounded(self, plan: VariantPlan) -> frozenset[str]:
        """See :meth:`edgeml_export.converters.Converter.rounded`."""
        key = plan.float_layers
        if key not in self._rounded:
            model = _with_pixels(self._graph, interleave=False)
            names = activation_names(model)
            float_nodes = self._graph.within(self._scopes(plan)) | self._graph.after
            quantized = self._model(plan, float_nodes, dict.fromkeys(names, (-1.0, 1.0)))
            self._rounded[key] = quantized_names(quantized) & frozenset(names)
        return self._rounded[key]

    def activations(self, inputs: Mapping[str, NDArray[Any]]) -> Iterable[Mapping[str, NDArray[Any]]]:
        """See :meth:`edgeml_export.converters.Converter.activations`."""
        model = _with_pixels(self._graph, interleave=False)
        return onnx_activations(model, activation_names(model), inputs)

    def _scopes(self, plan: VariantPlan) -> tuple[str, ...]:
        return (*self._prepared.contract.export.float_scopes, *plan.float_layers)

    @cached_property
    def _graph(self) -> OnnxGraph:
        return convert_onnx(self._prepared, self._traced, self._traced.graph)

    @cached_property
    def _folded(self) -> OnnxGraph:
        if self._traced.folded.foldings == self._traced.graph.foldings:
            return self._graph
        return convert_onnx(self._prepared, self._traced, self._traced.folded)

    def _model(self, plan: VariantPlan, float_nodes: frozenset[str], ranges: Ranges) -> ModelProto:
        precision = plan.spec.precision
        if precision is Precision.INT8 and plan.scheme is not None:
            return quantize_onnx(self._graph, ranges, plan.scheme, float_nodes)
        if precision is Precision.INT8_DYNAMIC and plan.scheme is not None:
            return quantize_onnx_dynamic(self._graph, plan.scheme, float_nodes)
        if precision is Precision.FP32:
            return _with_pixels(self._folded, interleave=True)
        if precision is Precision.FP16:
            return store_weights_fp16(_with_pixels(self._graph, interleave=True), float_nodes)
        if precision is Precision.W8:
            return store_weights_int8(_with_pixels(self._graph, interleave=True), float_nodes)
        raise DefectError(f"no way to make {plan.spec.id}")


def _with_pixels(graph: OnnxGraph, *, interleave: bool) -> ModelProto:
    """The fp32 model that takes the contract's inputs."""
    model = type(graph.model)()
    model.CopyFrom(graph.model)
    attach_pixels(model, graph.pixels, interleave=interleave)
    return model
