"""The fused model made ready for export: a copy in evaluation mode, checked against the contract."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeml_export.calibration_checks import check_calibration
from edgeml_export.label_checks import check_items
from edgeml_export.scopes import ModuleScopes
from edgeml_export.steadiness import refuse_unsteady
from edgeml_runtime.errors import EdgemlError, ProjectError
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_evaluate import LabelledData
    from edgeml_runtime.contract import Contract

__all__ = ["Positional", "Prepared", "prepare", "refuse_unbounded_outputs", "run_eager"]

Array = NDArray[Any]

_BATCH = 32


class Positional(nn.Module):
    """The fused model behind positional inputs and outputs, both in the contract's order.

    Args:
        model: The fused model: inputs in the contract's order → mapping from output name to tensor.
        outputs: Output names in the contract's order.
    """

    def __init__(self, model: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """All outputs of the contract, [b, *shape] each, for a batch [b, *shape] of every input."""
        results = self.model(*inputs)
        return tuple(results[name] for name in self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What converters work on.

    Attributes:
        module: A copy of the user's model on the CPU, in evaluation mode; the user's own is never touched.
        example: One item [1, *shape] of every input, for tracing.
        contract: The contract.
        scopes: Module paths of the model.
        batch: How many items the module takes at once.
    """

    module: Positional
    example: tuple[Tensor, ...]
    contract: Contract
    scopes: ModuleScopes
    batch: int

    @property
    def input_names(self) -> tuple[str, ...]:
        """Input names in the contract's order."""
        return tuple(spec.name for spec in self.contract.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Output names in the contract's order."""
        return self.module.outputs


def prepare(
    fused: nn.Module,
    contract: Contract,
    calibration: LabelledData,
    test: LabelledData,
    validation: LabelledData | None = None,
) -> Prepared:
    """Copy the fused model and check that it is what the contract says.

    Args:
        fused: Takes the contract's inputs [b, *shape] by position, returns a mapping from output name to tensor.
        contract: The contract.
        calibration: Items of the training split; the first one is the example for tracing.
        test: The test split, whose items and targets are held against the contract.
        validation: The validation split, likewise, where there is one.

    Returns:
        The copy with all that converters need.

    Raises:
        ProjectError: Items or targets do not fit the contract, a weight is NaN or infinite, an output is missing or of
            another shape or dtype, a float scope does not exist, the model fails on an item, or it gives another answer
            when asked again or in company.
    """
    check_calibration(contract, calibration)
    for split, items in (("test", test), ("validation", validation)):
        if items is not None:
            check_items(contract, items, split)
    copied = copy.deepcopy(fused).cpu().requires_grad_(False)
    _check_weights(copied)
    module = Positional(copied, tuple(spec.name for spec in contract.outputs)).eval()
    scopes = ModuleScopes.of(module, contract.export.float_scopes)
    few = [_tensors(calibration.inputs, contract, slice(index, index + 1)) for index in range(len(calibration))[:2]]
    _check_outputs(module, few[0], contract)
    refuse_unsteady(module.model, few)
    return Prepared(
        module=module,
        example=few[0],
        contract=contract,
        scopes=scopes,
        batch=_BATCH if _takes_batches(module, few, contract) else 1,
    )


def run_eager(
    prepared: Prepared, inputs: Mapping[str, Array], progress: Progress = silent, *, step: str = "eager"
) -> dict[str, Array]:
    """What PyTorch itself makes of many items.

    Args:
        prepared: The model.
        inputs: Contract input name → [n, *shape].
        progress: Told about every batch.
        step: What to call this in the progress.

    Returns:
        Contract output name → [n, *shape].

    Raises:
        ProjectError: The model fails on an item.
    """
    total = len(next(iter(inputs.values())))
    parts: list[tuple[Tensor, ...]] = []
    with torch.inference_mode():
        for start in range(0, total, prepared.batch):
            items = slice(start, min(total, start + prepared.batch))
            try:
                parts.append(prepared.module(*_tensors(inputs, prepared.contract, items)))
            except Exception as error:  # the user's own code runs here
                raise ProjectError(
                    f"export: the model fails on the items {items.start} to {items.stop - 1} ({step}): "
                    f"{type(error).__name__}: {error}; it has to take every item that fits the contract"
                ) from error
            progress(ProgressEvent(step=step, done=items.stop, total=total))
    columns = zip(prepared.output_names, zip(*parts, strict=True), strict=True)
    return {name: np.concatenate([part.numpy() for part in column]) for name, column in columns}


def refuse_unbounded_outputs(outputs: Mapping[str, Array], split: str) -> None:
    """Refuse a model that gives NaN or infinity.

    Args:
        outputs: Contract output name → what PyTorch gave, [n, *shape].
        split: What to call the items in a message.

    Raises:
        ProjectError: When it does.
    """
    for name, values in outputs.items():
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            raise ProjectError(
                f"export: the model gives NaN or infinity in output {name!r} for the {split} item {int(bad[0][0])}; "
                "bound what it divides by, takes the logarithm of or raises to a power"
            )


def _tensors(inputs: Mapping[str, Array], contract: Contract, items: slice) -> tuple[Tensor, ...]:
    """Copies, because PyTorch warns about arrays that cannot be written."""
    return tuple(torch.from_numpy(np.array(inputs[spec.name][items], order="C")) for spec in contract.inputs)


def _check_weights(model: nn.Module) -> None:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    bad = [name for name, tensor in tensors if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise ProjectError(
            f"export: expected finite weights, found NaN or infinity in {', '.join(bad[:3])}{more}; the training has "
            "diverged: lower the learning rate or look for NaN in the data, and train again"
        )


def _check_outputs(module: Positional, example: tuple[Tensor, ...], contract: Contract) -> None:
    shapes = ", ".join(
        f"{spec.name}: {spec.dtype.value}[1, {', '.join(map(str, spec.shape))}]" for spec in contract.inputs
    )
    try:
        with torch.inference_mode():
            results = module.model(*example)
    except EdgemlError:
        raise
    except Exception as error:  # the user's own code runs here
        raise ProjectError(
            f"export: the model fails on one item of {shapes}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(results, Mapping):
        raise ProjectError(f"export: expected a mapping from output name to tensor, found {type(results).__name__}")
    for spec in contract.outputs:
        if not isinstance(results.get(spec.name), Tensor):
            raise ProjectError(f"export: the model gives no output {spec.name!r}, only {', '.join(map(str, results))}")
        tensor = results[spec.name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype != spec.dtype.value or tuple(tensor.shape) != (1, *spec.shape):
            raise ProjectError(
                f"export: output {spec.name!r}: expected {spec.dtype.value}{[1, *spec.shape]} for one item, "
                f"found {dtype}{list(tensor.shape)}; correct the model or edgeml.toml"
            )
        if not torch.isfinite(tensor).all():
            raise ProjectError(f"export: output {spec.name!r} holds NaN or infinity for a training item")


def _takes_batches(module: Positional, items: Sequence[tuple[Tensor, ...]], contract: Contract) -> bool:
    """Whether the model's code takes several items at once; one that fixes a batch of one is exported all the same."""
    try:
        with torch.inference_mode():
            results = module(*(torch.cat([items[0][place], items[-1][place]]) for place in range(len(items[0]))))
    except Exception:  # noqa: BLE001 - the user's own code runs here; it has taken one item before
        return False
    shapes = [(2, *spec.shape) for spec in contract.outputs]
    return [tuple(result.shape) for result in results] == shapes
