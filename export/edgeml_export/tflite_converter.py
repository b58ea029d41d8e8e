"""The converter of TFLite variants."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from edgeml_export.converters import Converted
from edgeml_export.tflite_int8 import quantize_tflite
from edgeml_export.tflite_inventory import tflite_inventory
from edgeml_export.tflite_model import TfliteGraph, compact_tflite, convert_tflite

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgeml_evaluate import LabelledData
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import QuantScheme
    from edgeml_runtime.progress import Progress

__all__ = ["TfliteConverter"]

# The first release of ai-edge-litert. It was seen to run variants of a keyword model, as was tflite-runtime 2.14.0; the
# numbers of the two are compared as they stand.
_MIN_LITERT = "1.0.1"


class TfliteConverter:
    """Makes TFLite variants; see :class:`edgeml_export.converters.Converter`."""

    def __init__(self, prepared: Prepared, program: ExportedProgram) -> None:
        self._prepared = prepared
        self._program = program

    def fp32(self) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.fp32`."""
        return self._converted(self._graph.content)

    def quantized(self, scheme: QuantScheme, calibration: LabelledData, progress: Progress, *, step: str) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.quantized`."""
        return self._converted(quantize_tflite(self._graph, calibration.inputs, scheme, progress, step=step))

    @cached_property
    def _graph(self) -> TfliteGraph:
        return convert_tflite(self._prepared, self._program)

    def _converted(self, content: bytes) -> Converted:
        return Converted(
            content=compact_tflite(content, self._graph),
            inventory=tflite_inventory(content, self._graph.front_outputs),
            backend="litert",
            min_backend_version=_MIN_LITERT,
        )
