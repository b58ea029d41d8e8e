"""The inputs and outputs of a contract, read from tables; also what a bundle's manifest is read with at load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeml_runtime.fields import FaultCollector, Table, describe, is_number
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_ELEMENTS",
    "MAX_RANK",
    "VALUE_RANGES",
    "input_to_dict",
    "output_to_dict",
    "parse_inputs",
    "parse_outputs",
]

# A tensor of 2**28 elements is a gigabyte of float32: beyond every device edgeml is for.
MAX_ELEMENTS = 1 << 28
MAX_RANK = 6

_FLOAT32_MAX = 3.4028234663852886e38
VALUE_RANGES: dict[DType, tuple[float, float]] = {
    DType.UINT8: (0, 255),
    DType.INT8: (-128, 127),
    DType.INT16: (-32768, 32767),
    DType.INT32: (-(2**31), 2**31 - 1),
    DType.INT64: (-(2**63), 2**63 - 1),
    DType.FLOAT32: (-_FLOAT32_MAX, _FLOAT32_MAX),
}
_SOURCE_QUESTION = "Where does the value come from on the device?"


def parse_inputs(items: Sequence[Any], faults: FaultCollector) -> tuple[InputSpec, ...]:
    """Read the contract's ``[[inputs]]``.

    Args:
        items: One table per input.
        faults: Where faults go; the result is only good when there are none.

    Returns:
        The inputs, in order.
    """
    inputs = tuple(_parse_input(Table(item, f"inputs[{index}]", faults)) for index, item in enumerate(items))
    _refuse_twice([spec.name for spec in inputs], "inputs", faults)
    return inputs


def parse_outputs(items: Sequence[Any], faults: FaultCollector) -> tuple[OutputSpec, ...]:
    """Read the contract's ``[[outputs]]``.

    Args:
        items: One table per output.
        faults: Where faults go; the result is only good when there are none.

    Returns:
        The outputs, in order.
    """
    outputs = tuple(_parse_output(Table(item, f"outputs[{index}]", faults)) for index, item in enumerate(items))
    _refuse_twice([spec.name for spec in outputs], "outputs", faults)
    return outputs


def input_to_dict(spec: InputSpec) -> dict[str, Any]:
    """JSON values of an input; :func:`parse_inputs` reads them back."""
    exact = float if spec.dtype is DType.FLOAT32 else int
    table: dict[str, Any] = {
        "name": spec.name,
        "dtype": spec.dtype.value,
        "shape": list(spec.shape),
        "range": [exact(limit) for limit in spec.range],
        "unit": spec.unit,
        "source": spec.source,
        "allow_missing": spec.allow_missing,
    }
    if spec.loader is not None:
        table["loader"] = {"name": spec.loader.name, "version": spec.loader.version, **spec.loader.options}
    return table


def output_to_dict(spec: OutputSpec) -> dict[str, Any]:
    """JSON values of an output; :func:`parse_outputs` reads them back."""
    table: dict[str, Any] = {
        "name": spec.name,
        "role": spec.role.value,
        "dtype": spec.dtype.value,
        "shape": list(spec.shape),
    }
    if spec.labels:
        table["labels"] = list(spec.labels)
    if spec.unit:
        table["unit"] = spec.unit
    return table


def _parse_input(table: Table) -> InputSpec:
    dtype = _input_dtype(table)
    spec = InputSpec(
        name=_name(table, "Under which name do callers hand it in?"),
        dtype=dtype,
        shape=_shape(table),
        range=_range(table, dtype),
        unit=table.text("unit", question="In which unit or encoding does the value come?"),
        source=table.text("source", question=_SOURCE_QUESTION),
        loader=_parse_loader(table.table("loader")) if table.has("loader") else None,
        allow_missing=table.boolean("allow_missing", False),
    )
    if spec.allow_missing and dtype is not DType.FLOAT32:  # float32 also stands in for a dtype with a fault
        table.faults.add(
            table.at("allow_missing"),
            "false, because only float32 holds NaN for a missing value",
            f"true for {dtype.value}",
        )
    table.refuse_unknown()
    return spec


def _input_dtype(table: Table) -> DType:
    """The element type; float32, which can hold what the others can, where it has a fault."""
    seen = len(table.faults.faults)
    dtype = table.member("dtype", DType)
    return dtype if len(table.faults.faults) == seen else DType.FLOAT32


def _parse_loader(table: Table) -> LoaderSpec:
    name = table.text("name", question="Which loader decodes the files: wav or image?")
    version = table.integer("version", low=1, high=1_000_000)
    options = {key: value for key, value in table.data.items() if key not in ("name", "version")}
    for key, value in options.items():
        if not isinstance(value, str | bool) and not is_number(value):
            table.faults.add(table.at(key), "a string, a number, true or false", describe(value))
        elif isinstance(value, float):
            options[key] = value + 0.0
    return LoaderSpec(name=name, version=version, options=options)


def _parse_output(table: Table) -> OutputSpec:
    spec = OutputSpec(
        name=_name(table, "Under which name do callers read it?"),
        dtype=table.member("dtype", DType, DType.FLOAT32),
        shape=_shape(table),
        role=table.member(
            "role", OutputRole, question="Is this output logits, scores (with labels), or a value with a unit?"
        ),
        labels=table.texts("labels", ()),
        unit=table.text("unit", ""),
    )
    _check_labels(spec, table)
    table.refuse_unknown()
    return spec


def _check_labels(spec: OutputSpec, table: Table) -> None:
    if not table.faults.clean(table.at("role")):
        return
    if spec.role is not OutputRole.SCORES:
        if spec.labels:
            found = f"{len(spec.labels)} labels with role {spec.role.value!r}"
            table.faults.add(table.at("labels"), 'labels only where role = "scores"', found)
    elif table.faults.clean(table.at("shape")) and isinstance(table.data.get("labels", []), list | tuple):
        classes = spec.shape[-1]
        if len(spec.labels) != classes:
            table.faults.add(
                table.at("labels"),
                f"{classes} labels, one per class of shape {list(spec.shape)}",
                f"{len(spec.labels) or 'no'} labels",
                "What is the name of each class, in the order of the model's outputs?",
            )


def _name(table: Table, question: str) -> str:
    name = table.text("name", question=question)
    if name and not (name.isascii() and name.isidentifier()):
        table.faults.add(table.at("name"), "letters, digits and underscores, no digit first", describe(name))
    return name


def _shape(table: Table) -> tuple[int, ...]:
    """The shape; empty where it has a fault."""
    path, expected = table.at("shape"), "a list of positive integers, without the batch dimension"
    table.numbers("shape", expected)
    if not table.has("shape") or not table.faults.clean(path):
        return ()
    shape: tuple[int, ...] = tuple(table.data["shape"])
    if not shape:
        table.faults.add(path, expected, "an empty list; write [1] for a single value")
    elif any(not isinstance(size, int) or size < 1 for size in shape):
        table.faults.add(path, expected, describe(shape))
    elif len(shape) > MAX_RANK or _product(shape) > MAX_ELEMENTS:
        table.faults.add(path, f"at most {MAX_RANK} dimensions and {MAX_ELEMENTS} elements", describe(shape))
    else:
        return shape
    return ()


def _product(shape: tuple[int, ...]) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements


def _range(table: Table, dtype: DType) -> tuple[float, float]:
    """Both limits, exact integers for integer inputs; the dtype's own where they have a fault."""
    path, expected = table.at("range"), "[smallest, largest] valid value, both finite, the smaller first"
    widest = VALUE_RANGES[dtype]
    pair = table.numbers("range", expected, question="Which values can occur on the device?")
    if not table.has("range") or not table.faults.clean(path):
        return widest
    found = describe(table.data["range"])
    low, high = pair if len(pair) == 2 else (0.0, 0.0)
    if low >= high:
        table.faults.add(path, expected, found)
        return widest
    if dtype is DType.FLOAT32:
        return low, high
    low, high = table.data["range"]
    if low < widest[0] or high > widest[1]:
        table.faults.add(path, f"within {widest[0]} to {widest[1]}, what {dtype.value} can hold", found)
    elif low != int(low) or high != int(high):
        table.faults.add(path, f"integers, as the input is {dtype.value}", found)
    else:
        return int(low), int(high)
    return widest


def _refuse_twice(names: list[str], path: str, faults: FaultCollector) -> None:
    for index, name in enumerate(names):
        if name and name in names[:index]:
            faults.add(f"{path}[{index}].name", "a name of its own", f"{name!r}, which {path}[{names.index(name)}] has")
