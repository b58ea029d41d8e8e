"""The self-test: golden vectors through the model as an application would call it, compared with what is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import BackendFailedError, ContractError, InputError
from edgeml_runtime.golden import GOLDEN_FILES, read_golden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.golden import GoldenCase
    from edgeml_runtime.model import Model

__all__ = ["OutputDifference", "SelfTestCase", "SelfTestReport", "compare_output", "run_self_test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDifference:
    """How far one output lies from what is expected.

    Attributes:
        name: The output.
        max_abs_difference: Largest absolute difference over its elements, in the output's unit; infinite where dtype or
            shape differ or a value is NaN.
        tolerance: Largest difference allowed.
    """

    name: str
    max_abs_difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.max_abs_difference <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestCase:
    """One golden case.

    Attributes:
        name: Of the case.
        outputs: One entry per output; empty where the prediction failed.
        file: The encoded file that belongs to the case, or None.
        failure: Why the prediction failed, or what the file decoded to instead of the input; None where neither.
        not_checked: Why the file was not decoded, as when the loader's package is not installed; None otherwise.
    """

    name: str
    outputs: tuple[OutputDifference, ...]
    file: str | None = None
    failure: str | None = None
    not_checked: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every output is within its tolerance and nothing failed; a file not decoded does not count."""
        return self.failure is None and all(output.passed for output in self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestReport:
    """What the self-test of one variant found.

    Attributes:
        variant: Id of the variant.
        backend: Name and release of what ran it, such as ``"onnxruntime 1.32.0"``.
        cases: Every golden case, in the bundle's order.
    """

    variant: str
    backend: str
    cases: tuple[SelfTestCase, ...]

    @property
    def passed(self) -> bool:
        """Whether every case passed."""
        return all(case.passed for case in self.cases)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; an infinite difference becomes None."""
        return {
            "passed": self.passed,
            "variant": self.variant,
            "backend": self.backend,
            "cases": [_case_to_dict(case) for case in self.cases],
        }


def run_self_test(model: Model, bundle: Bundle) -> SelfTestReport:
    """Run every golden case through a model.

    Args:
        model: The model; it stays usable.
        bundle: The bundle it was loaded from.

    Returns:
        The report. A case that raises is a case that failed.

    Raises:
        BundleError: The golden vectors were altered.
        BackendError: The model was closed.
    """
    golden = read_golden(bundle)
    variant = model.variant.id
    tolerances = golden.tolerances[variant]
    return SelfTestReport(
        variant=variant,
        backend=f"{model.backend_name} {model.backend_version}",
        cases=tuple(_run_case(model, bundle, case, variant, tolerances) for case in golden.cases),
    )


def compare_output(name: str, found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> OutputDifference:
    """Compare one output with what is expected.

    Args:
        name: Of the output.
        found: Any dtype and shape.
        expected: What it should be.
        tolerance: Largest absolute difference allowed.

    Returns:
        The difference.
    """
    difference = float("inf")
    if found.dtype == expected.dtype and found.shape == expected.shape:
        with np.errstate(invalid="ignore"):
            distances = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        largest = float(distances.max(initial=0.0))
        if largest == largest:  # noqa: PLR0124 - NaN is not equal to itself
            difference = largest
    return OutputDifference(name=name, max_abs_difference=difference, tolerance=tolerance)


def _run_case(
    model: Model, bundle: Bundle, case: GoldenCase, variant: str, tolerances: Mapping[str, float]
) -> SelfTestCase:
    failure, not_checked = _check_file(model, bundle, case)
    outputs: tuple[OutputDifference, ...] = ()
    try:
        found = model.predict(case.inputs).outputs
    except (InputError, BackendFailedError) as error:
        failure = f"predict: {error}"
    else:
        expected = case.expected[variant]
        outputs = tuple(
            compare_output(name, found[name], expected[name], tolerance) for name, tolerance in tolerances.items()
        )
    return SelfTestCase(name=case.name, outputs=outputs, file=case.file, failure=failure, not_checked=not_checked)


def _check_file(model: Model, bundle: Bundle, case: GoldenCase) -> tuple[str | None, str | None]:
    """Decode the case's file: why it failed, and why it was not decoded."""
    if case.file is None or case.file_input is None:
        return None, None
    from edgeml_runtime.loaders import load_tensor

    spec = next(spec for spec in model.manifest.inputs if spec.name == case.file_input)
    try:
        decoded = load_tensor(spec, bundle.read(GOLDEN_FILES + case.file))
    except (InputError, ContractError) as error:
        if isinstance(error.__cause__, ImportError):
            return None, f"file {case.file}: {error}"
        return f"file {case.file}: {error}", None
    expected = case.inputs[case.file_input]
    if decoded.dtype == expected.dtype and np.array_equal(decoded, expected, equal_nan=decoded.dtype.kind == "f"):
        return None, None
    return f"file {case.file}: decodes to another tensor than the golden input {case.file_input!r}", None


def _case_to_dict(case: SelfTestCase) -> dict[str, Any]:
    return {
        "name": case.name,
        "passed": case.passed,
        "file": case.file,
        "failure": case.failure,
        "not_checked": case.not_checked,
        "outputs": [
            {
                "name": output.name,
                "max_abs_difference": output.max_abs_difference if np.isfinite(output.max_abs_difference) else None,
                "tolerance": output.tolerance,
                "passed": output.passed,
            }
            for output in case.outputs
        ],
    }
