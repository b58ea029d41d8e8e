"""Running a converted variant over the test set and judging what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_evaluate import (
    LabelledData,
    PairedLoss,
    Score,
    decide,
    decision_output,
    paired_loss,
    run_backend,
    score_predictions,
)
from edgeml_export.parity import Parity, measure_parity
from edgeml_export.report import VariantReport
from edgeml_runtime.backends import load_backend
from edgeml_runtime.errors import BackendError, ProjectError

if TYPE_CHECKING:
    from edgeml_export.converters import Converted
    from edgeml_export.scheme import VariantSpec
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.progress import Progress

__all__ = ["Trial", "fault", "run_trial"]

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One variant, tried.

    Attributes:
        spec: Which variant.
        converted: Its bytes.
        outputs: Contract output name → what it gave for the test split, [n, *shape].
        report: How good it is.
    """

    spec: VariantSpec
    converted: Converted
    outputs: Outputs
    report: VariantReport


def run_trial(
    spec: VariantSpec,
    converted: Converted,
    *,
    contract: Contract,
    test: LabelledData,
    reference: Outputs,
    progress: Progress,
) -> Trial:
    """Run a variant over the test set through the backend that devices use, with one thread, and judge it.

    Args:
        spec: Which variant.
        converted: Its bytes.
        contract: The contract.
        test: The test split.
        reference: Contract output name → what PyTorch gave for the test split, [n, *shape].
        progress: Told about every fiftieth item.

    Returns:
        The trial.

    Raises:
        ProjectError: When the backend cannot run the file, or an output is NaN or infinite.
    """
    outputs = _run(spec, converted, contract, test, progress)
    name = decision_output(contract)
    score = score_predictions(contract, test, outputs[name])
    parity = measure_parity(name, reference[name], outputs[name])
    loss = paired_loss(contract, decide(contract, reference[name]), decide(contract, outputs[name]), test.targets)
    report = _report(spec, converted, contract, score, parity, loss)
    return Trial(spec=spec, converted=converted, outputs=outputs, report=report)


def fault(spec: VariantSpec, contract: Contract, parity: Parity, loss: PairedLoss) -> str | None:
    """Why a variant must not be shipped.

    Args:
        spec: Which variant.
        contract: Its ``export`` holds the tolerances.
        parity: How far its outputs lie from PyTorch's.
        loss: What it loses against PyTorch.

    Returns:
        The reason, or None where it is good.
    """
    rules = contract.export
    if not spec.quantized and parity.max_abs_of_std > rules.fp32_max_abs_of_std:
        return (
            f"{parity.output} differ from PyTorch's by up to {parity.max_abs_of_std:.2e} of their standard deviation, "
            f"export.fp32_max_abs_of_std allows {rules.fp32_max_abs_of_std:.2e}"
        )
    if not loss.within:
        name = contract.metric.primary.value
        return (
            f"loses {loss.drop:.4f} of {name} against fp32 on the {loss.n} test items ({loss.lost} lost, "
            f"{loss.gained} gained); {loss.allowed_drop:.4f} is allowed by export.max_metric_drop and "
            "export.max_metric_drop_items"
        )
    return None


def _run(
    spec: VariantSpec, converted: Converted, contract: Contract, test: LabelledData, progress: Progress
) -> dict[str, NDArray[Any]]:
    try:
        backend = load_backend(converted.backend).create(
            converted.content,
            input_names=[item.name for item in contract.inputs],
            output_names=[item.name for item in contract.outputs],
            threads=1,
        )
        try:
            outputs = run_backend(backend, test.inputs, contract, progress, step=f"score {spec.id}")
        finally:
            backend.close()
    except BackendError as error:
        raise ProjectError(
            f"export: {spec.id}: the converted file does not run: {error}; take the variant out of export.variants in "
            "edgeml.toml, or replace the operator in the model"
        ) from error
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            item = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ProjectError(f"export: {spec.id}: output {name!r} is NaN or infinite for test item {item}")
    return outputs


def _report(
    spec: VariantSpec, converted: Converted, contract: Contract, score: Score, parity: Parity, loss: PairedLoss
) -> VariantReport:
    return VariantReport(
        id=spec.id,
        bytes=len(converted.content),
        inventory=converted.inventory,
        metric=score.metric,
        slices=score.slices,
        paired_loss=loss,
        parity=parity,
        required=spec.id in contract.export.required,
        reason=fault(spec, contract, parity, loss),
    )
