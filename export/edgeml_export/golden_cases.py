"""Golden vectors: which test items travel in the bundle, and how far a device's answers may lie from ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_export.scheme import Precision
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_runtime.errors import InputError, ProjectError
from edgeml_runtime.golden import GoldenCase, GoldenSet
from edgeml_runtime.loaders import load_tensor
from edgeml_runtime.tensors import OutputRole

if TYPE_CHECKING:
    from edgeml_evaluate import LabelledData
    from edgeml_export.scheme import VariantSpec

__all__ = ["Golden", "choose_items", "golden_cases", "tolerances"]

Outputs = Mapping[str, NDArray[Any]]

_MIN_CASES = 8
_MAX_CLASSES = 32
_FP32_SHARE_OF_STD = 1e-3
_INT8_STEPS = 4
_SMALLEST = 1e-6
_INTEGERS = frozenset({Precision.INT8, Precision.INT8_DYNAMIC, Precision.INT16X8})


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Golden vectors with their encoded files.

    Attributes:
        cases: The vectors.
        files: File name → content, as :func:`edgeml_runtime.golden.golden_members` takes them.
    """

    cases: GoldenSet
    files: dict[str, bytes]


def choose_items(contract: Contract, test: LabelledData, files: Mapping[int, str]) -> list[int]:
    """Choose test items: the first of every class (up to 32 classes), then spread evenly up to eight.

    Args:
        contract: The contract.
        test: The test split.
        files: Test item → the encoded file it was decoded from; one such item is added when none is among the chosen.

    Returns:
        Positions in the test split, ascending, each once.
    """
    chosen: list[int] = []
    if contract.target.kind is TargetKind.CLASSIFICATION:
        _, first = np.unique(test.targets, return_index=True)
        picks = np.unique(np.linspace(0, len(first) - 1, min(len(first), _MAX_CLASSES)).astype(int))
        chosen = [int(first[pick]) for pick in picks]
    spread = np.unique(np.linspace(0, len(test) - 1, min(len(test), 4 * _MIN_CASES)).astype(int))
    rest = [int(index) for index in _interleaved(spread) if int(index) not in chosen]
    chosen += rest[: max(0, _MIN_CASES - len(chosen))]
    usable = [index for index in sorted(files) if 0 <= index < len(test)]
    if usable and not set(usable).intersection(chosen):
        chosen.append(usable[0])
    return sorted(chosen)


def golden_cases(
    contract: Contract,
    test: LabelledData,
    files: Mapping[int, str],
    outputs: Mapping[str, Outputs],
    specs: Mapping[str, VariantSpec],
) -> Golden:
    """Build the golden vectors.

    Args:
        contract: The contract.
        test: The test split.
        files: Test item → the encoded file it was decoded from.
        outputs: Shipped variant → contract output name → what it gave for the test split, [n, *shape].
        specs: Shipped variant → what it is.

    Returns:
        The vectors; one of them has an encoded file where ``files`` names one and an input has a loader.

    Raises:
        ProjectError: When the encoded file cannot be read, or the contract's loader makes another tensor of it than
            the test split holds.
    """
    chosen = choose_items(contract, test, files)
    with_file = next((index for index in chosen if index in files), None)
    loadable = next((spec for spec in contract.inputs if spec.loader is not None), None)
    encoded: dict[str, bytes] = {}
    cases = []
    for number, index in enumerate(chosen):
        file = None
        if index == with_file and loadable is not None:
            file, content = _encoded(loadable, test.inputs[loadable.name][index], files[index])
            encoded[file] = content
        cases.append(
            GoldenCase(
                name=f"case-{number:02d}",
                inputs={spec.name: np.array(test.inputs[spec.name][index]) for spec in contract.inputs},
                expected={
                    variant: {name: np.array(values[index]) for name, values in found.items()}
                    for variant, found in outputs.items()
                },
                file=file,
                file_input=loadable.name if file and loadable is not None else None,
            )
        )
    allowed = {variant: tolerances(contract, found, specs[variant].precision) for variant, found in outputs.items()}
    return Golden(cases=GoldenSet(cases=tuple(cases), tolerances=allowed), files=encoded)


def tolerances(contract: Contract, outputs: Outputs, precision: Precision) -> dict[str, float]:
    """How far the same file may be off on another CPU or with another release of the backend.

    Float sums: kernels add in other orders; 0.001 of the output's standard deviation is far above that and far
    below an error that matters. Integers: kernels round the same sum to one step up or down, and a few layers pass
    that on; four steps of the output's range in 8 bits. Scores are the softmax of the logits: when every logit is
    off by at most d, no score is off by more than tanh(d / 2).

    Args:
        contract: The contract.
        outputs: Contract output name → what the variant gave for the test split, [n, *shape].
        precision: Of the variant.

    Returns:
        Contract output name → absolute tolerance, in the output's unit.
    """
    allowed = {}
    for name, values in outputs.items():
        wide = values.astype(np.float64)
        margin = (
            _INT8_STEPS * float(np.ptp(wide)) / 255
            if precision in _INTEGERS
            else _FP32_SHARE_OF_STD * float(wide.std())
        )
        allowed[name] = max(margin, _SMALLEST * max(1.0, float(np.abs(wide).max())))
    logits = next((spec.name for spec in contract.outputs if spec.role is OutputRole.LOGITS), None)
    for spec in contract.outputs:
        if spec.role is OutputRole.SCORES and logits is not None:
            allowed[spec.name] = max(math.tanh(allowed[logits] / 2), _SMALLEST)
    return allowed


def _interleaved(values: NDArray[Any]) -> list[int]:
    """The same values, so ordered that every beginning of the list is spread over the whole range."""
    bits = max(1, int(len(values) - 1).bit_length())
    order = sorted(range(len(values)), key=lambda index: int(f"{index:0{bits}b}"[::-1], 2))
    return [int(values[index]) for index in order]


def _encoded(spec: Any, item: NDArray[Any], path: str) -> tuple[str, bytes]:
    """The content of an encoded file, after checking that the loader makes the test item of it."""
    try:
        content = Path(path).read_bytes()
        decoded = load_tensor(spec, content)
    except (OSError, InputError) as error:
        raise ProjectError(f"export: {path}: cannot be used as the file of a test item: {error}") from error
    if not np.array_equal(decoded, item, equal_nan=decoded.dtype.kind == "f"):
        raise ProjectError(
            f"export: {path}: the loader {spec.loader.name!r} of input {spec.name!r} makes another tensor of this file "
            "than the test split holds; let the task load its items with edgeml_runtime.loaders.load_tensor, or name "
            "no files"
        )
    return Path(path).name, content
