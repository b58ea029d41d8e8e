"""JSON Schema of ``edgeml.toml``, for editors; generated from the dataclasses and their docstrings.

The schema catches misspelt keys, wrong kinds and missing keys while one types. What holds between keys is checked by
:mod:`edgeml_runtime.contract_parse`, which has the last word: the schema refuses nothing that it accepts.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any

from edgeml_runtime import contract as contract_module
from edgeml_runtime import tensors as tensors_module
from edgeml_runtime.backends.table import BACKENDS
from edgeml_runtime.contract import (
    AnomalyRules,
    Budget,
    BudgetName,
    Contract,
    ExportRules,
    GateRules,
    MetricSpec,
    SliceRules,
    Statistic,
    TargetSpec,
    TelemetryFeature,
)
from edgeml_runtime.contract_rules import MODEL_NAME, MODULE_PATH, PROFILE_NAME, RELEASE, VERSION, known_variants
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputSpec
from edgeml_runtime.tensors_parse import MAX_RANK

__all__ = ["contract_json_schema"]

_Schema = dict[str, Any]
_SCALARS: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_SAID = {"type": "string", "pattern": r"\S"}  # a string that is not blank
_TENSOR_NAME = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
_SHAPE = {"minItems": 1, "maxItems": MAX_RANK, "items": {"type": "integer", "minimum": 1}}
_VARIANTS = {"items": {"enum": known_variants()}, "uniqueItems": True}
_WORDS = {"items": _SAID, "uniqueItems": True}
_NOT_NEGATIVE = {"minimum": 0}
_COUNT = {"minimum": 1}

# What the parser asks beyond the type, by dataclass and key.
_FURTHER: dict[tuple[type, str], _Schema] = {
    (Contract, "name"): {"pattern": f"^{MODEL_NAME}$"},
    (Contract, "version"): {"pattern": f"^{VERSION}$"},
    (InputSpec, "name"): _TENSOR_NAME,
    (InputSpec, "shape"): _SHAPE,
    (InputSpec, "range"): {"minItems": 2, "maxItems": 2},
    (InputSpec, "unit"): _SAID,
    (InputSpec, "source"): _SAID,
    (LoaderSpec, "name"): _SAID,
    (LoaderSpec, "version"): _COUNT,
    (OutputSpec, "name"): _TENSOR_NAME,
    (OutputSpec, "shape"): _SHAPE,
    (OutputSpec, "labels"): _WORDS,
    (TargetSpec, "name"): _SAID,
    (SliceRules, "by"): _WORDS,
    (SliceRules, "min_items"): _COUNT,
    (ExportRules, "variants"): {**_VARIANTS, "minItems": 1},
    (ExportRules, "required"): _VARIANTS,
    (ExportRules, "fp32_max_abs_of_std"): {"minimum": 0, "maximum": 1},
    (ExportRules, "max_metric_drop"): _NOT_NEGATIVE,
    (ExportRules, "max_metric_drop_items"): _NOT_NEGATIVE,
    (ExportRules, "max_slice_drop"): _NOT_NEGATIVE,
    (ExportRules, "max_slice_drop_items"): _NOT_NEGATIVE,
    (ExportRules, "float_scopes"): {"items": {"type": "string", "pattern": f"^{MODULE_PATH}$"}, "uniqueItems": True},
    (ExportRules, "calibration_items"): _COUNT,
    (ExportRules, "oldest_onnxruntime"): {"pattern": f"^{RELEASE}$"},
    (GateRules, "margin"): _NOT_NEGATIVE,
    (AnomalyRules, "false_alarms_per_day"): {"exclusiveMinimum": 0},
    (AnomalyRules, "item_minutes"): {"exclusiveMinimum": 0},
    (AnomalyRules, "rearm_minutes"): _NOT_NEGATIVE,
    (AnomalyRules, "event_recall_floor"): {"minimum": 0, "maximum": 1},
    (AnomalyRules, "false_alarms_per_day_limit"): _NOT_NEGATIVE,
    (Budget, "limit"): {"exclusiveMinimum": 0},
    (Budget, "variant"): {"enum": known_variants()},
    (Budget, "backend"): {"enum": sorted(BACKENDS)},
    (Budget, "backend_version"): _SAID,
    (Budget, "threads"): _COUNT,
    (Budget, "accepts"): {"minItems": 1, "uniqueItems": True},
    (TelemetryFeature, "name"): _SAID,
    (TelemetryFeature, "tensor"): _TENSOR_NAME,
    (TelemetryFeature, "edges"): {"minItems": 2},
}


def contract_json_schema(*, train: Mapping[str, Any] | None = None) -> _Schema:
    """Make the JSON Schema (draft 2020-12) of a whole ``edgeml.toml``.

    Args:
        train: Schema of the ``[train]`` table; any table is accepted where it is not given.

    Returns:
        The schema as JSON values.
    """
    training = dict(train) if train is not None else {"type": "object", "description": "Settings of training."}
    data = {"type": "object", "description": "Settings of the project's task, given to it as they stand."}
    model = _object(Contract, only=("name", "version", "description"), optional=("description",))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgeml.toml",
        "description": "The contract of a model, and the settings of its project.",
        "type": "object",
        "additionalProperties": False,
        "required": ["model", "inputs", "outputs", "target", "metric"],
        "properties": {
            "model": model,
            "inputs": {"type": "array", "minItems": 1, "items": _input()},
            "outputs": {"type": "array", "minItems": 1, "items": _output()},
            "target": _object(TargetSpec),
            "metric": _object(MetricSpec),
            "anomaly": _object(AnomalyRules),
            "slices": _object(SliceRules),
            "groups": _groups(),
            "export": _object(ExportRules),
            "gate": _object(GateRules),
            "budgets": _budgets(),
            "telemetry": {"type": "array", "items": _telemetry()},
            "data": data,
            "train": training,
            "fast": {
                "type": "object",
                "description": "What a fast training sets instead of the same keys in [data] and [train].",
                "additionalProperties": False,
                "properties": {"data": data, "train": training},
            },
        },
    }


def _input() -> _Schema:
    schema = _object(InputSpec)
    loader = _object(LoaderSpec, only=("name", "version"))
    loader["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    schema["properties"]["loader"] = loader
    return schema


def _output() -> _Schema:
    schema = _object(OutputSpec, optional=("dtype",))
    schema["properties"]["dtype"]["default"] = DType.FLOAT32.value
    return schema


def _groups() -> _Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["key"],
        "properties": {"key": {**_SAID, "description": _documented(Contract)["group"]}},
    }


def _budgets() -> _Schema:
    entry = _object(Budget, only=tuple(field.name for field in fields(Budget) if field.name not in ("profile", "name")))
    one = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, entry]}
    limit = {"anyOf": [*one["anyOf"], {"type": "array", "minItems": 1, "items": one}]}
    return {
        "type": "object",
        "description": "Limits per device profile; 'host' is the machine at hand.",
        "propertyNames": {"pattern": f"^{PROFILE_NAME}$"},
        "additionalProperties": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name.value: limit for name in BudgetName},
        },
    }


def _telemetry() -> _Schema:
    schema = _object(TelemetryFeature, optional=("edges", "statistic"))
    schema["properties"]["statistic"]["default"] = Statistic.VALUE.value
    schema["properties"]["bins"] = {"type": "integer", "minimum": 1, "description": "Number of equally wide bins."}
    schema["properties"]["range"] = {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
        "description": "What the bins share out.",
    }
    schema["oneOf"] = [{"required": ["edges"]}, {"required": ["bins", "range"]}]
    return schema


def _object(cls: type, *, only: tuple[str, ...] | None = None, optional: tuple[str, ...] = ()) -> _Schema:
    """The schema of a table that is read into a dataclass."""
    hints = typing.get_type_hints(cls, localns=_NAMES)
    texts = _documented(cls)
    chosen = [field for field in fields(cls) if only is None or field.name in only]
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip().splitlines()[0],
        "additionalProperties": False,
        "required": [field.name for field in chosen if _is_required(field) and field.name not in optional],
        "properties": {
            field.name: {
                **_kind(hints[field.name]),
                **_FURTHER.get((cls, field.name), {}),
                "description": texts[field.name],
                **_default(field),
            }
            for field in chosen
        },
    }


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _default(field: Field[Any]) -> _Schema:
    if field.default is MISSING or field.default is None:
        return {}
    return {"default": _plain(field.default)}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _kind(hint: Any) -> _Schema:
    """The schema of one value by its type hint."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _kind(typing.get_args(hint)[0])}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [item.value for item in hint]}
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    return {"type": "object"}


def _documented(cls: type) -> dict[str, str]:
    """Each attribute's text in the ``Attributes:`` section of the docstring."""
    section = (cls.__doc__ or "").partition("Attributes:")[2]
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`") for name, text in found}


# What the annotations name; the modules import some of it for type checkers only.
_NAMES = {**vars(tensors_module), **vars(contract_module), "Mapping": Mapping}
