"""Which columns of a table are what: the ``[data]`` table of a project, compared with its contract."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_evaluate.slices import class_labels
from edgeml_runtime.errors import ContractError, Fault
from edgeml_runtime.tensors import DType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import InputSpec

__all__ = ["TableSchema", "category_unit", "learned_lines"]

_COLUMNS = "a list of column names, each once"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """The columns a model is trained on.

    Attributes:
        numbers: Numeric columns, in the order of the contract's float32 input.
        categories: Categorical columns, in the order of the contract's int32 input → their categories, in the order of
            their indices; empty where they are still to be learned.
        target: Column of the answer.
        labels: The classes, empty for a regression.
        group: Column whose values must not be in two splits (``groups.key`` of the contract), or None.
        time: Column to order and split by, or None.
        attributes: Columns that slices and groups name.
        number_input: The float32 input, or None.
        category_input: The int32 input, or None.
    """

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    target: str
    labels: tuple[str, ...]
    group: str | None
    time: str | None
    attributes: tuple[str, ...]
    number_input: InputSpec | None
    category_input: InputSpec | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that has to be there, each once."""
        optional = (self.time,) if self.time else ()
        return tuple(dict.fromkeys((*self.numbers, *self.categories, self.target, *self.attributes, *optional)))

    @classmethod
    def parse(cls, contract: Contract, data: Mapping[str, Any]) -> TableSchema:
        """The schema from ``[data]``, checked against inputs, groups and slices of the contract.

        Args:
            contract: The contract; its one float32 input takes the numbers, its one int32 input the categories.
            data: Keys ``numbers``, ``categories`` (a table of column → list), ``target`` and ``time``.

        Returns:
            The schema.

        Raises:
            ContractError: With every fault.
        """
        numbers, categories = data.get("numbers", []), data.get("categories", {})
        target, time = data.get("target", contract.target.name), data.get("time")
        faults = [*_form_faults(numbers, categories, target, time)]
        if not faults:
            faults += _contract_faults(contract, numbers, categories)
            faults += _role_faults(contract, numbers, categories, target, time)
        if faults:
            raise ContractError("edgeml.toml", tuple(faults))
        named = (contract.group, *contract.slices.by)
        return cls(
            numbers=tuple(numbers),
            categories={column: tuple(listed) for column, listed in categories.items()},
            target=target,
            labels=class_labels(contract),
            group=contract.group,
            time=time,
            attributes=tuple(dict.fromkeys(name for name in named if name and name != "label")),
            number_input=_input(contract, DType.FLOAT32),
            category_input=_input(contract, DType.INT32),
        )


def category_unit(categories: Mapping[str, Sequence[str]]) -> str:
    """What the unit of the categories' input has to say, so that every bundle says which index is which category.

    Args:
        categories: Column → its categories, in the order of their indices.

    Returns:
        Such as ``"index; site: north 0, south 1"``.
    """
    columns = [
        f"{column}: {', '.join(f'{category} {index}' for index, category in enumerate(listed))}"
        for column, listed in categories.items()
    ]
    return "; ".join(["index", *columns])


def learned_lines(schema: TableSchema, categories: Mapping[str, Sequence[str]]) -> str:
    """What to write into edgeml.toml once the categories are known.

    Args:
        schema: The schema, with lists that are still empty.
        categories: Column → its categories.

    Returns:
        Lines of TOML.
    """
    name = schema.category_input.name if schema.category_input else ""
    listed = [f"{_toml(column)} = [{', '.join(map(_toml, names))}]" for column, names in categories.items()]
    largest = max(map(len, categories.values())) - 1
    return "\n".join(
        [
            "[data.categories]",
            *listed,
            f"and in the table of the input {name!r}",
            f"range = [-1, {largest}]",
            f"unit = {_toml(category_unit(categories))}",
        ]
    )


def _toml(text: str) -> str:
    # A JSON string is a TOML string too, as long as nothing but quotes, backslashes and control characters is escaped.
    return json.dumps(text, ensure_ascii=False)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value)


def _form_faults(numbers: object, categories: object, target: object, time: object) -> list[Fault]:
    faults = []
    if not _is_names(numbers):
        faults.append(Fault("data.numbers", _COLUMNS, repr(numbers)))
    if not isinstance(categories, dict):
        faults.append(Fault("data.categories", "a table of column = [categories]", repr(categories)))
    else:
        faults += [
            Fault(f"data.categories.{column}", "a list of texts, each once", repr(listed))
            for column, listed in categories.items()
            if not _is_names(listed)
        ]
    if not isinstance(target, str) or not target:
        faults.append(Fault("data.target", "the name of a column", repr(target)))
    if time is not None and (not isinstance(time, str) or not time):
        faults.append(Fault("data.time", "the name of a column, or no such key", repr(time)))
    return faults


def _input(contract: Contract, dtype: DType) -> InputSpec | None:
    return next((spec for spec in contract.inputs if spec.dtype is dtype), None)


def _contract_faults(contract: Contract, numbers: list[str], categories: dict[str, list[str]]) -> list[Fault]:
    """Inputs that do not fit the lists of columns."""
    faults = []
    kinds = Counter(spec.dtype for spec in contract.inputs)
    wanted = {DType.FLOAT32: len(numbers), DType.INT32: len(categories)}
    expected = [f"one {dtype.value} input of shape [{count}]" for dtype, count in wanted.items() if count]
    shapes = {spec.dtype: spec.shape for spec in contract.inputs}
    if kinds != Counter({dtype: 1 for dtype, count in wanted.items() if count}) or any(
        shapes[dtype] != (count,) for dtype, count in wanted.items() if count
    ):
        found = ", ".join(f"{spec.name}: {spec.dtype.value} {list(spec.shape)}" for spec in contract.inputs)
        listed = f"data.numbers names {len(numbers)} and data.categories {len(categories)} columns"
        faults.append(Fault("inputs", f"{' and '.join(expected) or 'columns'}, because {listed}", found))
    spec = _input(contract, DType.INT32)
    if spec and categories and all(categories.values()):
        faults += _index_faults(f"inputs[{contract.inputs.index(spec)}]", spec, categories)
    return faults


def _index_faults(path: str, spec: InputSpec, categories: dict[str, list[str]]) -> list[Fault]:
    """Range and unit of the indices that do not say what ``data.categories`` says."""
    faults, largest = [], max(map(len, categories.values())) - 1
    if tuple(spec.range) != (-1, largest):
        expected = f"[-1, {largest}]: -1 is unknown or missing, {largest} the largest index in data.categories"
        faults.append(Fault(f"{path}.range", expected, repr(list(spec.range))))
    if spec.unit != category_unit(categories):
        expected = f"{_toml(category_unit(categories))}, because data.categories lists them so"
        faults.append(Fault(f"{path}.unit", expected, _toml(spec.unit)))
    return faults


def _role_faults(
    contract: Contract, numbers: list[str], categories: dict[str, list[str]], target: str, time: str | None
) -> list[Fault]:
    """Columns in two roles, of which the answer among the inputs is the worst."""
    faults = []
    for key, column in (("target", target), ("time", time)):
        if column in numbers or column in categories:
            faults.append(Fault(f"data.{key}", "a column that is no input", f"{column!r}, which is one"))
    both = [column for column in numbers if column in categories]
    faults += [Fault("data.categories", "columns that are not in data.numbers", repr(column)) for column in both]
    if time and contract.group:
        faults.append(Fault("data.time", "no time to split by where groups.key splits by group", repr(time)))
    return faults
