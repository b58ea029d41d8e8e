"""Inputs and outputs of a contract in words, for the metadata of model files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from edgeml_runtime.tensors import InputSpec, OutputSpec

__all__ = ["describe_input", "describe_output"]


def describe_input(spec: InputSpec) -> str:
    """An input in one line, such as ``PCM sample from microphone, -32768 to 32767``.

    Args:
        spec: The input.

    Returns:
        Unit, source and range.
    """
    low, high = map(_number, spec.range)
    missing = "; NaN where missing" if spec.allow_missing else ""
    return f"{spec.unit} from {spec.source}, {low} to {high}{missing}"


def describe_output(spec: OutputSpec, target: str) -> str:
    """An output in one line, such as ``score of each digit``.

    Args:
        spec: The output.
        target: Name of what is predicted.

    Returns:
        What it is, with the unit of a value.
    """
    if spec.role is OutputRole.SCORES:
        return f"score of each {target}"
    if spec.role is OutputRole.LOGITS:
        return f"logit of each {target}"
    return f"{target} in {spec.unit}" if spec.unit else target


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
