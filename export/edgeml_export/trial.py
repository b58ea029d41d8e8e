"""Running a converted variant over the test set and hostile inputs, and judging what comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate import (
    EventLoss,
    LabelledData,
    SliceLoss,
    decide,
    decision_output,
    event_loss,
    paired_loss,
    run_backend,
    score_predictions,
    slice_losses,
)
from edgeml_export.hostile import BOUND, hostile_inputs, judge_hostile, unbounded
from edgeml_export.parity import measure_parity
from edgeml_export.report import VariantReport
from edgeml_export.search import ValidationLoss
from edgeml_export.vnni_check import check_without_vnni
from edgeml_runtime.backends import load_backend
from edgeml_runtime.errors import BackendError, ProjectError
from edgeml_runtime.progress import Progress, silent

if TYPE_CHECKING:
    from edgeml_export.converters import Converted
    from edgeml_export.hostile import HostileResult
    from edgeml_export.parity import Parity
    from edgeml_export.scheme import VariantPlan, VariantSpec
    from edgeml_export.search import SearchStep
    from edgeml_runtime.contract import Contract

__all__ = ["Reference", "Trial", "event_fault", "fault", "run_trial", "run_variant", "validation_loss"]

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a variant is compared with.

    Attributes:
        test: Contract output name → what PyTorch gave for the test split, [n, *shape].
        hostile: The same for the hostile inputs.
    """

    test: Outputs
    hostile: Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One variant, tried.

    Attributes:
        plan: Which variant, and how it was made.
        converted: Its bytes.
        outputs: Contract output name → what it gave for the test split, [n, *shape].
        report: How good it is.
    """

    plan: VariantPlan
    converted: Converted
    outputs: Outputs
    report: VariantReport

    @property
    def spec(self) -> VariantSpec:
        """Which variant."""
        return self.plan.spec


def run_trial(
    plan: VariantPlan,
    converted: Converted,
    *,
    contract: Contract,
    test: LabelledData,
    reference: Reference,
    search: tuple[SearchStep, ...] = (),
    progress: Progress = silent,
) -> Trial:
    """Run a variant through the backend that devices use, with one thread, and judge it.

    Args:
        plan: Which variant.
        converted: Its bytes.
        contract: The contract.
        test: The test split.
        reference: What PyTorch gave.
        search: The attempts of the precision search that chose it, where there was one.
        progress: Told about every fiftieth item.

    Returns:
        The trial.

    Raises:
        ProjectError: When the backend cannot run the file, or an output is NaN or infinite.
    """
    spec = plan.spec
    hostile_items = hostile_inputs(contract)
    hostile = run_variant(spec, converted, contract, hostile_items)
    outputs = run_variant(spec, converted, contract, test.inputs, progress, step=f"score {spec.id}")
    _refuse_unbounded(spec, outputs)
    name = decision_output(contract)
    score = score_predictions(contract, test, outputs[name])
    before, after = (decide(contract, values) for values in (reference.test[name], outputs[name]))
    judged = judge_hostile(
        reference.hostile[name],
        hostile[name],
        tolerance=None if spec.quantized else contract.export.fp32_max_abs_of_std,
    )
    report = VariantReport(
        id=spec.id,
        quantized=spec.quantized,
        bytes=len(converted.content),
        inventory=converted.inventory,
        metric=score.metric,
        slices=score.slices,
        paired_loss=paired_loss(contract, before, after, test.targets),
        slice_losses=slice_losses(contract, test, before, after),
        alarms=score.alarms,
        event_loss=event_loss(contract, test, before, after) if contract.anomaly else None,
        parity=measure_parity(name, reference.test[name], outputs[name]),
        hostile=judged,
        float_layers=plan.float_layers,
        small_layers=plan.small_layers,
        search=search,
        without_vnni=check_without_vnni(
            plan,
            converted,
            contract=contract,
            hostile_inputs=hostile_items,
            hostile=hostile,
            test=test,
            outputs=outputs,
            progress=progress,
        ),
        required=spec.id in contract.export.required,
        reason=None,
        ranges=converted.ranges,
    )
    return Trial(
        plan=plan, converted=converted, outputs=outputs, report=report.judged(fault(report, contract, hostile))
    )


def validation_loss(
    spec: VariantSpec, converted: Converted, contract: Contract, validation: LabelledData, reference: Outputs
) -> ValidationLoss:
    """What a variant loses on the validation split.

    Args:
        spec: Which variant.
        converted: Its bytes.
        contract: The contract.
        validation: The validation split.
        reference: What PyTorch gave for it.

    Returns:
        The loss.
    """
    name = decision_output(contract)
    outputs = run_variant(spec, converted, contract, validation.inputs)
    before, after = (decide(contract, values) for values in (reference[name], outputs[name]))
    return ValidationLoss(
        overall=paired_loss(contract, before, after, validation.targets),
        slices=slice_losses(contract, validation, before, after),
    )


def run_variant(
    spec: VariantSpec,
    converted: Converted,
    contract: Contract,
    inputs: Mapping[str, NDArray[Any]],
    progress: Progress = silent,
    *,
    step: str = "score",
) -> dict[str, NDArray[Any]]:
    """Run the bytes that would be shipped over items, one by one, as a device does.

    Args:
        spec: Which variant.
        converted: Its bytes.
        contract: The contract.
        inputs: Contract input name → [n, *shape].
        progress: Told about every fiftieth item.
        step: What to call this in the progress.

    Returns:
        Contract output name → [n, *shape].

    Raises:
        ProjectError: When the backend cannot run the file.
    """
    try:
        backend = load_backend(converted.backend).create(
            converted.content,
            input_names=[item.name for item in contract.inputs],
            output_names=[item.name for item in contract.outputs],
            threads=1,
            encodings=[converted.input_encodings.get(item.name) for item in contract.inputs],
        )
        try:
            return run_backend(backend, inputs, contract, progress, step=step)
        finally:
            backend.close()
    except BackendError as error:
        raise ProjectError(
            f"export: {spec.id}: the converted file does not run: {error}; take the variant out of export.variants in "
            "edgeml.toml, or replace the operator in the model"
        ) from error


def fault(report: VariantReport, contract: Contract, hostile: Outputs) -> str | None:
    """Why a variant must not be shipped.

    Args:
        report: What was measured.
        contract: Its ``export`` holds the tolerances.
        hostile: Contract output name → what it gave for the hostile inputs.

    Returns:
        The reason, or None where it is good.
    """
    reasons = (
        _parity_fault(report.parity, contract) if not report.quantized else None,
        unbounded(hostile),
        _hostile_fault(report.hostile),
        _loss_fault(report, contract),
        _slice_fault(report.slice_losses, contract),
        event_fault(report.event_loss),
        report.without_vnni.fault if report.without_vnni else None,
    )
    return next((reason for reason in reasons if reason is not None), None)


def _parity_fault(parity: Parity, contract: Contract) -> str | None:
    allowed = contract.export.fp32_max_abs_of_std
    if parity.max_abs_of_std <= allowed:
        return None
    return (
        f"{parity.output} differ from PyTorch's by up to {parity.max_abs_of_std:.2e} of their standard deviation, "
        f"export.fp32_max_abs_of_std allows {allowed:.2e}"
    )


def _hostile_fault(results: tuple[HostileResult, ...]) -> str | None:
    bad = [result for result in results if not result.within]
    if not bad:
        return None
    if math.isnan(bad[0].max_abs):
        return (
            f"PyTorch's own output is NaN or infinite for the hostile input {bad[0].case!r}, which the contract's "
            f"ranges allow; {BOUND}"
        )
    return f"for the hostile input {bad[0].case!r} it is off by {bad[0].max_abs:.2e}, {bad[0].allowed:.2e} is allowed"


def _loss_fault(report: VariantReport, contract: Contract) -> str | None:
    loss = report.paired_loss
    if loss.within:
        return None
    hint = "" if report.search else "; edgeml export --precision auto keeps the layers in float that lose most"
    return (
        f"loses {loss.drop:.4f} of {contract.metric.primary.value} against fp32 on the {loss.n} test items "
        f"({loss.lost} lost, {loss.gained} gained); {loss.allowed_drop:.4f} is allowed by export.max_metric_drop and "
        f"export.max_metric_drop_items{hint}"
    )


def _slice_fault(losses: tuple[SliceLoss, ...], contract: Contract) -> str | None:
    bad = [loss for loss in losses if not loss.within]
    if not bad:
        return None
    worst = max(bad, key=lambda item: item.loss.drop - item.loss.allowed_drop)
    return (
        f"on the slice {worst.name} it loses {worst.loss.drop:.4f} of {contract.metric.primary.value} against fp32 "
        f"over {worst.loss.n} test items; {worst.loss.allowed_drop:.4f} is allowed by export.max_slice_drop and "
        "export.max_slice_drop_items"
    )


def event_fault(loss: EventLoss | None) -> str | None:
    """Why a variant must not be shipped for its alarms.

    Args:
        loss: What they lose against fp32's; None where there are none.

    Returns:
        The reason, or None where they are good.
    """
    if loss is None or loss.within:
        return None
    if loss.lost - loss.gained > loss.allowed:
        return (
            f"its alarms miss {loss.lost} of {loss.events} events that fp32 finds, and find {loss.gained} others; "
            f"{loss.allowed:g} are allowed by export.max_metric_drop and export.max_metric_drop_items"
        )
    return (
        f"it gives {loss.false_alarms_per_day:.3g} false alarms a day, anomaly.false_alarms_per_day_limit allows "
        f"{loss.limit:g}"
    )


def _refuse_unbounded(spec: VariantSpec, outputs: Outputs) -> None:
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            item = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ProjectError(f"export: {spec.id}: output {name!r} is NaN or infinite for test item {item}")
