"""The converter of ONNX variants."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import onnx

from edgeml_export.calibration import calibrate
from edgeml_export.converters import Converted
from edgeml_export.onnx_activations import activation_names, onnx_activations
from edgeml_export.onnx_compact import compact_onnx
from edgeml_export.onnx_int8 import quantize_onnx, quantize_onnx_dynamic
from edgeml_export.onnx_inventory import onnx_inventory
from edgeml_export.onnx_metadata import describe_onnx
from edgeml_export.onnx_model import convert_onnx
from edgeml_export.onnx_pixels import attach_pixels
from edgeml_export.onnx_weights import store_constants_int8, store_weights_fp16, store_weights_int8
from edgeml_export.opset import choose_opset, convert_opset
from edgeml_export.scheme import Precision
from edgeml_runtime.errors import DefectError, ProjectError

if TYPE_CHECKING:
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

    def convert(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.convert`."""
        if plan.dynamic_batch and plan.spec.precision is Precision.INT8_DYNAMIC:
            raise ProjectError(
                "with an open batch dimension, activations are quantized by the range of the whole batch: an item's "
                "answer would depend on the others, and differ from what was evaluated; take onnx-int8 or onnx-w8, or "
                "export without --dynamic-batch"
            )
        scopes = (*self._prepared.contract.export.float_scopes, *plan.float_layers)
        graph = self._folded if plan.spec.precision is Precision.FP32 else self._graph
        front = graph.within(scopes)
        model = self._model(plan, front | graph.after, calibration, progress)
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
        )

    @cached_property
    def _graph(self) -> OnnxGraph:
        return convert_onnx(self._prepared, self._traced, self._traced.graph)

    @cached_property
    def _folded(self) -> OnnxGraph:
        if self._traced.folded.foldings == self._traced.graph.foldings:
            return self._graph
        return convert_onnx(self._prepared, self._traced, self._traced.folded)

    def _model(
        self, plan: VariantPlan, float_nodes: frozenset[str], calibration: LabelledData, progress: Progress
    ) -> ModelProto:
        precision = plan.spec.precision
        if precision is Precision.INT8 and plan.scheme is not None:
            ranges = self._calibrated(plan, calibration, progress)
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

    def _calibrated(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Ranges:
        """Ranges of all activations, found once for all variants that ask for the same method."""
        method = plan.calibration
        if method not in self._ranges:
            model = _with_pixels(self._graph, interleave=False)
            self._ranges[method] = calibrate(
                lambda: onnx_activations(model, activation_names(model), calibration.inputs),
                method,
                items=len(calibration),
                whole=self._prepared.output_names,
                progress=progress,
                step="calibrate onnx",
            )
        return self._ranges[method]


def _with_pixels(graph: OnnxGraph, *, interleave: bool) -> ModelProto:
    """The fp32 model that takes the contract's inputs."""
    model = type(graph.model)()
    model.CopyFrom(graph.model)
    attach_pixels(model, graph.pixels, interleave=interleave)
    return model
