"""What the loop calls: ``Model.predict`` of one variant of a bundle, or one run of a bare model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.measure.bare import random_array

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeml_runtime.measure.bare import BareSignature
    from edgeml_runtime.tensors import InputSpec

__all__ = ["Subject", "bare_subject", "bundle_subject"]

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


def bundle_subject(path: str, variant: str, threads: int | None) -> Subject:
    """Load one variant of a bundle; a call is ``Model.predict(…).label``: checks, the backend's run, the label.

    The inputs are those of the golden vectors in turn, or random values in the contract's range where the bundle has
    no golden vectors.

    Args:
        path: The bundle.
        variant: A variant id.
        threads: Threads for the backend, or None for its default.

    Returns:
        The subject; the caller closes it.

    Raises:
        EdgemlError: The bundle or the variant cannot be used.
    """
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.golden import GOLDEN_INDEX, read_golden
    from edgeml_runtime.model import Model

    with Bundle.open(path) as bundle:
        if any(member.name == GOLDEN_INDEX for member in bundle.manifest.members):
            items = [case.inputs for case in read_golden(bundle).cases]
        else:
            items = _random_items(bundle.manifest.inputs)
    model = Model.load(path, variant=variant, threads=threads)
    following = itertools.cycle(items).__next__
    predict = model.predict
    return Subject(
        run=lambda: predict(following()).label,
        close=model.close,
        backend=model.backend_name,
        backend_version=model.backend_version,
        threads=model.threads,
    )


def bare_subject(path: str, signature: BareSignature, threads: int | None) -> Subject:
    """Load a bare model; a call is one run of the backend on random inputs.

    Args:
        path: An ``.onnx``, ``.ort`` or ``.tflite`` file.
        signature: Its tensors, as :func:`edgeml_runtime.measure.bare.describe_bare` gives them.
        threads: Threads for the backend, or None for its default.

    Returns:
        The subject; the caller closes it.

    Raises:
        BackendError: The backend is missing, or fails to load the model.
    """
    from edgeml_runtime.measure.start import create_backend

    backend = create_backend(path, signature, threads)
    rng = np.random.default_rng(0)
    feeds = [random_array(item.dtype, item.shape, rng) for item in signature.inputs]
    return Subject(
        run=lambda: backend.run(feeds),
        close=backend.close,
        backend=backend.name,
        backend_version=backend.version,
        threads=threads,
    )
