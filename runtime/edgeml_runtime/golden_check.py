"""Whether a backend that a bundle's metrics were not obtained with gives what its golden vectors say.

What was evaluated is what runs: the manifest's backend scored the variant, and another one computes the same file in
its own way. Its outputs must lie as close to the expected ones as those of the manifest's backend on another CPU would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_runtime.errors import BackendFailedError, BackendUnsuitableError
from edgeml_runtime.golden import GOLDEN_INDEX, read_golden
from edgeml_runtime.selftest import compare_output

if TYPE_CHECKING:
    from edgeml_runtime.backends.base import Backend
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.golden import GoldenCase, GoldenSet
    from edgeml_runtime.manifest import Variant
    from edgeml_runtime.selftest import OutputDifference

__all__ = ["check_golden"]


def check_golden(bundle: Bundle, variant: Variant, backend: Backend) -> None:
    """Run every golden case on a backend. Their encoded files are left out: decoding has nothing to do with it.

    Args:
        bundle: The bundle, open.
        variant: One of its variants.
        backend: The variant's file in a backend, its inputs and outputs in the contract's order.

    Raises:
        BundleError: The golden vectors were altered.
        BackendUnsuitableError: The bundle has none, or a case fails; the message names the worst one.
    """
    label = f"{backend.name} {backend.version}"
    if not any(member.name == GOLDEN_INDEX for member in bundle.manifest.members):
        raise BackendUnsuitableError(
            f"{bundle.path}: {variant.id}: was scored with {variant.backend}, and the bundle has no golden vectors "
            f"to show that {label} gives the same; use {variant.backend}, or export the bundle again"
        )
    golden = read_golden(bundle)
    failed: dict[str, OutputDifference] = {}
    for case in golden.cases:
        try:
            worst = _worst_output(bundle, variant, backend, case, golden)
        except BackendFailedError as error:
            raise BackendUnsuitableError(
                f"{bundle.path}: {variant.id}: golden case {case.name!r} cannot be run: {error}; use "
                f"{variant.backend}, which the variant was scored with"
            ) from error
        if not worst.passed:
            failed[case.name] = worst
    if failed:
        name, worst = max(failed.items(), key=lambda item: _excess(item[1]))
        raise BackendUnsuitableError(
            f"{bundle.path}: {variant.id}: was scored with {variant.backend}, and {label} gives other outputs: "
            f"{len(failed)} of {len(golden.cases)} golden cases fail, the worst is {name!r}: output {worst.name!r} is "
            f"off by {worst.max_abs_difference:.3g}, expected at most {worst.tolerance:.3g}; use {variant.backend}, or "
            "another variant"
        )


def _worst_output(
    bundle: Bundle, variant: Variant, backend: Backend, case: GoldenCase, golden: GoldenSet
) -> OutputDifference:
    manifest, expected, tolerances = bundle.manifest, case.expected[variant.id], golden.tolerances[variant.id]
    arrays = backend.run([case.inputs[spec.name][None] for spec in manifest.inputs])
    differences = [
        compare_output(spec.name, array[0], expected[spec.name], tolerances[spec.name])
        for spec, array in zip(manifest.outputs, arrays, strict=True)
    ]
    return max(differences, key=_excess)


def _excess(difference: OutputDifference) -> float:
    """The difference as a multiple of what is allowed."""
    if difference.tolerance == 0:
        return 0.0 if difference.passed else float("inf")
    return difference.max_abs_difference / difference.tolerance
