"""Training with the rounding of the int8 variants: the traced model as each format will compute it."""

from edgeml_export.fakequant.build import simulate_int8
from edgeml_export.fakequant.learned import LearnedRange, LearnedRanges
from edgeml_export.fakequant.model import SimulatedModel
from edgeml_export.fakequant.variants import MeasuredVariant, measure_int8

__all__ = ["LearnedRange", "LearnedRanges", "MeasuredVariant", "SimulatedModel", "measure_int8", "simulate_int8"]
