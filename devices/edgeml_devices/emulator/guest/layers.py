"""The instructions of each layer: a model is run again and again, with one layer more each time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeml_runtime.errors import BackendError
from edgeml_runtime.measure.bare import bare_format, describe_bare, random_array

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeml_devices.emulator.guest.found import Layer

    Feeds = Mapping[str, NDArray[Any]]

__all__ = ["mark_layers"]

MARKERS = {
    "litert": "edgeml_devices.emulator.guest.litert_layers:mark_litert",
    "onnxruntime": "edgeml_devices.emulator.guest.onnxruntime_layers:mark_onnxruntime",
}
"""Backend name → ``module:function``, imported on use."""


def _of_bundle(request: Mapping[str, Any]) -> tuple[bytes, Feeds]:
    """The file, and what it is fed with, by its own names and types."""
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.measure.subject import bundle_items
    from edgeml_runtime.open_session import select_variant

    with Bundle.open(request["path"]) as bundle:
        variant = select_variant(bundle, request["variant"])
        item, specs, model = bundle_items(bundle)[0], bundle.manifest.inputs, bundle.read(variant.file)
    feeds = {}
    for spec in specs:
        feed = np.asarray(item[spec.name])[None]
        encoded = spec.name in variant.input_encodings
        feeds[variant.inputs[spec.name]] = (feed ^ np.uint8(0x80)).view(np.int8) if encoded else feed
    return model, feeds


def _of_file(path: str) -> tuple[bytes, Feeds]:
    with open(path, "rb") as file:
        model = file.read()
    rng = np.random.default_rng(0)
    signature = describe_bare(path, model)
    return model, {item.name: random_array(item.dtype, item.shape, rng) for item in signature.inputs}


def mark_layers(request: Mapping[str, Any], backend: str) -> tuple[Layer, ...]:
    """Run the model's beginnings, each with one layer more, between marks.

    Args:
        request: ``path`` and ``variant`` as in :func:`edgeml_devices.emulator.guest.job.answer`.
        backend: What runs it.

    Returns:
        The layers, in the order of the marks, before which comes that of a run of none.

    Raises:
        BackendError: The backend does not run layer by layer.
    """
    if backend not in MARKERS:
        raise BackendError(f"layers are told apart for {' and '.join(MARKERS)}, and this ran on {backend}")
    path = request["path"]
    model, feeds = _of_bundle(request) if bare_format(path) is None else _of_file(path)
    module, _, function = MARKERS[backend].partition(":")
    marker = cast("Callable[[bytes, Feeds], tuple[Layer, ...]]", getattr(import_module(module), function))
    return marker(model, feeds)
