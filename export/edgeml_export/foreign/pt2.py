"""A program of ``torch.export`` goes through the whole export, as a fused model of our own does."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram, UnflattenedModule
from torch.utils import _pytree as pytree

from edgeml_evaluate import LabelledData
from edgeml_export.export import export_bundle
from edgeml_export.foreign.facts import ForeignTensor
from edgeml_export.foreign.file import ForeignKind
from edgeml_export.foreign.items import noise
from edgeml_export.foreign.mapping import map_tensors
from edgeml_export.foreign.pt2_archive import clean_pt2
from edgeml_export.foreign.report import ForeignReport
from edgeml_export.quiet import quiet
from edgeml_export.scheme import variant_spec
from edgeml_runtime.canonical import sha256_hex
from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeml_export.export import ExportOptions
    from edgeml_export.foreign.data import ForeignData
    from edgeml_export.foreign.file import ForeignFile, ForeignLimits
    from edgeml_export.foreign.mapping import TensorMapping
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.progress import Progress

__all__ = ["ProgramModule", "export_program", "load_program"]


class ProgramModule(UnflattenedModule):
    """A program as a fused model: the contract's inputs by position, a mapping from output name to tensor.

    Its modules have the paths they had when it was exported, so that ``export.float_scopes`` finds them.

    Args:
        program: The program.
        contract: Gives the order of the tensors.
        mapping: The contract's tensors in the program, by their positions.
    """

    def __init__(self, program: ExportedProgram, contract: Contract, mapping: TensorMapping) -> None:
        with quiet(streams=False):  # it copies specifications in a way that PyTorch itself warns of
            super().__init__(program)
        self._made_of = (program, contract, mapping)
        order = [mapping.inputs[spec.name].index for spec in contract.inputs]
        self._places = [order.index(position) for position in range(len(order))]
        self._named = {spec.name: mapping.outputs[spec.name].index for spec in contract.outputs}
        self._in_spec = program.call_spec.in_spec

    def __deepcopy__(self, memo: dict[int, Any]) -> ProgramModule:
        """A module of its own weights: the symbolic sizes of an open batch in its graph cannot be copied."""
        return ProgramModule(*self._made_of)

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """All outputs of the contract, [b, *shape] each, for a batch [b, *shape] of every input."""
        args, kwargs = pytree.tree_unflatten([inputs[place] for place in self._places], self._in_spec)
        results, _ = pytree.tree_flatten(super().forward(*args, **kwargs))  # type: ignore[no-untyped-call]
        return {name: results[position] for name, position in self._named.items()}


def export_program(
    file: ForeignFile,
    *,
    contract: Contract,
    out: Path,
    data: ForeignData | None,
    options: ExportOptions | None,
    limits: ForeignLimits,
    progress: Progress,
) -> ForeignReport:
    """Export a program in all variants of the contract.

    Args:
        file: The archive.
        contract: The contract.
        out: Path of the bundle; its folder exists.
        data: Labelled items, and calibration items where a variant has activations of integers.
        options: How to export.
        limits: What is taken from the file.
        progress: Told about every step.

    Returns:
        What became of every variant.

    Raises:
        ProjectError: It cannot be loaded safely, does not fit the contract, or items are missing.
    """
    if data is None:
        raise ProjectError(
            "a program is converted into new variants, and what each of them loses shows on labelled items alone: give "
            "--data; --unscored is for .onnx and .tflite, which are wrapped as they are"
        )
    program = load_program(file.content, limits)
    mapping = map_tensors(contract, _inputs(program), _outputs(program), ForeignKind.PT2)
    report = export_bundle(
        ProgramModule(program, contract, mapping),
        contract=contract,
        calibration=_calibration(contract, data),
        test=data.test,
        validation=data.validation,
        out=out,
        options=options,
        card=_card(contract, file.content),
        progress=progress,
    )
    return ForeignReport.of_program(file.name, file.kind, report, mapping.notes)


def load_program(content: bytes, limits: ForeignLimits) -> ExportedProgram:
    """Load a program, of which nothing is unpickled or evaluated.

    Args:
        content: An archive of ``torch.export.save``.
        limits: How large it may be.

    Returns:
        The program, in evaluation mode.

    Raises:
        ProjectError: It is damaged, cannot be loaded safely, or changes its own weights.
    """
    clean = clean_pt2(content, limits)
    try:
        with quiet():
            program = torch.export.load(io.BytesIO(clean))
            # Only the functional form lists what is written to in place.
            signature = program.run_decompositions({}).graph_signature
    except Exception as error:  # the loader raises many kinds for graphs that contradict themselves
        raise ProjectError(
            f"PyTorch {torch.__version__} cannot load the program ({type(error).__name__}: {str(error)[:300]}); export "
            "and save it again with this PyTorch"
        ) from error
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        changed = ", ".join([*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()][:3])
        raise ProjectError(
            f"expected a program that changes nothing, found one that writes to {changed}; call model.eval() before "
            "torch.export.export, and keep no state between runs"
        )
    return program


def _inputs(program: ExportedProgram) -> list[ForeignTensor]:
    names = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return [_tensor(node.name, node.meta.get("val"), index) for index, node in enumerate(nodes)]


def _outputs(program: ExportedProgram) -> list[ForeignTensor]:
    """Outputs by the keys of the dictionary that the model returned, else by the program's own names."""
    nodes = {node.name: node for node in program.graph.nodes}
    found = [str(name) for name in program.graph_signature.user_outputs]
    spec = program.call_spec.out_spec
    names: Sequence[str] = found
    if spec is not None and spec.type is dict and len(spec.context) == len(found):
        names = [str(key) for key in spec.context]
    return [
        _tensor(name, nodes[theirs].meta.get("val") if theirs in nodes else None, index)
        for index, (name, theirs) in enumerate(zip(names, found, strict=True))
    ]


def _tensor(name: str, value: Any, index: int) -> ForeignTensor:
    if not isinstance(value, torch.Tensor):
        raise ProjectError(f"expected tensors as inputs and outputs, found {name!r}, which is {type(value).__name__}")
    shape = tuple(int(size) if isinstance(size, int) else str(size) for size in value.shape)
    return ForeignTensor(name=name, dtype=str(value.dtype).removeprefix("torch."), shape=shape, index=index)


def _calibration(contract: Contract, data: ForeignData) -> LabelledData:
    """Items that set ranges; where no variant has any, noise serves as the example that is traced."""
    if data.calibration is not None:
        return data.calibration
    needing = [text for text in contract.export.variants if variant_spec(text).precision.is_static]
    if needing:
        names = ", ".join(f"calibration.{spec.name}" for spec in contract.inputs)
        raise ProjectError(
            f"{', '.join(needing)}: ranges of integers are set by items of the training data, never by test items: put "
            f"the arrays {names} into the file of --data, or take these variants out of export.variants"
        )
    inputs = noise(contract)
    return LabelledData(inputs=inputs, targets=torch.zeros(len(next(iter(inputs.values()))), dtype=torch.int64).numpy())


def _card(contract: Contract, content: bytes) -> str:
    origin = (
        f"Exported from a PyTorch program that was made elsewhere: {len(content)} bytes, sha256 "
        f"`{sha256_hex(content)}`. How it was trained is not known here."
    )
    parts = [f"# {contract.name} {contract.version}", *([contract.description] if contract.description else []), origin]
    return "\n\n".join(parts) + "\n"
