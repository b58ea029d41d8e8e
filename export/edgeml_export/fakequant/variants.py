"""The int8 files of a model by themselves, without the checks of an export: to be compared and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_evaluate import decision_output
from edgeml_export.fakequant.build import int8_plans, known_ranges
from edgeml_export.prepared import prepare
from edgeml_export.tracing import trace
from edgeml_export.trial import run_variant
from edgeml_export.variant_maker import VariantMaker
from edgeml_runtime.progress import Progress, silent

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from edgeml_evaluate import LabelledData
    from edgeml_export.converters import RangeSources
    from edgeml_export.fakequant.learned import LearnedRanges
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.manifest import ModelFormat

__all__ = ["MeasuredVariant", "measure_int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVariant:
    """One int8 file, and what it gives.

    Attributes:
        id: ``FORMAT-int8``.
        format: Its format.
        content: Its bytes.
        outputs: [n, *shape], its deciding output for the items.
        ranges: Where its ranges come from, where some were learned.
    """

    id: str
    format: ModelFormat
    content: bytes
    outputs: NDArray[Any]
    ranges: RangeSources | None


def measure_int8(
    fused: torch.nn.Module,
    contract: Contract,
    *,
    calibration: LabelledData,
    items: LabelledData,
    learned: LearnedRanges | None = None,
    progress: Progress = silent,
) -> tuple[MeasuredVariant, ...]:
    """Make the contract's int8 files, and run them as a device does.

    Args:
        fused: As for :func:`edgeml_export.export.export_bundle`; it is not changed.
        contract: The contract.
        calibration: Items of the training split.
        items: The items to run.
        learned: Ranges that training has learned; None to calibrate them.
        progress: Told about every step.

    Returns:
        One entry per format, ONNX first.

    Raises:
        ProjectError: As for :func:`edgeml_export.export.export_bundle`.
    """
    plans = int8_plans(contract)
    prepared = prepare(fused, contract, calibration, items)
    traced = trace(prepared)
    known = None if learned is None else known_ranges(prepared, learned, calibration)
    maker = VariantMaker(prepared, traced, calibration=calibration, validation=None, progress=progress, learned=known)
    measured = []
    for format_, plan in plans.items():
        converted = maker.make(plan.spec, search=False).converted
        outputs = run_variant(plan.spec, converted, contract, items.inputs, progress, step=f"score {plan.spec.id}")
        measured.append(
            MeasuredVariant(
                id=plan.spec.id,
                format=format_,
                content=converted.content,
                outputs=outputs[decision_output(contract)],
                ranges=converted.ranges,
            )
        )
    return tuple(measured)
