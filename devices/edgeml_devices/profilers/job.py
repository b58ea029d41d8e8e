"""Profiling one variant of a bundle, or a bare model, in this process."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeml_runtime.errors import BackendError
from edgeml_runtime.measure.bare import bare_format, describe_bare, random_array
from edgeml_runtime.measure.start import create_backend, describe_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeml_devices.profilers.found import Profile
    from edgeml_runtime.backends import Backend

    Feeds = Mapping[str, NDArray[Any]]

__all__ = ["PROFILERS", "main", "profile"]

PROFILERS = {
    "litert": "edgeml_devices.profilers.litert_profile:profile_litert",
    "onnxruntime": "edgeml_devices.profilers.onnxruntime_profile:profile_onnxruntime",
}
"""Backend name → ``module:function``, imported on use."""


def _from_bundle(request: Mapping[str, Any]) -> tuple[Backend, bytes, list[NDArray[Any]], Feeds]:
    """The backend, the file, what the backend is fed with, and the same by the file's names and types."""
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.measure.subject import bundle_items
    from edgeml_runtime.open_session import open_backend, select_variant

    with Bundle.open(request["path"]) as bundle:
        variant = select_variant(bundle, request["variant"])
        backend = open_backend(bundle, variant, request["threads"], backend=request["backend"])
        item, specs, model = bundle_items(bundle)[0], bundle.manifest.inputs, bundle.read(variant.file)
    feeds = [np.asarray(item[spec.name])[None] for spec in specs]
    raw = {}
    for spec, feed in zip(specs, feeds, strict=True):
        encoded = spec.name in variant.input_encodings and backend.name == variant.backend
        raw[variant.inputs[spec.name]] = (feed ^ np.uint8(0x80)).view(np.int8) if encoded else feed
    return backend, model, feeds, raw


def _from_file(request: Mapping[str, Any]) -> tuple[Backend, bytes, list[NDArray[Any]], Feeds]:
    path = request["path"]
    with open(path, "rb") as file:
        model = file.read()
    signature = describe_bare(path, model)
    backend = create_backend(path, signature, request["threads"], request["backend"])
    rng = np.random.default_rng(0)
    feeds = [random_array(item.dtype, item.shape, rng) for item in signature.inputs]
    return backend, model, feeds, {item.name: feed for item, feed in zip(signature.inputs, feeds, strict=True)}


def profile(request: Mapping[str, Any]) -> dict[str, Any]:
    """Profile one variant, in this process.

    Args:
        request: ``path``, ``variant`` (not used for a bare model), ``threads``, ``backend`` and ``seconds``, about how
            long to measure; None for the default of the first three.

    Returns:
        ``backend``, ``backend_version``, ``threads`` and the
        :class:`~edgeml_devices.profilers.found.Profile` as JSON values.

    Raises:
        BackendError: The variant cannot be loaded or run, or its backend has no profiler.
        EdgemlError: The file cannot be used.
    """
    backend, model, feeds, raw = (_from_bundle if bare_format(request["path"]) is None else _from_file)(request)
    try:
        if backend.name not in PROFILERS:
            raise BackendError(
                f"no times by operator: edgeml uses the profilers of {' and '.join(PROFILERS)}, and this ran on "
                f"{backend.name}"
            )
        module, _, function = PROFILERS[backend.name].partition(":")
        profiler = cast("Callable[..., Profile]", getattr(import_module(module), function))
        threads = request["threads"] or 1
        found = profiler(model, raw, threads=threads, plain=lambda: backend.run(feeds), seconds=request["seconds"])
        return {
            "backend": backend.name,
            "backend_version": backend.version,
            "threads": threads,
            **asdict(found),
        }
    finally:
        backend.close()


def main(arguments: Sequence[str]) -> int:
    """Profile as the one argument says, and print the answer.

    Args:
        arguments: One JSON object.

    Returns:
        The exit status.
    """
    try:
        answer = profile(json.loads(arguments[0]))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in the model under measurement is the answer
        answer = {"error": describe_failure(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0
