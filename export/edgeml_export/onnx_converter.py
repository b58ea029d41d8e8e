"""The converter of ONNX variants."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from edgeml_export.converters import Converted
from edgeml_export.onnx_compact import compact_onnx
from edgeml_export.onnx_int8 import quantize_onnx
from edgeml_export.onnx_inventory import onnx_inventory
from edgeml_export.onnx_model import OnnxGraph, convert_onnx

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

    from edgeml_evaluate import LabelledData
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import QuantScheme
    from edgeml_runtime.progress import Progress

__all__ = ["OnnxConverter"]

# Operator set 18 with IR version 8 is readable since ONNX Runtime 1.14; 1.15.0 is the oldest release that variants of a
# keyword model were run with (int8 outputs equal to those of 1.32).
_MIN_ONNXRUNTIME = "1.15"


class OnnxConverter:
    """Makes ONNX variants; see :class:`edgeml_export.converters.Converter`."""

    def __init__(self, prepared: Prepared, program: ExportedProgram) -> None:
        self._prepared = prepared
        self._program = program

    def fp32(self) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.fp32`."""
        return self._converted(self._graph.model)

    def quantized(self, scheme: QuantScheme, calibration: LabelledData, progress: Progress, *, step: str) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.quantized`."""
        return self._converted(quantize_onnx(self._graph, calibration.inputs, scheme, progress, step=step))

    @cached_property
    def _graph(self) -> OnnxGraph:
        return convert_onnx(self._prepared, self._program)

    def _converted(self, model: ModelProto) -> Converted:
        return Converted(
            content=compact_onnx(model),
            inventory=onnx_inventory(model, self._graph.front_nodes),
            backend="onnxruntime",
            min_backend_version=_MIN_ONNXRUNTIME,
        )
