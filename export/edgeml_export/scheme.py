"""The quantization scheme as data: which variants there are, and what each precision means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from edgeml_runtime.contract import CalibrationMethod, WeightScales
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from edgeml_export.fakequant.matching import KnownRanges

__all__ = [
    "KNOWN_VARIANTS",
    "CalibrationMethod",
    "Precision",
    "QuantScheme",
    "VariantPlan",
    "VariantSpec",
    "plan_variant",
    "variant_spec",
]


class Precision(Enum):
    """How the numbers of a variant are represented."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT8_DYNAMIC = "int8-dynamic"
    W8 = "w8"
    INT16X8 = "int16x8"

    @property
    def is_static(self) -> bool:
        """Whether activations are integers whose ranges are calibrated."""
        return self in (Precision.INT8, Precision.INT16X8)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantScheme:
    """How weights and activations are quantized.

    Attributes:
        weight_bits: Bits of the integers that weights take; stored in 8.
        activation_bits: Bits of the integers that activations take; None where they stay float.
        activation_signed: Whether activations are signed integers.
        per_channel: Whether every output channel of a weight has its own scale.
    """

    weight_bits: int
    activation_bits: int | None
    activation_signed: bool
    per_channel: bool

    @property
    def weight_max(self) -> int:
        """The integer that the largest weight of a scale takes, and minus which its negative takes.

        For 8 bits 127, the symmetric range of both formats; for 7 bits 64, the reduced range of ONNX Runtime's
        quantizer (onnxruntime.quantization.quant_utils, ``ONNX_INT_TYPE_REDUCED_RANGE``).
        """
        return 64 if self.weight_bits == 7 else 2 ** (self.weight_bits - 1) - 1

    @property
    def activation_max(self) -> int:
        """How many steps a range of activations is divided into: 255 for 8 bits, 0 where they stay float."""
        return 0 if self.activation_bits is None else 2**self.activation_bits - 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPlan:
    """One variant as it is to be made.

    Attributes:
        spec: Which variant.
        scheme: What becomes integers, and how; None where nothing does.
        calibration: How ranges of activations are found.
        float_layers: Dotted module paths that stay float beside the contract's float scopes.
        small_layers: Paths of layers inside the float scopes whose constants are stored as int8; they compute in float.
        dynamic_batch: Whether the batch dimension stays open.
        learned: Ranges of activations that training has learned; None where calibration finds them.
    """

    spec: VariantSpec
    scheme: QuantScheme | None
    calibration: CalibrationMethod = CalibrationMethod.MIN_MAX
    float_layers: tuple[str, ...] = ()
    small_layers: tuple[str, ...] = ()
    dynamic_batch: bool = False
    learned: KnownRanges | None = None


# Unsigned activations by 7-bit weights: AVX2 without VNNI adds pairs of u8·s8 products in saturating int16
# (VPMADDUBSW), and 2 · 255 · 64 = 32640 is the largest such sum that stays below 32767.
_ONNX_INT8 = QuantScheme(weight_bits=7, activation_bits=8, activation_signed=False, per_channel=True)
# What the TFLite quantization specification prescribes (ai.google.dev/edge/litert/conversion/tensorflow/quantization/
# quantization_spec): int8 activations, symmetric int8 weights per channel.
_TFLITE_INT8 = QuantScheme(weight_bits=8, activation_bits=8, activation_signed=True, per_channel=True)
_WEIGHTS_ONLY = QuantScheme(weight_bits=8, activation_bits=None, activation_signed=True, per_channel=True)

_SCHEMES: dict[tuple[ModelFormat, Precision], QuantScheme | None] = {
    (ModelFormat.ONNX, Precision.FP32): None,
    (ModelFormat.ONNX, Precision.FP16): None,
    (ModelFormat.ONNX, Precision.INT8): _ONNX_INT8,
    # ConvInteger knows one scale per tensor only.
    (ModelFormat.ONNX, Precision.INT8_DYNAMIC): QuantScheme(
        weight_bits=7, activation_bits=8, activation_signed=False, per_channel=False
    ),
    (ModelFormat.ONNX, Precision.W8): _WEIGHTS_ONLY,
    (ModelFormat.TFLITE, Precision.FP32): None,
    (ModelFormat.TFLITE, Precision.FP16): None,
    (ModelFormat.TFLITE, Precision.INT8): _TFLITE_INT8,
    (ModelFormat.TFLITE, Precision.INT8_DYNAMIC): _TFLITE_INT8,
    (ModelFormat.TFLITE, Precision.W8): _WEIGHTS_ONLY,
    # The specification's 16-bit activations: symmetric, weights as for int8.
    (ModelFormat.TFLITE, Precision.INT16X8): QuantScheme(
        weight_bits=8, activation_bits=16, activation_signed=True, per_channel=True
    ),
    # Sessions of ONNX variants, saved after optimization.
    (ModelFormat.ORT, Precision.FP32): None,
    (ModelFormat.ORT, Precision.INT8): _ONNX_INT8,
}

KNOWN_VARIANTS: dict[str, VariantSpec] = {
    f"{format_.value}-{precision.value}": VariantSpec(
        id=f"{format_.value}-{precision.value}", format=format_, precision=precision
    )
    for format_, precision in _SCHEMES
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


def plan_variant(
    spec: VariantSpec,
    *,
    calibration: CalibrationMethod,
    weights: WeightScales = WeightScales.PER_CHANNEL,
    float_layers: tuple[str, ...] = (),
    dynamic_batch: bool = False,
) -> VariantPlan:
    """What making a variant means.

    Args:
        spec: Which variant.
        calibration: How ranges of activations are found.
        weights: How many scales the weights of a layer have where it computes in integers.
        float_layers: Dotted module paths that stay float beside the contract's float scopes.
        dynamic_batch: Whether the batch dimension stays open.

    Returns:
        The plan, with the scheme of the variant.
    """
    scheme = _SCHEMES[spec.format, spec.precision]
    if scheme is not None and scheme.activation_bits is not None and weights is WeightScales.PER_TENSOR:
        scheme = replace(scheme, per_channel=False)
    return VariantPlan(
        spec=spec,
        scheme=scheme,
        calibration=calibration,
        float_layers=float_layers,
        dynamic_batch=dynamic_batch,
    )
