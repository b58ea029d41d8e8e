"""The quantization scheme as data: which variants there are, and what each precision means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from edgeml_runtime.errors import ProjectError
from edgeml_runtime.manifest import ModelFormat

__all__ = [
    "KNOWN_VARIANTS",
    "CalibrationMethod",
    "Precision",
    "QuantScheme",
    "VariantSpec",
    "scheme_of",
    "variant_spec",
]


class Precision(Enum):
    """How the numbers of a variant are represented."""

    FP32 = "fp32"
    INT8 = "int8"


class CalibrationMethod(Enum):
    """How the range of an activation is taken from calibration data."""

    MIN_MAX = "min_max"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantScheme:
    """How weights and activations are quantized.

    Attributes:
        weight_bits: Bits of the integers that weights take; stored in 8.
        activation_bits: Bits of the integers that activations take.
        activation_signed: Whether activations are signed integers.
        per_channel: Whether every output channel of a weight has its own scale.
        calibration: How activation ranges are found.
    """

    weight_bits: int
    activation_bits: int
    activation_signed: bool
    per_channel: bool
    calibration: CalibrationMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSpec:
    """One variant that can be exported.

    Attributes:
        id: ``FORMAT-PRECISION``.
        format: File format.
        precision: Representation of its numbers.
    """

    id: str
    format: ModelFormat
    precision: Precision

    @property
    def quantized(self) -> bool:
        """Whether it may lose some of the metric; fp32 may not."""
        return self.precision is not Precision.FP32


KNOWN_VARIANTS: dict[str, VariantSpec] = {
    f"{format_.value}-{precision.value}": VariantSpec(
        id=f"{format_.value}-{precision.value}", format=format_, precision=precision
    )
    for format_ in ModelFormat
    for precision in Precision
}

_SCHEMES: dict[tuple[ModelFormat, Precision], QuantScheme] = {
    # Unsigned activations by 7-bit weights: AVX2 without VNNI adds pairs of u8·s8 products in saturating int16
    # (VPMADDUBSW), and 2 · 255 · 64 = 32640 is the largest such sum that stays below 32767.
    (ModelFormat.ONNX, Precision.INT8): QuantScheme(
        weight_bits=7,
        activation_bits=8,
        activation_signed=False,
        per_channel=True,
        calibration=CalibrationMethod.MIN_MAX,
    ),
    # What the TFLite quantization specification prescribes: int8 activations, symmetric int8 weights per channel.
    (ModelFormat.TFLITE, Precision.INT8): QuantScheme(
        weight_bits=8,
        activation_bits=8,
        activation_signed=True,
        per_channel=True,
        calibration=CalibrationMethod.MIN_MAX,
    ),
}


def variant_spec(variant_id: str) -> VariantSpec:
    """Look up a variant by its id.

    Args:
        variant_id: ``FORMAT-PRECISION``, such as ``"onnx-int8"``.

    Returns:
        The variant.

    Raises:
        ProjectError: When there is no such variant; the message lists those there are.
    """
    try:
        return KNOWN_VARIANTS[variant_id]
    except KeyError:
        known = ", ".join(KNOWN_VARIANTS)
        raise ProjectError(
            f"edgeml.toml: export.variants: expected one of {known}, found {variant_id!r}; correct or remove it"
        ) from None


def scheme_of(spec: VariantSpec) -> QuantScheme:
    """The quantization scheme of a quantized variant.

    Args:
        spec: A variant with ``spec.quantized``.

    Returns:
        Its scheme.
    """
    return _SCHEMES[spec.format, spec.precision]
