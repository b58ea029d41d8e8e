"""What goes into a model and what comes out: the tensors of the contract.

This module is imported by every application that loads a bundle, so it holds only what a prediction needs; the rest of
the contract stands in :mod:`edgeml_runtime.contract`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DType", "InputSpec", "LoaderSpec", "OutputRole", "OutputSpec"]


class DType(Enum):
    """Element types of tensors, by their numpy name."""

    UINT8 = "uint8"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"


class OutputRole(Enum):
    """What an output means."""

    LOGITS = "logits"
    SCORES = "scores"
    VALUE = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSpec:
    """The decoder that turns a file into the input tensor.

    Attributes:
        name: A key of ``edgeml_runtime.loaders.LOADERS``.
        version: The loader's version; another version may give other tensors.
        options: The loader's own options, such as ``sample_rate_hz``.
    """

    name: str
    version: int
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of the model.

    Attributes:
        name: The name callers pass it by.
        dtype: Element type.
        shape: Fixed shape of one item, without the batch dimension.
        range: Smallest and largest valid value, both inclusive.
        unit: Physical unit or encoding, such as ``"PCM sample"`` or ``"kPa"``.
        source: Where the value comes from at inference time, such as ``"microphone"``.
        loader: How to decode it from a file, or None where there are no files.
        allow_missing: Whether NaN stands for a missing value (float inputs only).
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    range: tuple[float, float]
    unit: str
    source: str
    loader: LoaderSpec | None = None
    allow_missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output of the model.

    Attributes:
        name: The output's name in ``Result.outputs``.
        dtype: Element type.
        shape: Fixed shape of one item, without the batch dimension.
        role: What the output means; ``scores`` carries the labels.
        labels: One name per class along the last axis; empty where the role is not ``scores``.
        unit: Physical unit of a value, empty for logits and scores.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    role: OutputRole
    labels: tuple[str, ...] = ()
    unit: str = ""
