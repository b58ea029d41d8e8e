"""``edgeml.toml`` as data → :class:`~edgeml_runtime.contract.Contract`, with every fault reported at once, and back."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edgeml_runtime.canonical import canonical_json, sha256_hex
from edgeml_runtime.contract import (
    AnomalyRules,
    Budget,
    BudgetName,
    CalibrationMethod,
    Contract,
    ExportRules,
    GateRules,
    MetricName,
    MetricSpec,
    Provenance,
    SliceRules,
    Statistic,
    TargetKind,
    TargetSpec,
    TelemetryFeature,
    WeightScales,
)
from edgeml_runtime.contract_rules import check_whole, condition
from edgeml_runtime.fields import FaultCollector, Table, describe, is_number, near
from edgeml_runtime.tensors_parse import input_to_dict, output_to_dict, parse_inputs, parse_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["contract_sha256", "contract_to_dict", "parse_contract", "read_contract"]

_LARGE = 1e18
_MAX_EDGES = 4096


def parse_contract(data: Mapping[str, Any], *, source: str) -> Contract:
    """Read a contract.

    Args:
        data: The tables of ``edgeml.toml`` without ``[data]`` and ``[train]``, or the contract of a manifest.
        source: Name of the file, for the error.

    Returns:
        The contract.

    Raises:
        ContractError: With every fault: unknown keys, values that do not fit, and ambiguities with the question that
            settles each.
    """
    faults = FaultCollector()
    contract = read_contract(Table(dict(data), "", faults))
    faults.raise_if_any(source)
    return contract


def read_contract(table: Table) -> Contract:
    """Read a contract, leaving it to the caller to raise what faults there are.

    Args:
        table: The whole file; keys that were read from it before count as known.

    Returns:
        The contract; stand-ins hold the place of what has a fault.
    """
    contract = _parse(table)
    table.refuse_unknown()
    check_whole(contract, table.faults)
    return contract


def contract_to_dict(contract: Contract) -> dict[str, Any]:
    """Turn a contract into JSON values in one canonical form: every default written out, budgets as lists of tables.

    Args:
        contract: The contract.

    Returns:
        What :func:`parse_contract` reads back as an equal contract.
    """
    document: dict[str, Any] = {
        "model": {"name": contract.name, "version": contract.version, "description": contract.description},
        "inputs": [input_to_dict(spec) for spec in contract.inputs],
        "outputs": [output_to_dict(spec) for spec in contract.outputs],
        "target": {"name": contract.target.name, "kind": contract.target.kind.value},
        "metric": {"primary": contract.metric.primary.value, "floor": contract.metric.floor},
        "slices": {"by": list(contract.slices.by), "min_items": contract.slices.min_items},
        "export": _export_to_dict(contract.export),
        "gate": {"margin": contract.gate.margin},
        "budgets": _budgets_to_dict(contract.budgets),
        "telemetry": [
            {
                "name": feature.name,
                "tensor": feature.tensor,
                "statistic": feature.statistic.value,
                "edges": list(feature.edges),
            }
            for feature in contract.telemetry
        ],
    }
    if contract.group is not None:
        document["groups"] = {"key": contract.group}
    if contract.anomaly is not None:
        document["anomaly"] = _anomaly_to_dict(contract.anomaly)
    return document


def contract_sha256(data: Mapping[str, Any]) -> str:
    """Hash a contract's JSON values.

    Args:
        data: What :func:`contract_to_dict` returns.

    Returns:
        SHA-256 of the canonical JSON (docs/bundle.md) as 64 lower-case hex digits.
    """
    return sha256_hex(canonical_json(dict(data)))


def _parse(table: Table) -> Contract:
    model = table.table("model", required=True, question="What is the model called, and which version is it?")
    contract = Contract(
        name=model.text("name", question="What is the model called?"),
        version=model.text("version", question="Which version is it, as MAJOR.MINOR.PATCH?"),
        description=model.text("description", ""),
        inputs=parse_inputs(table.items("inputs", required=True, question="What goes into the model?"), table.faults),
        outputs=parse_outputs(table.items("outputs", required=True, question="What comes out?"), table.faults),
        target=_parse_target(table),
        metric=_parse_metric(table),
        slices=_parse_slices(table.table("slices")),
        group=_parse_group(table),
        export=_parse_export(table.table("export")),
        gate=_parse_gate(table.table("gate")),
        budgets=_parse_budgets(table.table("budgets")),
        telemetry=_parse_telemetry(table),
        anomaly=_parse_anomaly(table),
    )
    model.refuse_unknown()
    return contract


def _parse_target(table: Table) -> TargetSpec:
    target = table.table("target", required=True, question="What does the model predict?")
    spec = TargetSpec(
        name=target.text("name", question="What does the model predict: a digit, a pressure?"),
        kind=target.member(
            "kind", TargetKind, question="Does it choose a class, estimate a number, or say how unusual an item is?"
        ),
    )
    target.refuse_unknown()
    return spec


def _parse_metric(table: Table) -> MetricSpec:
    metric = table.table("metric", required=True, question="Which metric decides whether a model is good enough?")
    spec = MetricSpec(
        primary=metric.member("primary", MetricName, question="Which metric decides between two models?"),
        floor=metric.number(
            "floor", low=-_LARGE, high=_LARGE, question="Which value must a model reach to be worth shipping?"
        ),
    )
    metric.refuse_unknown()
    return spec


def _parse_anomaly(table: Table) -> AnomalyRules | None:
    if not table.has("anomaly"):
        return None
    anomaly = table.table("anomaly")
    rate, limit = "false_alarms_per_day", "false_alarms_per_day_limit"
    rules = AnomalyRules(
        false_alarms_per_day=anomaly.number(
            rate, low=0, high=_LARGE, question="How many a day will anybody put up with?"
        ),
        item_minutes=anomaly.number("item_minutes", low=0, high=_LARGE, question="How often does the device ask?"),
        rearm_minutes=anomaly.number("rearm_minutes", 60.0, low=0, high=_LARGE),
        event_recall_floor=anomaly.number("event_recall_floor", 0.0, low=0, high=1),
        false_alarms_per_day_limit=anomaly.number(limit, low=0, high=_LARGE) if anomaly.has(limit) else None,
    )
    anomaly.refuse_unknown()
    return rules


def _anomaly_to_dict(rules: AnomalyRules) -> dict[str, Any]:
    return {key: value for key, value in asdict(rules).items() if value is not None}


def _parse_slices(table: Table) -> SliceRules:
    rules = SliceRules(
        by=table.texts("by", SliceRules().by),
        min_items=table.integer("min_items", SliceRules().min_items, low=1, high=10**9),
    )
    table.refuse_unknown()
    return rules


def _parse_group(table: Table) -> str | None:
    if not table.has("groups"):
        return None
    groups = table.table("groups")
    key = groups.text("key", question="Which attribute must not cross the split: speaker, machine, patient?")
    groups.refuse_unknown()
    return key


def _parse_export(table: Table) -> ExportRules:
    default = ExportRules()
    rules = ExportRules(
        variants=table.texts("variants", default.variants),
        required=table.texts("required", default.required),
        fp32_max_abs_of_std=table.number("fp32_max_abs_of_std", default.fp32_max_abs_of_std, low=0, high=1),
        max_metric_drop=table.number("max_metric_drop", default.max_metric_drop, low=0, high=_LARGE),
        max_metric_drop_items=table.integer("max_metric_drop_items", default.max_metric_drop_items, low=0, high=10**9),
        max_slice_drop=table.number("max_slice_drop", default.max_slice_drop, low=0, high=_LARGE),
        max_slice_drop_items=table.integer("max_slice_drop_items", default.max_slice_drop_items, low=0, high=10**9),
        float_scopes=table.texts("float_scopes", default.float_scopes),
        calibration_items=table.integer("calibration_items", default.calibration_items, low=1, high=10**7),
        calibration=table.member("calibration", CalibrationMethod, default.calibration),
        weights=table.member("weights", WeightScales, default.weights),
        oldest_onnxruntime=table.text("oldest_onnxruntime", default.oldest_onnxruntime),
    )
    table.refuse_unknown()
    return rules


def _export_to_dict(rules: ExportRules) -> dict[str, Any]:
    values = {
        "variants": list(rules.variants),
        "required": list(rules.required),
        "fp32_max_abs_of_std": rules.fp32_max_abs_of_std,
        "max_metric_drop": rules.max_metric_drop,
        "max_metric_drop_items": rules.max_metric_drop_items,
        "max_slice_drop": rules.max_slice_drop,
        "max_slice_drop_items": rules.max_slice_drop_items,
        "float_scopes": list(rules.float_scopes),
        "calibration_items": rules.calibration_items,
        "calibration": rules.calibration.value,
        "oldest_onnxruntime": rules.oldest_onnxruntime,
    }
    # Left out where it is the default, so that the hash of every contract from before this key stays what it was.
    return values if rules.weights is ExportRules().weights else {**values, "weights": rules.weights.value}


def _parse_gate(table: Table) -> GateRules:
    rules = GateRules(margin=table.number("margin", GateRules().margin, low=0, high=_LARGE))
    table.refuse_unknown()
    return rules


def _parse_budgets(table: Table) -> tuple[Budget, ...]:
    """All budgets, in one order however the file is arranged, so that equal contracts are equal values."""
    budgets = []
    for profile in table.data:
        limits = table.table(str(profile))
        for name in BudgetName:
            if limits.has(name.value):
                budgets.extend(_parse_budget(limits, str(profile), name))
        limits.refuse_unknown()
    order = list(BudgetName)
    return tuple(sorted(budgets, key=lambda budget: (budget.profile, order.index(budget.name), condition(budget))))


def _parse_budget(limits: Table, profile: str, name: BudgetName) -> list[Budget]:
    """One budget, or several for different variants, from a number, a table or a list of tables."""
    value, path = limits.data[name.value], limits.at(name.value)
    if not isinstance(value, list | tuple):
        return [_parse_limit(limits, name, profile, value, path)]
    if not value:
        limits.faults.add(path, "a number above 0, a table with limit, or a list of such tables", "an empty list")
    return [_parse_limit(limits, name, profile, item, f"{path}[{index}]") for index, item in enumerate(value)]


def _parse_limit(limits: Table, name: BudgetName, profile: str, value: object, path: str) -> Budget:
    if isinstance(value, dict):
        table = Table(value, path, limits.faults)
        limit = table.number("limit", low=0, high=_LARGE, question=f"Which {name.value} is still acceptable?")
    else:
        table = Table({}, path, limits.faults)
        limit = float(value) if is_number(value) else 0.0
        if not 0 < limit <= _LARGE:
            limits.faults.add(path, "a number above 0, or a table with limit", describe(value))
    budget = Budget(
        profile=profile,
        name=name,
        limit=limit,
        variant=table.text("variant") if table.has("variant") else None,
        backend=table.text("backend") if table.has("backend") else None,
        backend_version=table.text("backend_version") if table.has("backend_version") else None,
        threads=table.integer("threads", low=1, high=4096) if table.has("threads") else None,
        accepts=_parse_accepts(table, name),
    )
    table.refuse_unknown()
    return budget


def _parse_accepts(table: Table, name: BudgetName) -> tuple[Provenance, ...]:
    usual = Provenance.EMULATED if name is BudgetName.INSTRUCTIONS else Provenance.MEASURED
    known = {item.value: item for item in Provenance}
    path = table.at("accepts")
    words = table.texts("accepts", (usual.value,))
    for index, word in enumerate(words):
        if word and word not in known:
            expected = f"one of {', '.join(known)}"
            table.faults.add(f"{path}[{index}]", expected, f"{describe(word)}{near(word, known)}")
    if not words and table.faults.clean(path):
        table.faults.add(path, "at least one provenance", "an empty list: nothing could decide the budget")
    return tuple(item for item in Provenance if item.value in words)


def _budgets_to_dict(budgets: tuple[Budget, ...]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for budget in budgets:
        optional = {
            "variant": budget.variant,
            "backend": budget.backend,
            "backend_version": budget.backend_version,
            "threads": budget.threads,
        }
        entry: dict[str, Any] = {"limit": budget.limit, "accepts": [item.value for item in budget.accepts]}
        entry |= {key: value for key, value in optional.items() if value is not None}
        document.setdefault(budget.profile, {}).setdefault(budget.name.value, []).append(entry)
    return document


def _parse_telemetry(table: Table) -> tuple[TelemetryFeature, ...]:
    items = table.items("telemetry", required=False)
    return tuple(_parse_feature(Table(item, f"telemetry[{index}]", table.faults)) for index, item in enumerate(items))


def _parse_feature(table: Table) -> TelemetryFeature:
    feature = TelemetryFeature(
        name=table.text("name"),
        tensor=table.text("tensor", question="Which input or output of the contract is watched?"),
        statistic=table.member("statistic", Statistic, Statistic.VALUE),
        edges=_parse_edges(table),
    )
    table.refuse_unknown()
    return feature


def _parse_edges(table: Table) -> tuple[float, ...]:
    """The bin edges, from ``edges`` or from ``bins`` with ``range``; empty where they have a fault."""
    given = [key for key in ("edges", "bins", "range") if table.has(key)]
    if given == ["edges"]:
        expected = f"2 to {_MAX_EDGES} bin edges, strictly increasing"
        edges = table.numbers("edges", expected)
        fits = 2 <= len(edges) <= _MAX_EDGES and all(low < high for low, high in pairwise(edges))
        if not fits and table.faults.clean(table.at("edges")):
            table.faults.add(table.at("edges"), expected, describe(table.data["edges"]))
        return edges
    if given == ["bins", "range"]:
        return _spread(table)
    question = "Where does one bin end and the next one begin?"
    found = " and ".join(given) or "neither"
    table.faults.add(table.at("edges"), "either edges = [...], or bins = N with range = [low, high]", found, question)
    return ()


def _spread(table: Table) -> tuple[float, ...]:
    """Edges of equally wide bins."""
    expected = "[low, high] that the bins share out, the smaller first and far enough apart"
    bins = table.integer("bins", low=1, high=_MAX_EDGES - 1)
    pair = table.numbers("range", expected)
    if not table.faults.clean(table.at("bins"), table.at("range")):
        return ()
    low, high = pair if len(pair) == 2 else (0.0, 0.0)
    edges = (*(low + (high - low) * step / bins for step in range(bins)), high)
    if not all(below < above for below, above in pairwise(edges)):
        table.faults.add(table.at("range"), expected, describe(table.data["range"]))
        return ()
    return edges
