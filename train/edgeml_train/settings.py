"""The settings of training: the ``[train]`` table of edgeml.toml."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import ContractError, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TrainSettings", "train_schema"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a model is trained.

    Attributes:
        epochs: Most passes over the training split; 0 keeps the weights that the task's network comes with.
        batch_size: Items per step.
        learning_rate: Peak of the schedule: linear warm-up over a tenth of the steps, then a half cosine to zero
            (Loshchilov and Hutter, "SGDR", 2017).
        weight_decay: Decoupled weight decay of AdamW (Loshchilov and Hutter, 2019).
        patience: Epochs without a better validation loss after which training stops.
        seed: Seed of initial weights, order, dropout and augmentation.
        threads: CPU threads. Part of the settings because sums in another order give other weights. Small networks gain
            little from a second one, and lose much when another program wants the same core.
        augment: Whether the task's augmentation is applied.
        prefer_simpler: Whether the linear baseline takes the network's place where that does not beat it beyond noise.
        distil_temperature: With a teacher: what logits are divided by before the softmax.
        distil_weight: With a teacher: its share of the loss; the task's own loss has the rest.
        qat_epochs: With ``--qat``: most passes over the training split.
        qat_learning_rate: With ``--qat``: peak of the schedule.
        keep: When slimming: share of the channels that stay in every layer.
    """

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 8
    seed: int = 0
    threads: int = 1
    augment: bool = True
    prefer_simpler: bool = False
    distil_temperature: float = 4.0
    distil_weight: float = 0.5
    qat_epochs: int = 10
    qat_learning_rate: float = 1e-3
    keep: float = 0.5

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, source: str, table: str = "train") -> TrainSettings:
        """Settings from the ``[train]`` table, defaults where a key is not given.

        Args:
            data: Key → value.
            source: Name of the file, for the message.
            table: Where in it the keys stand, for the message.

        Returns:
            The settings.

        Raises:
            ContractError: With every unknown key (naming the nearest known one) and every value out of its range.
        """
        faults = []
        for key, value in data.items():
            if key not in _RULES:
                near = difflib.get_close_matches(key, _RULES, n=1)
                hint = f"; nearest is {near[0]!r}" if near else ""
                faults.append(Fault(f"{table}.{key}", f"one of {', '.join(_RULES)}", f"an unknown key{hint}"))
            elif not _fits(_RULES[key], value):
                faults.append(Fault(f"{table}.{key}", _describe(_RULES[key]), repr(value)))
        if faults:
            raise ContractError(source, tuple(faults))
        floats = {key: float(value) for key, value in data.items() if _RULES[key]["type"] == "number"}
        return cls(**(dict(data) | floats))

    def to_dict(self) -> dict[str, Any]:
        """JSON values, every key."""
        return asdict(self)


# JSON Schema of each key; the parser checks by the same table.
_RULES: Mapping[str, Mapping[str, Any]] = {
    "epochs": {"type": "integer", "minimum": 0, "maximum": 10_000},
    "batch_size": {"type": "integer", "minimum": 2, "maximum": 65_536},
    "learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
    "weight_decay": {"type": "number", "minimum": 0, "maximum": 10},
    "patience": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "threads": {"type": "integer", "minimum": 1, "maximum": 256},
    "augment": {"type": "boolean"},
    "prefer_simpler": {"type": "boolean"},
    "distil_temperature": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
    "distil_weight": {"type": "number", "minimum": 0, "maximum": 1},
    "qat_epochs": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "qat_learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 10},
    "keep": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
}


def train_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the ``[train]`` table, with defaults."""
    defaults = {field.name: field.default for field in fields(TrainSettings)}
    return {
        "type": "object",
        "description": "Settings of training.",
        "additionalProperties": False,
        "properties": {key: {**rule, "default": defaults[key]} for key, rule in _RULES.items()},
    }


def _fits(rule: Mapping[str, Any], value: object) -> bool:
    if rule["type"] == "boolean" or isinstance(value, bool):
        return rule["type"] == "boolean" and isinstance(value, bool)
    if not isinstance(value, int) and not (rule["type"] == "number" and isinstance(value, float)):
        return False
    low = rule.get("minimum", rule.get("exclusiveMinimum"))
    return bool(low <= value <= rule["maximum"]) and value != rule.get("exclusiveMinimum")


def _describe(rule: Mapping[str, Any]) -> str:
    if rule["type"] == "boolean":
        return "true or false"
    kind = "an integer" if rule["type"] == "integer" else "a number"
    low = f"above {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else f"from {rule['minimum']}"
    return f"{kind} {low} up to {rule['maximum']}"
