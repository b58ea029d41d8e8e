"""The inputs and outputs of a contract, read from tables; also what a bundle's manifest is read with at load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeml_runtime.fields import FaultCollector, Table, describe, is_number
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_ELEMENTS", "VALUE_RANGES", "input_to_dict", "output_to_dict", "parse_inputs", "parse_outputs"]

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
_SOURCE_QUESTION = "Where does this value come from on the device at inference time?"


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
    low, high = spec.range
    if spec.dtype is not DType.FLOAT32:
        low, high = int(low), int(high)
    table: dict[str, Any] = {
        "name": spec.name,
        "dtype": spec.dtype.value,
        "shape": list(spec.shape),
        "range": [low, high],
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
    dtype = table.member("dtype", DType)
    spec = InputSpec(
        name=_name(table),
        dtype=dtype,
        shape=_shape(table),
        range=_range(table, dtype),
        unit=table.text("unit", question="In which unit or encoding does the value come?"),
        source=table.text("source", question=_SOURCE_QUESTION),
        loader=_parse_loader(table.table("loader")) if table.has("loader") else None,
        allow_missing=table.boolean("allow_missing", False),
    )
    if spec.allow_missing and table.data.get("dtype") == dtype.value != DType.FLOAT32.value:
        table.faults.add(
            table.at("allow_missing"),
            "false, because only float32 holds NaN for a missing value",
            f"true for {dtype.value}",
        )
    table.refuse_unknown()
    return spec


def _parse_loader(table: Table) -> LoaderSpec:
    name = table.text("name", question="Which loader decodes the files: wav or image?")
    version = table.integer("version", low=1, high=1_000_000)
    options = {key: value for key, value in table.data.items() if key not in ("name", "version")}
    for key, value in options.items():
        if not isinstance(value, str | bool) and not is_number(value):
            table.faults.add(table.at(key), "a string, a number, true or false", describe(value))
    return LoaderSpec(name=name, version=version, options=options)


def _parse_output(table: Table) -> OutputSpec:
    spec = OutputSpec(
        name=_name(table),
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
    scores = spec.role is OutputRole.SCORES
    if spec.labels and not scores:
        table.faults.add(
            table.at("labels"), 'labels only where role = "scores"', f"labels with role {spec.role.value!r}"
        )
    elif scores and "role" in table.data and spec.shape and len(spec.labels) != spec.shape[-1]:
        table.faults.add(
            table.at("labels"),
            f"{spec.shape[-1]} labels, one per class of shape {list(spec.shape)}",
            f"{len(spec.labels)} labels",
            "What is the name of each class, in the order of the model's outputs?",
        )


def _name(table: Table) -> str:
    name = table.text("name")
    if name and not (name.isascii() and name.isidentifier()):
        table.faults.add(table.at("name"), "letters, digits and underscores, no digit first", describe(name))
    return name


def _shape(table: Table) -> tuple[int, ...]:
    expected = "a list of positive integers, without the batch dimension"
    sizes = table.numbers("shape", expected)
    if not table.has("shape") or not isinstance(table.data["shape"], list | tuple) or not sizes:
        if table.has("shape") and table.data["shape"] in ([], ()):
            table.faults.add(table.at("shape"), expected, "an empty list; write [1] for a single value")
        return ()
    if any(
        size < 1 or size != int(size) or isinstance(raw, float)
        for size, raw in zip(sizes, table.data["shape"], strict=True)
    ):
        table.faults.add(table.at("shape"), expected, describe(table.data["shape"]))
        return ()
    shape = tuple(int(size) for size in sizes)
    elements = 1
    for size in shape:
        elements *= size
    if len(shape) > MAX_RANK or elements > MAX_ELEMENTS:
        table.faults.add(
            table.at("shape"), f"at most {MAX_RANK} dimensions and {MAX_ELEMENTS} elements", describe(list(shape))
        )
        return ()
    return shape


def _range(table: Table, dtype: DType) -> tuple[float, float]:
    expected = "[smallest, largest] valid value, the smaller first"
    pair = table.numbers("range", expected)
    widest = VALUE_RANGES[dtype]
    if len(pair) != 2:
        if pair or (table.has("range") and table.data["range"] in ([], ())):
            table.faults.add(table.at("range"), expected, describe(table.data["range"]))
        return widest
    low, high = pair
    known = table.data.get("dtype") == dtype.value  # otherwise dtype is a stand-in, which must not be judged by
    if low >= high:
        table.faults.add(table.at("range"), expected, describe(table.data["range"]))
    elif known and (low < float(widest[0]) or high > float(widest[1])):
        limits = f"within {widest[0]:g} to {widest[1]:g}, what {dtype.value} can hold"
        table.faults.add(table.at("range"), limits, describe(table.data["range"]))
    elif known and dtype is not DType.FLOAT32 and (low != int(low) or high != int(high)):
        table.faults.add(table.at("range"), f"integers, as the input is {dtype.value}", describe(table.data["range"]))
    return low, high


def _refuse_twice(names: list[str], path: str, faults: FaultCollector) -> None:
    for index, name in enumerate(names):
        if name and name in names[:index]:
            faults.add(f"{path}[{index}].name", "a name of its own", f"{name!r}, which {path}[{names.index(name)}] has")
