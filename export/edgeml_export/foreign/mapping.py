"""Which tensor of a foreign file is which input or output of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeml_export.foreign.file import ForeignKind
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.manifest import InputEncoding
from edgeml_runtime.tensors import DType, InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeml_export.foreign.facts import ForeignTensor, Quantization
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.tensors import OutputSpec

    Spec = InputSpec | OutputSpec
    Fault = Callable[[Spec, ForeignTensor], str | None]

__all__ = ["TensorMapping", "map_tensors"]

_INTEGERS = frozenset({"int8", "uint8", "int16"})
# Where the pixel 0 lies in an int8 tensor that takes p - 128: at the zero point where zero is black; in the middle, at
# 0 or at -1 by rounding, where zero is grey.
_PIXEL_ZERO_POINTS = frozenset({-128, -1, 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMapping:
    """A contract's tensors in a file.

    Attributes:
        inputs: Contract input name → the tensor of the file.
        outputs: Contract output name → the tensor of the file.
        encodings: Contract input name → how the file encodes it, where it does.
        dequantized: Contract outputs that are float32 and are integers with a scale in the file.
        notes: What was matched by position rather than by name.
    """

    inputs: Mapping[str, ForeignTensor]
    outputs: Mapping[str, ForeignTensor]
    encodings: Mapping[str, InputEncoding] = field(default_factory=dict)
    dequantized: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def map_tensors(
    contract: Contract,
    found_inputs: Sequence[ForeignTensor],
    found_outputs: Sequence[ForeignTensor],
    kind: ForeignKind,
) -> TensorMapping:
    """Match by equal name, and what is left by position.

    Args:
        contract: The contract.
        found_inputs: Inputs of the file, in its order.
        found_outputs: Outputs of the file, in its order.
        kind: What it is.

    Returns:
        A mapping in which every shape and dtype fits.

    Raises:
        ProjectError: None fits; the message lists both sides and says what is wrong first.
    """
    names = {ForeignKind.ONNX: "ONNX", ForeignKind.TFLITE: "TFLite", ForeignKind.PT2: "PyTorch"}

    def input_fault(spec: Spec, tensor: ForeignTensor) -> str | None:
        return _open_fault(tensor, kind) or _shape_fault(spec, tensor, kind) or _input_dtype_fault(spec, tensor)

    def output_fault(spec: Spec, tensor: ForeignTensor) -> str | None:
        return _shape_fault(spec, tensor, kind) or _output_dtype_fault(spec, tensor, names[kind])

    inputs, input_notes = _match("input", contract.inputs, found_inputs, input_fault)
    outputs, output_notes = _match("output", contract.outputs, found_outputs, output_fault)
    encoded = [spec.name for spec in contract.inputs if inputs[spec.name].dtype != spec.dtype.value]
    return TensorMapping(
        inputs=inputs,
        outputs=outputs,
        encodings=dict.fromkeys(encoded, InputEncoding.OFFSET_BINARY),
        dequantized=tuple(s.name for s in contract.outputs if outputs[s.name].dtype != s.dtype.value),
        notes=(*input_notes, *output_notes),
    )


def _match(
    what: str, specs: Sequence[Spec], tensors: Sequence[ForeignTensor], fault: Fault
) -> tuple[dict[str, ForeignTensor], list[str]]:
    by_name = {tensor.name: tensor for tensor in tensors}
    found = {spec.name: by_name[spec.name] for spec in specs if spec.name in by_name}
    rest = [spec for spec in specs if spec.name not in found]
    left = [tensor for tensor in tensors if tensor.name not in found]
    # An input left over is one that nothing feeds; an output left over is one that nobody asked for.
    if len(rest) != len(left) and (rest or what == "input"):
        raise _unfit(what, specs, tensors, f"expected {len(specs)} {what}s, found {len(tensors)}")
    by_position = dict(zip((spec.name for spec in rest), left, strict=False))
    for spec in specs:
        tensor = found.get(spec.name) or by_position[spec.name]
        if reason := fault(spec, tensor):
            raise _unfit(what, specs, tensors, f"{what} {spec.name!r}: {reason}")
    notes = [f"{what} {name} is {tensor} of the file, by position" for name, tensor in by_position.items()]
    return {spec.name: found.get(spec.name) or by_position[spec.name] for spec in specs}, notes


def _open_fault(tensor: ForeignTensor, kind: ForeignKind) -> str | None:
    """Why an input is left open where it must not be. Outputs follow from the inputs, and are seen when it runs."""
    for axis, size in enumerate(tensor.shape):
        if isinstance(size, str) and axis > 0:
            named = f" ({size!r})" if size != "?" else ""
            return (
                f"expected every dimension but the batch to be fixed, found dimension {axis}{named} of {tensor.name!r} "
                f"left open; {_FIX[kind]}"
            )
    return None


def _shape_fault(spec: Spec, tensor: ForeignTensor, kind: ForeignKind) -> str | None:
    wanted, found = (1, *spec.shape), tensor.shape
    if len(found) != len(wanted) or any(
        size != want and not isinstance(size, str) for size, want in zip(found[1:], wanted[1:], strict=True)
    ):
        return f"expected the shape {list(wanted)} with the batch dimension, found {tensor}{_shape_hint(spec, tensor)}"
    if found[0] != 1 and not isinstance(found[0], str):
        return f"expected a batch of one or an open one, found a batch of {found[0]}; {_FIX[kind]}"
    return None


_FIX = {
    ForeignKind.ONNX: "fix it with python -m onnxruntime.tools.make_dynamic_shape_fixed",
    ForeignKind.TFLITE: "convert the model again with a fixed shape and a batch of one",
    ForeignKind.PT2: "export the program again with a batch of one or an open one, and no other open dimension",
}


def _shape_hint(spec: Spec, tensor: ForeignTensor) -> str:
    shape = tensor.shape[1:]
    if len(shape) == 3 and tuple(spec.shape) == (*shape[1:], shape[0]):
        return ": its channels come first, so state the shape as the file has it"
    if not isinstance(spec, InputSpec) and spec.shape == (1,) and len(shape) == 1:
        return (
            ": a contract of regression is for one number; let the model itself compute it, such as the error of a "
            "reconstruction from input and output"
        )
    return ""


def _input_dtype_fault(spec: Spec, tensor: ForeignTensor) -> str | None:
    if tensor.dtype == spec.dtype.value:
        return None
    if spec.dtype is DType.UINT8 and tensor.dtype == "int8":
        return _pixel_fault(tensor.quantization)
    known = [dtype.value for dtype in DType]
    hint = f"state dtype = {tensor.dtype!r}" if tensor.dtype in known else f"a contract knows {', '.join(known)}"
    if tensor.dtype == "float16":
        hint = "convert the model so that its inputs and outputs stay float32 (keep_io_types)"
    return f"expected {spec.dtype.value}, found {tensor}; {hint}"


def _pixel_fault(quantization: Quantization | None) -> str | None:
    if quantization is not None and quantization.zero_point in _PIXEL_ZERO_POINTS:
        return None
    found = "no scale" if quantization is None else f"zero point {quantization.zero_point}"
    return (
        f"uint8 over an int8 tensor means p - 128, which fits zero points {sorted(_PIXEL_ZERO_POINTS)} alone, found "
        f"{found}; state dtype = 'int8' and quantize before the model"
    )


def _output_dtype_fault(spec: Spec, tensor: ForeignTensor, name: str) -> str | None:
    if tensor.dtype == spec.dtype.value:
        return None
    if spec.dtype is DType.FLOAT32 and tensor.dtype in _INTEGERS and tensor.quantization is not None:
        return None
    hint = "convert the model with float32 outputs"
    if tensor.dtype in _INTEGERS:
        hint = f"{name} does not say what its integers mean; let the model turn them into float32 itself"
    return f"expected {spec.dtype.value}, found {tensor}; {hint}"


def _unfit(what: str, specs: Sequence[Spec], tensors: Sequence[ForeignTensor], reason: str) -> ProjectError:
    ours = "\n".join(f"    {s.name!r} {s.dtype.value}[{', '.join(map(str, (1, *s.shape)))}]" for s in specs)
    theirs = "\n".join(f"    {tensor}" for tensor in tensors)
    return ProjectError(
        f"the {what}s of the contract and of the file do not fit: {reason}\n"
        f"  edgeml.toml:\n{ours}\n  the file:\n{theirs}"
    )
