"""The converter of ``.ort`` variants: ONNX variants, saved as ONNX Runtime optimizes them on this type of CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeml_export.onnx_converter import OnnxConverter
from edgeml_export.ort_file import save_ort
from edgeml_export.scheme import variant_spec
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edgeml_evaluate import LabelledData
    from edgeml_export.calibration import Ranges
    from edgeml_export.converters import Converted
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import VariantPlan
    from edgeml_export.tracing import Traced
    from edgeml_runtime.progress import Progress

__all__ = ["OrtConverter"]


class OrtConverter:
    """Makes ``.ort`` variants; see :class:`edgeml_export.converters.Converter`."""

    def __init__(self, prepared: Prepared, traced: Traced) -> None:
        self._onnx = OnnxConverter(prepared, traced)

    def convert(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Converted:
        """See :meth:`edgeml_export.converters.Converter.convert`."""
        source = variant_spec(f"{ModelFormat.ONNX.value}-{plan.spec.precision.value}")
        converted = self._onnx.convert(replace(plan, spec=source), calibration, progress)
        saved = save_ort(converted.content)
        return replace(
            converted,
            content=saved.content,
            requires_isa=tuple(dict.fromkeys((*converted.requires_isa, *saved.requires_isa))),
            min_backend_version=saved.min_onnxruntime,
        )

    def ranges(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Ranges:
        """See :meth:`edgeml_export.converters.Converter.ranges`."""
        return self._onnx.ranges(plan, calibration, progress)

    def rounded(self, plan: VariantPlan) -> frozenset[str]:
        """See :meth:`edgeml_export.converters.Converter.rounded`."""
        return self._onnx.rounded(plan)

    def activations(self, inputs: Mapping[str, NDArray[Any]]) -> Iterable[Mapping[str, NDArray[Any]]]:
        """See :meth:`edgeml_export.converters.Converter.activations`."""
        return self._onnx.activations(inputs)
