"""JSON Schema of ``edgeml.toml``, for editors; generated from the dataclasses and their docstrings.

The schema catches misspelt keys, wrong kinds and missing keys while one types. What holds between keys is checked by
:mod:`edgeml_runtime.contract_parse`, which has the last word.
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
from edgeml_runtime.contract import (
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
from edgeml_runtime.tensors import InputSpec, LoaderSpec, OutputSpec

__all__ = ["contract_json_schema"]

_Schema = dict[str, Any]
_SCALARS: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def contract_json_schema(*, train: Mapping[str, Any] | None = None) -> _Schema:
    """Make the JSON Schema (draft 2020-12) of a whole ``edgeml.toml``.

    Args:
        train: Schema of the ``[train]`` table; any table is accepted where it is not given.

    Returns:
        The schema as JSON values.
    """
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
            "outputs": {"type": "array", "minItems": 1, "items": _object(OutputSpec, optional=("dtype",))},
            "target": _object(TargetSpec),
            "metric": _object(MetricSpec),
            "slices": _object(SliceRules),
            "groups": _groups(),
            "export": _object(ExportRules),
            "gate": _object(GateRules),
            "budgets": _budgets(),
            "telemetry": {"type": "array", "items": _telemetry()},
            "data": {"type": "object", "description": "Settings of the project's task, given to it as they stand."},
            "train": dict(train) if train is not None else {"type": "object", "description": "Settings of training."},
        },
    }


def _input() -> _Schema:
    schema = _object(InputSpec)
    loader = _object(LoaderSpec, only=("name", "version"))
    loader["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    schema["properties"]["loader"] = loader
    schema["properties"]["range"] |= {"minItems": 2, "maxItems": 2}
    return schema


def _groups() -> _Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["key"],
        "properties": {"key": {"type": "string", "description": _documented(Contract)["group"]}},
    }


def _budgets() -> _Schema:
    entry = _object(Budget, only=tuple(field.name for field in fields(Budget) if field.name not in ("profile", "name")))
    limit = {"anyOf": [{"type": "number"}, entry, {"type": "array", "items": entry}]}
    return {
        "type": "object",
        "description": "Limits per device profile; 'host' is the machine at hand.",
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
            field.name: {**_kind(hints[field.name]), "description": texts[field.name], **_default(field)}
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
    return {name: " ".join(text.split()) for name, text in found}


# What the annotations name; the modules import some of it for type checkers only.
_NAMES = {**vars(tensors_module), **vars(contract_module), "Mapping": Mapping}
