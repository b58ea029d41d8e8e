"""The converters: from the prepared model to the bytes of every variant of a format."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_evaluate import LabelledData
    from edgeml_export.inventory import Inventory
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import VariantPlan
    from edgeml_export.tracing import Traced
    from edgeml_runtime.manifest import InputEncoding
    from edgeml_runtime.progress import Progress

__all__ = ["CONVERTERS", "Converted", "Converter", "load_converter"]


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
    """

    content: bytes
    inventory: Inventory
    backend: str
    min_backend_version: str
    requires_isa: tuple[str, ...] = ()
    input_encodings: Mapping[str, InputEncoding] = field(default_factory=dict)
    refused_by: Mapping[str, str] = field(default_factory=dict)


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
