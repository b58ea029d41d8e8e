"""The converters: from the prepared model to the bytes of every variant of a format."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.export import ExportedProgram

    from edgeml_evaluate import LabelledData
    from edgeml_export.inventory import Inventory
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import QuantScheme
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
    """

    content: bytes
    inventory: Inventory
    backend: str
    min_backend_version: str


class Converter(Protocol):
    """Makes the variants of one format of one model; what they share is made once."""

    def __init__(self, prepared: Prepared, program: ExportedProgram) -> None:
        """Remember the model.

        Args:
            prepared: The model.
            program: Its trace.
        """

    def fp32(self) -> Converted:
        """The fp32 variant.

        Raises:
            ProjectError: When an operator of the model has no counterpart in the format.
        """

    def quantized(self, scheme: QuantScheme, calibration: LabelledData, progress: Progress, *, step: str) -> Converted:
        """A statically quantized variant.

        Args:
            scheme: What becomes integers, and how.
            calibration: Items of the training split.
            progress: Told how many items have been calibrated with.
            step: What to call this in the progress.

        Raises:
            ProjectError: When an operator of the model has no counterpart in the format, or cannot be quantized.
        """


CONVERTERS: Mapping[ModelFormat, str] = {
    ModelFormat.ONNX: "edgeml_export.onnx_converter:OnnxConverter",
    ModelFormat.TFLITE: "edgeml_export.tflite_converter:TfliteConverter",
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
