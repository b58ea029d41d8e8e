"""The operator set of an ONNX file: the one that the oldest ONNX Runtime of the contract reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto, inliner, version_converter

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml_runtime.contract import Budget, Contract

__all__ = ["EMITTED_OPSET", "OpsetChoice", "choose_opset", "convert_opset"]

EMITTED_OPSET = 18
"""The operator set that PyTorch's exporter writes; it gets to others by converting."""

# Release → newest operator set and IR version that it reads: onnxruntime.ai/docs/reference/compatibility.html. Every
# release reads what older ones read. It begins with the first release that has packages for Python 3.10, the oldest
# that edgeml-runtime runs on.
_READS = {
    (1, 12): (17, 8),
    (1, 13): (17, 8),
    (1, 14): (18, 8),
    (1, 15): (19, 8),
    (1, 16): (19, 9),
    (1, 17): (20, 9),
    (1, 18): (21, 10),
    (1, 19): (21, 10),
    (1, 20): (21, 10),
}
_OLDEST = min(_READS)
_COMMON_IR = min(ir_version for _, ir_version in _READS.values())

# A domain whose operators the converter passes by.
_HIDDEN = "hidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsetChoice:
    """What an ONNX file must be for a runtime to read it.

    Attributes:
        opset: Version of the operator set ``ai.onnx``.
        ir_version: Version of the file format; 8, which every release reads, unless the operator set needs a newer one.
        min_onnxruntime: The oldest ONNX Runtime that the contract names, which reads both.
    """

    opset: int
    ir_version: int
    min_onnxruntime: str


def choose_opset(contract: Contract, *, emitted: int = EMITTED_OPSET) -> OpsetChoice:
    """Choose for the oldest ONNX Runtime that a contract names.

    It is named by ``export.oldest_onnxruntime``, or by a budget that was set with an older release.

    Args:
        contract: The contract.
        emitted: Operator set of the model as it is. It is never raised: a newer runtime reads older ones too.

    Returns:
        The choice.

    Raises:
        ProjectError: The runtime is older than every one that edgeml-runtime can run on, or not a release.
    """
    release, text, path = min((_release(text, path), text, path) for path, text in _named(contract))
    if release[:2] < _OLDEST:
        raise ProjectError(
            f"edgeml.toml: {path}: expected ONNX Runtime {_OLDEST[0]}.{_OLDEST[1]} or newer, the first release with "
            f"packages for Python 3.10, which edgeml-runtime needs; found {text!r}; name a newer one"
        )
    newest_opset, newest_ir = _READS[max(known for known in _READS if known <= release[:2])]
    opset = min(emitted, newest_opset)
    needed_ir: int = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    return OpsetChoice(opset=opset, ir_version=min(max(needed_ir, _COMMON_IR), newest_ir), min_onnxruntime=text)


def convert_opset(model: ModelProto, choice: OpsetChoice) -> ModelProto:
    """Lower a model's operator set and IR version to what the runtime reads.

    Args:
        model: The model; it is not changed.
        choice: What it may be at most.

    Returns:
        A model that computes the same. Where its operator set had to be lowered, names of nodes are kept, and inferred
        shapes, denotations and metadata of nodes are gone, so describe a model after converting it.

    Raises:
        ProjectError: An operator has no counterpart in the older set.
    """
    converted = ModelProto()
    converted.CopyFrom(model)
    if _opset(model) > choice.opset:
        try:
            converted = _lowered(model, choice.opset)
        except _FAILURES as error:
            raise _explained(model, choice, error) from error
    converted.ir_version = min(model.ir_version, choice.ir_version)
    return converted


# What the converter raises, and the checks behind it.
_FAILURES = (
    RuntimeError,
    version_converter.ConvertError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)


def _named(contract: Contract) -> Iterator[tuple[str, str]]:
    """Every release that the contract names, with the key path where it stands."""
    yield "export.oldest_onnxruntime", contract.export.oldest_onnxruntime
    for budget in contract.budgets:
        if budget.backend_version is not None and _is_onnxruntime(budget):
            yield f"budgets.{budget.profile}.{budget.name.value}.backend_version", budget.backend_version


def _is_onnxruntime(budget: Budget) -> bool:
    """Whether a budget is for ONNX Runtime; one that names neither backend nor variant may be for any."""
    if budget.backend is not None:
        return budget.backend == "onnxruntime"
    return budget.variant is not None and budget.variant.partition("-")[0] in ("onnx", "ort")


def _release(text: str, path: str) -> tuple[int, ...]:
    """The numbers that a release begins with; ``1.15`` is the same as ``1.15.0``."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise ProjectError(
            f"edgeml.toml: {path}: expected a release of ONNX Runtime, such as '1.15'; found {text!r:.60}"
        )
    return tuple(int(number or 0) for number in found.groups())


def _opset(model: ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _lowered(model: ModelProto, opset: int) -> ModelProto:
    """Convert and check; the converter knows no functions, and leaves attributes that the older set does not have."""
    flat = inliner.inline_local_functions(model) if model.functions else model
    lowered: ModelProto = version_converter.convert_version(flat, opset)
    del lowered.graph.value_info[:]
    onnx.checker.check_model(lowered, full_check=True)
    return lowered


def _explained(model: ModelProto, choice: OpsetChoice, error: Exception) -> ProjectError:
    operators = _obstacles(model, choice.opset)
    names = ", ".join(operators) or "an operator"
    first = next((release for release, (opset, _) in _READS.items() if opset >= _opset(model)), None)
    newer = "a newer one" if first is None else f"{first[0]}.{first[1]} or newer"
    return ProjectError(
        f"ONNX Runtime {choice.min_onnxruntime}, the oldest that the contract names, reads operator set {choice.opset} "
        f"at most, and {names} as the model uses it needs {_opset(model)}; name {newer} in export.oldest_onnxruntime "
        f"(or the budget's backend_version), or write the model without it ({str(error).strip().splitlines()[-1]:.160})"
    )


def _obstacles(model: ModelProto, opset: int) -> list[str]:
    """The operators that cannot be lowered: those with which the conversion fails though all others are hidden."""
    operators = {node.op_type for node in model.graph.node if node.domain == ""}
    changed = {name for name in operators if onnx.defs.get_schema(name, _opset(model)).since_version > opset}
    return sorted(name for name in changed if not _lowers(model, opset, hiding=changed - {name}))


def _lowers(model: ModelProto, opset: int, *, hiding: set[str]) -> bool:
    partly = ModelProto()
    partly.CopyFrom(model)
    partly.opset_import.append(onnx.helper.make_opsetid(_HIDDEN, 1))
    for node in partly.graph.node:
        if node.op_type in hiding:
            node.domain = _HIDDEN
    try:
        _lowered(partly, opset)
    except _FAILURES:
        return False
    return True
