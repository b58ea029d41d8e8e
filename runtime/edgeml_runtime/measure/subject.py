"""What the loop calls: ``Model.predict`` of one variant of a bundle, or one run of a bare model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.errors import BackendFailedError
from edgeml_runtime.measure.bare import random_array

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.measure.bare import BareSignature
    from edgeml_runtime.model import Model
    from edgeml_runtime.tensors import InputSpec

__all__ = ["Subject", "bare_subject", "bundle_items", "bundle_subject"]

RANDOM_ITEMS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something that can be measured.

    Attributes:
        run: One call, on the next of its inputs.
        close: Releases the model.
        backend: Name of the backend.
        backend_version: Release of the backend.
        threads: Threads the backend was given, or None for its own default.
    """

    run: Callable[[], object]
    close: Callable[[], None]
    backend: str
    backend_version: str
    threads: int | None


def _random_items(specs: tuple[InputSpec, ...]) -> list[Mapping[str, NDArray[Any]]]:
    rng = np.random.default_rng(0)
    return [
        {spec.name: random_array(spec.dtype.value, spec.shape, rng, spec.range) for spec in specs}
        for _ in range(RANDOM_ITEMS)
    ]


def _has_golden(bundle: Bundle) -> bool:
    from edgeml_runtime.golden import GOLDEN_INDEX

    return any(member.name == GOLDEN_INDEX for member in bundle.manifest.members)


def bundle_items(bundle: Bundle) -> list[Mapping[str, NDArray[Any]]]:
    """Inputs to measure with: those of the golden vectors, or random ones where there are none.

    Args:
        bundle: An open bundle.

    Returns:
        Input name → array without the batch dimension, as the contract says.
    """
    from edgeml_runtime.golden import read_golden

    if _has_golden(bundle):
        return [case.inputs for case in read_golden(bundle).cases]
    return _random_items(bundle.manifest.inputs)


def _check(model: Model) -> None:
    report = model.self_test()
    if report.passed:
        return
    model.close()
    failed = [case for case in report.cases if not case.passed]
    worst = max((output.max_abs_difference for output in failed[0].outputs), default=0.0)
    raise BackendFailedError(
        f"{len(failed)} of {len(report.cases)} golden cases fail with {report.backend}, first {failed[0].name!r}: "
        + (failed[0].failure or f"an output is off by {worst:.3g}")
    )


def bundle_subject(
    path: str, variant: str, threads: int | None, backend: str | None = None, *, self_test: bool = False
) -> Subject:
    """Load one variant of a bundle; a call is ``Model.predict(…).label``: checks, the backend's run, the label.

    The inputs are those of the golden vectors in turn, or random values in the contract's range where the bundle has
    no golden vectors.

    Args:
        path: The bundle.
        variant: A variant id.
        threads: Threads for the backend, or None for its default.
        backend: What is to run it, or None for the manifest's backend.
        self_test: Whether the golden vectors, where there are any, have to pass first.

    Returns:
        The subject; the caller closes it.

    Raises:
        EdgemlError: The bundle or the variant cannot be used, or the golden vectors do not pass.
    """
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.model import Model

    with Bundle.open(path) as bundle:
        has_golden, items = _has_golden(bundle), bundle_items(bundle)
    model = Model.load(path, variant=variant, threads=threads, backend=backend)
    if self_test and has_golden and model.backend_name == model.variant.backend:  # another one was tested by loading it
        _check(model)
    following = itertools.cycle(items).__next__
    predict = model.predict
    return Subject(
        run=lambda: predict(following()).label,
        close=model.close,
        backend=model.backend_name,
        backend_version=model.backend_version,
        threads=model.threads,
    )


def bare_subject(path: str, signature: BareSignature, threads: int | None, backend: str | None = None) -> Subject:
    """Load a bare model; a call is one run of the backend on random inputs.

    Args:
        path: An ``.onnx``, ``.ort`` or ``.tflite`` file.
        signature: Its tensors, as :func:`edgeml_runtime.measure.bare.describe_bare` gives them.
        threads: Threads for the backend, or None for its default.
        backend: What is to run it, or None for the backend of its format.

    Returns:
        The subject; the caller closes it.

    Raises:
        BackendError: The backend is missing, or fails to load the model.
    """
    from edgeml_runtime.measure.start import create_backend

    runner = create_backend(path, signature, threads, backend)
    rng = np.random.default_rng(0)
    feeds = [random_array(item.dtype, item.shape, rng) for item in signature.inputs]
    return Subject(
        run=lambda: runner.run(feeds),
        close=runner.close,
        backend=runner.name,
        backend_version=runner.version,
        threads=threads,
    )
