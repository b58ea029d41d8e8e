"""Whether an ONNX variant of integers gives the same answers on an x86 without VNNI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeml_export.golden_cases import choose_items, tolerances
from edgeml_export.scheme import Precision
from edgeml_export.without_vnni import emulator, run_without_vnni
from edgeml_runtime.errors import BackendError, ProjectError
from edgeml_runtime.manifest import ModelFormat
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from edgeml_evaluate import LabelledData
    from edgeml_export.converters import Converted
    from edgeml_export.scheme import VariantPlan
    from edgeml_runtime.contract import Contract

__all__ = ["VnniCheck", "check_without_vnni"]

Outputs = Mapping[str, NDArray[Any]]

_INTEGERS = frozenset({Precision.INT8, Precision.INT8_DYNAMIC})


@dataclass(frozen=True, slots=True, kw_only=True)
class VnniCheck:
    """A variant's answers on this CPU and on an emulated one without VNNI.

    Attributes:
        items: Test items and hostile inputs compared; 0 where there is no emulator.
        output: The output that lies furthest off its tolerance.
        max_abs: Its largest difference, in its unit.
        tolerance: The tolerance of its golden vectors.
    """

    items: int
    output: str
    max_abs: float
    tolerance: float

    @property
    def checked(self) -> bool:
        """Whether there was an emulator to check with."""
        return self.items > 0

    @property
    def fault(self) -> str | None:
        """Why the variant must not be shipped, or None."""
        if not self.checked or self.max_abs <= self.tolerance:
            return None
        return (
            f"on an x86 CPU without VNNI the output {self.output!r} is off by {self.max_abs:.3g}, the golden vectors "
            f"allow {self.tolerance:.3g}: its sums saturate there"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "checked": self.checked,
            "items": self.items,
            "output": self.output,
            "max_abs": self.max_abs,
            "tolerance": self.tolerance,
        }


def check_without_vnni(
    plan: VariantPlan,
    converted: Converted,
    *,
    contract: Contract,
    hostile_inputs: Outputs,
    hostile: Outputs,
    test: LabelledData,
    outputs: Outputs,
    progress: Progress = silent,
) -> VnniCheck | None:
    """Run the items of the golden vectors and the hostile inputs on an emulated CPU.

    Args:
        plan: Which variant.
        converted: Its bytes.
        contract: The contract.
        hostile_inputs: Contract input name → [cases, *shape].
        hostile: Contract output name → what the variant gave for them here.
        test: The test split.
        outputs: Contract output name → what the variant gave for it here, [n, *shape].
        progress: Told when it begins and ends.

    Returns:
        What was found; None for variants that the question does not concern.

    Raises:
        ProjectError: When the file does not run there.
    """
    if plan.spec.format is not ModelFormat.ONNX or plan.spec.precision not in _INTEGERS:
        return None
    allowed = tolerances(contract, outputs, plan.spec.precision)
    first = next(iter(allowed))
    if emulator() is None:
        return VnniCheck(items=0, output=first, max_abs=0.0, tolerance=allowed[first])
    step = f"{plan.spec.id} without VNNI"
    chosen = choose_items(contract, test, {})
    feeds = {
        name: np.concatenate([array[chosen].astype(hostile_inputs[name].dtype), hostile_inputs[name]])
        for name, array in test.inputs.items()
        if name in hostile_inputs
    }
    progress(ProgressEvent(step=step, done=0, total=1))
    try:
        found = run_without_vnni(converted.content, feeds, list(outputs))
    except BackendError as error:
        raise ProjectError(f"export: {plan.spec.id}: {error}") from error
    progress(ProgressEvent(step=step, done=1, total=1))
    here = {name: np.concatenate([values[chosen], hostile[name]]) for name, values in outputs.items()}
    differences = {name: float(np.abs(here[name].astype(np.float64) - found[name]).max()) for name in here}
    worst = max(differences, key=lambda name: differences[name] / allowed[name])
    return VnniCheck(
        items=len(chosen) + len(next(iter(hostile_inputs.values()))),
        output=worst,
        max_abs=differences[worst],
        tolerance=allowed[worst],
    )
