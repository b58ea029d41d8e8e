"""What a contract's parts must keep between them; each broken rule is a fault, ambiguities come with their question."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING

from edgeml_runtime.backends.table import BACKEND_FORMATS, BACKENDS
from edgeml_runtime.contract import BudgetName, MetricName, TargetKind
from edgeml_runtime.fields import describe, key_path, near
from edgeml_runtime.tensors import DType, OutputRole

if TYPE_CHECKING:
    from edgeml_runtime.contract import Budget, Contract
    from edgeml_runtime.fields import FaultCollector

__all__ = [
    "METRICS",
    "MODEL_NAME",
    "MODULE_PATH",
    "PRECISIONS",
    "PROFILE_NAME",
    "RELEASE",
    "VERSION",
    "check_whole",
    "condition",
    "known_variants",
]

_COMMON = ("fp32", "fp16", "int8", "int8-dynamic", "w8")
PRECISIONS = {"onnx": _COMMON, "tflite": (*_COMMON, "int16x8"), "ort": ("fp32", "int8")}
METRICS = {
    TargetKind.CLASSIFICATION: (MetricName.ACCURACY, MetricName.BALANCED_ACCURACY, MetricName.MACRO_F1),
    TargetKind.REGRESSION: (MetricName.MAE, MetricName.RMSE),
    TargetKind.ANOMALY: (MetricName.ROC_AUC, MetricName.PARTIAL_AUC),
}

MODEL_NAME = r"[a-z0-9]([a-z0-9\-]{0,62}[a-z0-9])?"
VERSION = r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})"
PROFILE_NAME = r"[A-Za-z0-9]([A-Za-z0-9._\-]{0,62}[A-Za-z0-9])?"
MODULE_PATH = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
RELEASE = r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}"

_PERCENTILES = (BudgetName.LATENCY_MS_P50, BudgetName.LATENCY_MS_P95, BudgetName.LATENCY_MS_P99)
_Condition = tuple[str, str, str, int]


def known_variants() -> list[str]:
    """Every variant id a contract can ask for."""
    return [f"{form}-{precision}" for form, precisions in PRECISIONS.items() for precision in precisions]


def condition(budget: Budget) -> _Condition:
    """What a budget is for, apart from profile and quantity; budgets that agree in it contradict each other."""
    return budget.variant or "", budget.backend or "", budget.backend_version or "", budget.threads or 0


def check_whole(contract: Contract, faults: FaultCollector) -> None:
    """Check what no single key can show.

    Args:
        contract: As read; what has a fault holds a stand-in, which is not judged again.
        faults: The faults so far, and where further ones go.
    """
    _check_model(contract, faults)
    _check_tensor_names(contract, faults)
    _check_outputs(contract, faults)
    _check_target(contract, faults)
    _check_metric(contract, faults)
    _check_anomaly(contract, faults)
    _check_export(contract, faults)
    _check_budgets(contract, faults)
    _check_telemetry(contract, faults)
    _check_attributes(contract, faults)


def _check_model(contract: Contract, faults: FaultCollector) -> None:
    if faults.clean("model.name") and not re.fullmatch(MODEL_NAME, contract.name):
        expected = "lower-case letters, digits and dashes, at most 64, no dash first or last"
        faults.add("model.name", expected, describe(contract.name))
    if faults.clean("model.version") and not re.fullmatch(VERSION, contract.version):
        faults.add("model.version", "MAJOR.MINOR.PATCH, such as 1.0.0", describe(contract.version))


def _check_tensor_names(contract: Contract, faults: FaultCollector) -> None:
    inputs = {spec.name: index for index, spec in enumerate(contract.inputs)}
    for name, index in inputs.items():
        if faults.clean(f"inputs[{index}].name") and (keyword.iskeyword(name) or name == "self"):
            expected = "a name that can be an argument of the model's forward()"
            faults.add(f"inputs[{index}].name", expected, f"{name!r}, which Python keeps for itself")
    for index, spec in enumerate(contract.outputs):
        path = f"outputs[{index}].name"
        if faults.clean(path) and spec.name in inputs:
            faults.add(path, "a name that no input has", f"{spec.name!r}, which inputs[{inputs[spec.name]}] has")


def _check_outputs(contract: Contract, faults: FaultCollector) -> None:
    for index, spec in enumerate(contract.outputs):
        path = f"outputs[{index}]"
        if not faults.clean(f"{path}.role") or spec.role is OutputRole.VALUE:
            continue
        if faults.clean(f"{path}.dtype") and spec.dtype is not DType.FLOAT32:
            expected = f"float32: {spec.role.value} are float32 in every variant, quantized ones too"
            faults.add(f"{path}.dtype", expected, spec.dtype.value)
        if faults.clean(f"{path}.unit") and spec.unit:
            found = f"{describe(spec.unit)} with role {spec.role.value!r}"
            faults.add(f"{path}.unit", 'a unit only where role = "value"', found)


def _check_target(contract: Contract, faults: FaultCollector) -> None:
    roles = [f"outputs[{index}].role" for index in range(len(contract.outputs))]
    if not contract.outputs or not faults.clean("target.kind", *roles):
        return
    if contract.target.kind is TargetKind.CLASSIFICATION:
        _check_classification(contract, faults)
    else:
        _check_value(contract, faults)


def _check_classification(contract: Contract, faults: FaultCollector) -> None:
    where = {role: [i for i, spec in enumerate(contract.outputs) if spec.role is role] for role in OutputRole}
    scores, logits = where[OutputRole.SCORES], where[OutputRole.LOGITS]
    for index in scores:
        shape, path = contract.outputs[index].shape, f"outputs[{index}].shape"
        if faults.clean(path) and (len(shape) != 1 or shape[0] < 2):
            question = "Which classes does the model choose between?"
            faults.add(path, "[classes], two or more, because an item belongs to one class", describe(shape), question)
    if len(scores) == len(logits) == 1:
        of_scores, of_logits = contract.outputs[scores[0]].shape, contract.outputs[logits[0]].shape
        path = f"outputs[{logits[0]}].shape"
        if of_scores != of_logits and faults.clean(f"outputs[{scores[0]}].shape", path):
            faults.add(path, f"the shape of the scores, {describe(of_scores)}", describe(of_logits))
    if len(scores) != 1:
        expected = 'exactly one output with role = "scores" and labels, because the target is a classification'
        faults.add("outputs", expected, f"{len(scores) or 'none'}", "Which output holds the score of each class?")
    if len(logits) > 1:
        expected = 'at most one output with role = "logits"'
        faults.add("outputs", expected, f"{len(logits)}", "Which one do the scores follow from?")


def _check_value(contract: Contract, faults: FaultCollector) -> None:
    """A regression's number, or an anomaly's score, is the one output."""
    kind, predicted = contract.target.kind, contract.target.name or "quantity"
    if len(contract.outputs) != 1 or contract.outputs[0].role is not OutputRole.VALUE:
        listed = ", ".join(f"{spec.name!r} with role {spec.role.value!r}" for spec in contract.outputs)
        expected = f'exactly one output, with role = "value", because the target is of kind {kind.value}'
        faults.add("outputs", expected, listed, f"Which output is the predicted {predicted}?")
        return
    value = contract.outputs[0]
    if faults.clean("outputs[0].shape") and value.shape != (1,):
        question = f"Which of the numbers is the predicted {predicted}?"
        faults.add("outputs[0].shape", "[1], because the target is one number", describe(value.shape), question)
    if kind is TargetKind.REGRESSION and faults.clean("outputs[0].unit") and not value.unit:
        question = f"In which unit is the predicted {predicted}, and with it the metric?"
        faults.add("outputs[0].unit", "a string", "nothing", question)
    if kind is TargetKind.ANOMALY and faults.clean("outputs[0].dtype") and value.dtype is not DType.FLOAT32:
        faults.add("outputs[0].dtype", "float32: an anomaly score is a multiple of its threshold", value.dtype.value)


def _check_metric(contract: Contract, faults: FaultCollector) -> None:
    """The metric fits the target, and limits in its unit fit the metric."""
    if not faults.clean("metric.primary"):
        return
    metric, kind = contract.metric.primary, contract.target.kind
    if faults.clean("target.kind") and metric not in METRICS[kind]:
        fitting = ", ".join(name.value for name in METRICS[kind])
        faults.add("metric.primary", f"one of {fitting} for {kind.value}", repr(metric.value))
        return
    is_share = metric.higher_is_better
    floor = contract.metric.floor
    if faults.clean("metric.floor") and (not 0 <= floor <= 1 if is_share else floor <= 0):
        range_ = "a share from 0 to 1" if is_share else "a number above 0, in the target's unit,"
        faults.add("metric.floor", f"{range_} for {metric.value}", f"{floor:g}")
    rules = contract.export
    shares = {"gate.margin": contract.gate.margin, "export.max_metric_drop": rules.max_metric_drop}
    shares["export.max_slice_drop"] = rules.max_slice_drop
    for path, share in shares.items():
        if is_share and faults.clean(path) and share > 1:
            faults.add(path, f"a share from 0 to 1 of {metric.value}; 0.01 is one point", f"{share:g}")


def _check_anomaly(contract: Contract, faults: FaultCollector) -> None:
    rules, kind = contract.anomaly, contract.target.kind
    if faults.clean("target.kind") and (rules is None) is (kind is TargetKind.ANOMALY):
        expected = "a table [anomaly] where target.kind is anomaly, and only there"
        question = "How many false alarms a day will anybody put up with?" if rules is None else None
        faults.add("anomaly", expected, "none" if rules is None else f"one with {kind.value}", question)
    for key in ("false_alarms_per_day", "item_minutes") if rules is not None else ():
        if faults.clean(f"anomaly.{key}") and getattr(rules, key) == 0:
            faults.add(f"anomaly.{key}", "a number above 0", "0")


def _check_export(contract: Contract, faults: FaultCollector) -> None:
    rules, known = contract.export, known_variants()
    for index, variant in enumerate(rules.variants):
        path = f"export.variants[{index}]"
        if faults.clean(path) and variant not in known:
            faults.add(path, f"one of {', '.join(known)}", f"{describe(variant)}{near(variant, known)}")
    if not rules.variants and faults.clean("export.variants"):
        faults.add("export.variants", f"at least one of {', '.join(known)}", "an empty list")
    for index, variant in enumerate(rules.required):
        path = f"export.required[{index}]"
        if faults.clean(path) and rules.variants and variant not in rules.variants:
            expected = f"one of export.variants: {', '.join(rules.variants)}"
            question = "Which variants must a bundle have to be worth shipping?"
            faults.add(path, expected, f"{describe(variant)}, which is not exported", question)
    for index, scope in enumerate(rules.float_scopes):
        path = f"export.float_scopes[{index}]"
        if faults.clean(path) and not re.fullmatch(MODULE_PATH, scope):
            faults.add(path, "a dotted module path, such as features or network.stem", describe(scope))
    release, path = rules.oldest_onnxruntime, "export.oldest_onnxruntime"
    if faults.clean(path) and not re.fullmatch(RELEASE, release):
        faults.add(path, "numbers joined by dots, such as 1.15", describe(release))


def _check_budgets(contract: Contract, faults: FaultCollector) -> None:
    for profile in dict.fromkeys(budget.profile for budget in contract.budgets):
        if not re.fullmatch(PROFILE_NAME, profile):
            expected = "the name of a device profile: letters and digits, with dots, dashes and underscores between"
            faults.add(key_path("budgets", profile), expected, describe(profile))
    seen: dict[tuple[str, BudgetName, _Condition], Budget] = {}
    for budget in [budget for budget in contract.budgets if faults.clean(_budget_path(budget))]:
        path, key = _budget_path(budget), (budget.profile, budget.name, condition(budget))
        if budget.limit == 0:
            faults.add(path, "a limit above 0", "0")
        elif key in seen:
            expected = "one limit for each variant, backend and number of threads"
            found = f"{seen[key].limit:g} and {budget.limit:g}"
            faults.add(path, expected, found, "Which of the two holds?")
        seen[key] = budget
        _check_condition(budget, contract, faults)
    _check_percentiles(seen, faults)


def _check_condition(budget: Budget, contract: Contract, faults: FaultCollector) -> None:
    """Variant, backend and threads of a budget go together and say something."""
    path, exported = _budget_path(budget), contract.export.variants
    if budget.variant is not None and exported and budget.variant not in exported:
        found = f"{describe(budget.variant)}, which is not exported{near(budget.variant, exported)}"
        faults.add(f"{path}.variant", f"one of export.variants: {', '.join(exported)}", found)
    if budget.backend is not None and budget.backend not in BACKENDS:
        found = f"{describe(budget.backend)}{near(budget.backend, BACKENDS)}"
        faults.add(f"{path}.backend", f"one of {', '.join(BACKENDS)}", found)
    elif budget.backend is not None and budget.variant is not None:
        formats = [form.value for form in BACKEND_FORMATS[budget.backend]]
        if budget.variant.partition("-")[0] not in formats:
            found = f"{budget.backend!r}, which runs {', '.join(formats)}"
            faults.add(f"{path}.backend", f"a backend that runs {budget.variant}", found)
    if budget.name is BudgetName.BUNDLE_MB and condition(budget) != ("", "", "", 0):
        expected = "a limit for the whole bundle, which is one file with every variant"
        faults.add(path, expected, "a limit for one variant, backend or number of threads")


def _check_percentiles(seen: dict[tuple[str, BudgetName, _Condition], Budget], faults: FaultCollector) -> None:
    """A lower percentile can only be limited by less than the next higher one."""
    for (profile, name, given), budget in seen.items():
        higher = _PERCENTILES[_PERCENTILES.index(name) + 1 :] if name in _PERCENTILES else ()
        other = next((seen[profile, key, given] for key in higher if (profile, key, given) in seen), None)
        if other is not None and other.limit < budget.limit:
            expected = f"at most the limit of {other.name.value}, {other.limit:g}"
            faults.add(_budget_path(budget), expected, f"{budget.limit:g}", "Are the two limits swapped?")


def _budget_path(budget: Budget) -> str:
    return f"{key_path('budgets', budget.profile)}.{budget.name.value}"


def _tensor_names(contract: Contract) -> list[str]:
    return [spec.name for spec in contract.inputs if spec.name] + [spec.name for spec in contract.outputs if spec.name]


def _check_telemetry(contract: Contract, faults: FaultCollector) -> None:
    tensors = _tensor_names(contract)
    first: dict[str, int] = {}
    for index, feature in enumerate(contract.telemetry):
        path = f"telemetry[{index}]"
        if faults.clean(f"{path}.tensor") and feature.tensor not in tensors:
            expected = f"an input or output of the contract: {', '.join(tensors)}"
            found = f"{describe(feature.tensor)}{near(feature.tensor, tensors)}"
            faults.add(f"{path}.tensor", expected, found, "Where does this feature come from on the device?")
        if faults.clean(f"{path}.name") and (same := first.setdefault(feature.name, index)) != index:
            found = f"{describe(feature.name)}, which telemetry[{same}] has"
            faults.add(f"{path}.name", "a name of its own", found)


def _check_attributes(contract: Contract, faults: FaultCollector) -> None:
    """Slices and groups are attributes of the items: neither tensors nor, for groups, what is predicted."""
    tensors = _tensor_names(contract)
    named = {f"slices.by[{index}]": name for index, name in enumerate(contract.slices.by)}
    if contract.group is not None:
        named["groups.key"] = contract.group
    for path, name in named.items():
        if faults.clean(path) and name in tensors:
            question = "Which attribute of the items, given by the task, is meant?"
            faults.add(path, "an attribute of the items", f"{name!r}, a tensor of the model", question)
    if contract.group is None or not faults.clean("groups.key", "target.name"):
        return
    if contract.group in ("label", contract.target.name):
        found = f"{contract.group!r}, the target: no class would be in two splits"
        question = "Who or what was recorded several times: a speaker, a machine, a patient?"
        faults.add("groups.key", "an attribute of the items that the model does not predict", found, question)
