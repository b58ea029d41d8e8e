"""The converters: from the prepared model to the bytes of every variant of a format."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edgeml_evaluate import LabelledData
    from edgeml_export.calibration import Ranges
    from edgeml_export.inventory import Inventory
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import VariantPlan
    from edgeml_export.tracing import Traced
    from edgeml_runtime.manifest import InputEncoding
    from edgeml_runtime.progress import Progress

__all__ = ["CONVERTERS", "Converted", "Converter", "RangeSources", "load_converter", "ranges_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeSources:
    """How many ranges of activations a variant has from where.

    Attributes:
        learned: From training.
        calibrated: From calibration items.
    """

    learned: int
    calibrated: int

    def to_dict(self) -> dict[str, int]:
        """JSON values."""
        return {"learned": self.learned, "calibrated": self.calibrated}


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """One variant as it would be shipped.

    Attributes:
        content: The file. Its inputs and outputs have the contract's names.
        inventory: What it consists of.
        backend: A key of ``edgeml_runtime.backends.BACKENDS``.
        min_backend_version: Oldest release of the backend that was seen to run such files.
        requires_isa: CPU features it needs to be right, by the names of :mod:`edgeml_runtime.isa`.
        input_encodings: Contract input name → how the file's tensor encodes it, where that is not the contract's dtype.
        refused_by: Package that must not run it → why.
        ranges: Where the ranges of its activations come from, where some were learned.
    """

    content: bytes
    inventory: Inventory
    backend: str
    min_backend_version: str
    requires_isa: tuple[str, ...] = ()
    input_encodings: Mapping[str, InputEncoding] = field(default_factory=dict)
    refused_by: Mapping[str, str] = field(default_factory=dict)
    ranges: RangeSources | None = None


class Converter(Protocol):
    """Makes the variants of one format of one model; what they share is made once."""

    def __init__(self, prepared: Prepared, traced: Traced) -> None:
        """Remember the model.

        Args:
            prepared: The model.
            traced: Its trace.
        """

    def convert(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Converted:
        """Make a variant.

        Args:
            plan: Which, and how.
            calibration: Items of the training split.
            progress: Told how many items have been calibrated with.

        Raises:
            ProjectError: When an operator of the model has no counterpart in the format, or cannot be quantized.
        """

    def ranges(self, plan: VariantPlan, calibration: LabelledData, progress: Progress) -> Ranges:
        """The ranges that calibration finds.

        Args:
            plan: A plan with a static precision.
            calibration: Items of the training split.
            progress: Told how many items have been calibrated with.

        Returns:
            Name of an activation in the format's fp32 graph → lower and upper end.
        """

    def rounded(self, plan: VariantPlan) -> frozenset[str]:
        """The activations that a variant rounds to integers by a scale that is given to it.

        Args:
            plan: A plan with a static precision.

        Returns:
            Names in the format's fp32 graph.
        """

    def activations(self, inputs: Mapping[str, NDArray[Any]]) -> Iterable[Mapping[str, NDArray[Any]]]:
        """Run the format's fp32 graph.

        Args:
            inputs: Contract input name → [n, *shape].

        Yields:
            For each item: name of an activation → its values.
        """


def ranges_for(
    converter: Converter, plan: VariantPlan, calibration: LabelledData, progress: Progress
) -> tuple[Ranges, RangeSources | None]:
    """The ranges of a variant: learned ones where the plan has them, and calibrated ones for what is left.

    Args:
        converter: The format's converter.
        plan: A plan with a static precision.
        calibration: Items of the training split; they are run only where something is left.
        progress: Told how many items have been calibrated with.

    Returns:
        Ranges by name, and how many of those that the variant uses come from where; None where all are calibrated.
    """
    if plan.learned is None:
        return converter.ranges(plan, calibration, progress), None
    names = converter.rounded(plan)
    items = list(converter.activations(plan.learned.inputs))
    found = plan.learned.of(items, names)
    learned = {name: (entry.low, entry.high) for name, entry in found.items()}
    left = len(names) - len(learned)
    rest = converter.ranges(plan, calibration, progress) if left else dict.fromkeys(items[0], _UNUSED)
    return {**rest, **learned}, RangeSources(learned=len(learned), calibrated=left)


# Quantizers want a range of every activation, also of those that a ReLU replaces and that are not rounded.
_UNUSED = (-1.0, 1.0)

CONVERTERS: Mapping[ModelFormat, str] = {
    ModelFormat.ONNX: "edgeml_export.onnx_converter:OnnxConverter",
    ModelFormat.TFLITE: "edgeml_export.tflite_converter:TfliteConverter",
    ModelFormat.ORT: "edgeml_export.ort_converter:OrtConverter",
}
"""Format → ``module:class``, imported on use. A new format is one module and one line here."""


def load_converter(format_: ModelFormat) -> type[Converter]:
    """Import the converter of a format, with the libraries it needs.

    Args:
        format_: The format.

    Returns:
        The class.
    """
    module, _, attribute = CONVERTERS[format_].partition(":")
    return cast("type[Converter]", getattr(import_module(module), attribute))
