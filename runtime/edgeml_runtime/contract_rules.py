"""What a contract's parts must keep between them; each broken rule is a fault, ambiguities come with their question."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeml_runtime.contract import MetricName, TargetKind
from edgeml_runtime.fields import is_number, near
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.fields import FaultCollector, Table

__all__ = ["PRECISIONS", "check_whole"]

PRECISIONS = {"onnx": ("fp32", "int8"), "tflite": ("fp32", "int8")}

_MODEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_LABEL_METRICS = (MetricName.ACCURACY, MetricName.BALANCED_ACCURACY, MetricName.MACRO_F1)


def check_whole(contract: Contract, table: Table, faults: FaultCollector) -> None:
    """Check what no single key can show.

    Args:
        contract: As read; parts with faults hold stand-ins, which are not judged again.
        table: The file it was read from.
        faults: Where faults go.
    """
    _check_model(contract, faults)
    _check_target(contract, table, faults)
    _check_export(contract, faults)
    _check_budgets(contract, faults)
    _check_telemetry(contract, faults)
    _check_attributes(contract, faults)


def _check_model(contract: Contract, faults: FaultCollector) -> None:
    if contract.name and not _MODEL_NAME.fullmatch(contract.name):
        faults.add(
            "model.name",
            "lower-case letters, digits and dashes, at most 64, no dash first or last",
            repr(contract.name),
        )
    if contract.version and not _VERSION.fullmatch(contract.version):
        faults.add("model.version", "MAJOR.MINOR.PATCH, such as 1.0.0", repr(contract.version))
    taken = {spec.name for spec in contract.inputs}
    for index, output in enumerate(contract.outputs):
        if output.name and output.name in taken:
            faults.add(f"outputs[{index}].name", "a name that no input has", repr(output.name))


def _check_target(contract: Contract, table: Table, faults: FaultCollector) -> None:
    if not all(isinstance(table.data.get(key), dict) for key in ("target", "metric")) or not contract.outputs:
        return
    if table.data["target"].get("kind") != contract.target.kind.value:
        return
    if contract.target.kind is TargetKind.CLASSIFICATION:
        _check_classification(contract, faults)
    else:
        _check_regression(contract, faults)
    named = table.data["metric"].get("primary")
    fits = (contract.metric.primary in _LABEL_METRICS) == (contract.target.kind is TargetKind.CLASSIFICATION)
    if named == contract.metric.primary.value and not fits:
        known = [
            name.value for name in MetricName if (name in _LABEL_METRICS) != (contract.metric.primary in _LABEL_METRICS)
        ]
        faults.add("metric.primary", f"one of {', '.join(known)} for {contract.target.kind.value}", repr(named))
    share = named == contract.metric.primary.value and contract.metric.primary in _LABEL_METRICS
    if share and is_number(table.data["metric"].get("floor")) and not 0 <= contract.metric.floor <= 1:
        faults.add("metric.floor", f"a share from 0 to 1 for {named}", f"{contract.metric.floor:g}")


def _check_classification(contract: Contract, faults: FaultCollector) -> None:
    scores = [spec for spec in contract.outputs if spec.role is OutputRole.SCORES]
    logits = [spec for spec in contract.outputs if spec.role is OutputRole.LOGITS]
    if len(scores) != 1:
        faults.add(
            "outputs",
            'exactly one output with role = "scores" and labels, because the target is a classification',
            f"{len(scores)} of them",
            "Which output holds the score of each class?",
        )
    if len(logits) > 1:
        faults.add(
            "outputs",
            'at most one output with role = "logits"',
            f"{len(logits)}",
            "Which one do the scores follow from?",
        )
    if len(scores) == 1 and len(logits) == 1 and scores[0].shape != logits[0].shape:
        faults.add(
            "outputs", "logits and scores of the same shape", f"{list(logits[0].shape)} and {list(scores[0].shape)}"
        )


def _check_regression(contract: Contract, faults: FaultCollector) -> None:
    values = [spec for spec in contract.outputs if spec.role is OutputRole.VALUE]
    if len(values) != 1:
        faults.add(
            "outputs",
            'exactly one output with role = "value", because the target is a regression',
            f"{len(values)} of them",
            f"Which output is the predicted {contract.target.name or 'quantity'}?",
        )


def _check_export(contract: Contract, faults: FaultCollector) -> None:
    known = [f"{form}-{precision}" for form, precisions in PRECISIONS.items() for precision in precisions]
    for index, variant in enumerate(contract.export.variants):
        if variant not in known:
            faults.add(f"export.variants[{index}]", f"one of {', '.join(known)}", f"{variant!r}{near(variant, known)}")
    if not contract.export.variants:
        faults.add("export.variants", f"at least one of {', '.join(known)}", "none")
    for index, variant in enumerate(contract.export.required):
        if variant not in contract.export.variants:
            found = f"{variant!r}, which is not exported"
            faults.add(
                f"export.required[{index}]", f"one of export.variants: {', '.join(contract.export.variants)}", found
            )


def _check_budgets(contract: Contract, faults: FaultCollector) -> None:
    seen = set()
    for budget in contract.budgets:
        path = f"budgets.{budget.profile}.{budget.name.value}"
        if budget.variant is not None and budget.variant not in contract.export.variants:
            listed = ", ".join(contract.export.variants)
            faults.add(
                f"{path}.variant", f"one of export.variants: {listed}", f"{budget.variant!r}, which is not exported"
            )
        if budget.limit == 0:
            faults.add(path, "a limit above 0", "0")
        key = (budget.profile, budget.name, budget.variant, budget.backend, budget.backend_version, budget.threads)
        if key in seen:
            faults.add(
                path, "one limit for each variant, backend and number of threads", "two", "Which of the two holds?"
            )
        seen.add(key)


def _check_telemetry(contract: Contract, faults: FaultCollector) -> None:
    tensors = [spec.name for spec in contract.inputs] + [spec.name for spec in contract.outputs]
    names: list[str] = []
    for index, feature in enumerate(contract.telemetry):
        if feature.tensor and feature.tensor not in tensors:
            faults.add(
                f"telemetry[{index}].tensor",
                f"an input or output of the contract: {', '.join(tensors)}",
                f"{feature.tensor!r}{near(feature.tensor, tensors)}",
                "Where does this feature come from at inference time?",
            )
        if feature.name and feature.name in names:
            faults.add(f"telemetry[{index}].name", "a name of its own", f"{feature.name!r} again")
        names.append(feature.name)


def _check_attributes(contract: Contract, faults: FaultCollector) -> None:
    label_like = contract.group is not None and contract.group in ("label", contract.target.name)
    if label_like:
        faults.add(
            "groups.key",
            "an attribute of the items that the model does not predict",
            f"{contract.group!r}, the target: no class would be in two splits",
            "Who or what was recorded several times: a speaker, a machine, a patient?",
        )
