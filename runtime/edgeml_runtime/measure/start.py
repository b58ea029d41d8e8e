"""One start in a fresh process: what an application waits for its first result, and the memory that takes.

Run by :mod:`edgeml_runtime.measure.cli` as ``python -c "… main(begun)"``, so that the clock starts before anything but
the interpreter's own modules is imported. This module imports nothing else at the top for the same reason. The model
file is in the system's cache, because another process has read it a moment before; the interpreter's own start is not
included.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeml_runtime.backends.base import Backend
    from edgeml_runtime.measure.bare import BareSignature

__all__ = ["create_backend", "describe_failure", "main", "peak_rss_bytes", "start_arguments"]

FURTHER_CALLS = 20
FURTHER_SECONDS = 2.0


def peak_rss_bytes() -> int:
    """Largest resident memory this process has had, in bytes.

    On Linux this is ``VmHWM`` of ``/proc/self/status``: ``ru_maxrss`` survives ``exec`` there and would report a large
    parent's memory as that of a small child (getrusage(2), proc(5)).

    Returns:
        Bytes.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def create_backend(path: str, signature: BareSignature, threads: int | None, backend: str | None = None) -> Backend:
    """Load a bare model into a backend.

    Args:
        path: An ``.onnx``, ``.ort`` or ``.tflite`` file.
        signature: Its tensors.
        threads: Threads for the backend, or None for its default.
        backend: Which one, or None for the backend of its format.

    Returns:
        The backend; the caller closes it.

    Raises:
        BackendError: The backend is missing, or runs other formats, or fails to load the model.
    """
    from edgeml_runtime.backends.table import runner_of
    from edgeml_runtime.measure.bare import bare_format

    model_format = bare_format(path)
    assert model_format is not None
    with open(path, "rb") as file:
        model = file.read()
    return runner_of(path, model_format, backend).create(
        model,
        input_names=[item.name for item in signature.inputs],
        output_names=list(signature.outputs),
        threads=threads,
    )


def start_arguments(
    path: str, variant: str, threads: int | None, signature: BareSignature | None, backend: str | None = None
) -> list[str]:
    """The arguments :func:`main` reads; plain words, because importing a parser would count as part of the start.

    Args:
        path: A bundle or a bare model.
        variant: Variant id; not used for a bare model.
        threads: Threads for the backend, or None for its default.
        signature: The bare model's tensors, or None for a bundle.
        backend: What is to run it, or None for the manifest's backend, or that of a bare model's format.

    Returns:
        Arguments for the command line.
    """
    words = [path, variant, "" if threads is None else str(threads), backend or ""]
    if signature is not None:
        words.append(str(len(signature.inputs)))
        for item in signature.inputs:
            words += [item.name, item.dtype, ",".join(map(str, item.shape))]
        words += signature.outputs
    return words


def _signature(words: list[str]) -> BareSignature:
    from edgeml_runtime.measure.bare import BareSignature, BareTensor

    end = 1 + 3 * int(words[0])
    inputs = [
        BareTensor(
            name=words[at], dtype=words[at + 1], shape=tuple(int(size) for size in words[at + 2].split(",") if size)
        )
        for at in range(1, end, 3)
    ]
    return BareSignature(inputs=tuple(inputs), outputs=tuple(words[end:]))


def _load_bundle(path: str, variant: str, threads: int | None, backend: str | None) -> tuple[int, Callable[[], object]]:
    """Import and load; gives the time at which the import was done, and the call."""
    from edgeml_runtime.model import Model

    imported = time.perf_counter_ns()
    model = Model.load(path, variant=variant, threads=threads, backend=backend)

    import numpy as np

    inputs = {
        spec.name: np.full(spec.shape, (spec.range[0] + spec.range[1]) / 2, dtype=spec.dtype.value)
        for spec in model.manifest.inputs
    }
    return imported, lambda: model.predict(inputs).label


def _load_bare(path: str, threads: int | None, name: str | None, words: list[str]) -> tuple[int, Callable[[], object]]:
    import numpy as np

    signature = _signature(words)
    imported = time.perf_counter_ns()
    backend = create_backend(path, signature, threads, name)
    feeds = [np.zeros(item.shape, dtype=item.dtype) for item in signature.inputs]
    return imported, lambda: backend.run(feeds)


def _start(begun: int, words: list[str]) -> dict[str, float]:
    path, variant, given_threads, given_backend, *tensors = words
    threads, backend = int(given_threads) if given_threads else None, given_backend or None
    if tensors:
        imported, call = _load_bare(path, threads, backend, tensors)
    else:
        imported, call = _load_bundle(path, variant, threads, backend)
    loaded = time.perf_counter_ns()
    call()
    predicted = time.perf_counter_ns()
    for _ in range(FURTHER_CALLS):
        call()
        if time.perf_counter_ns() - predicted > FURTHER_SECONDS * 1e9:
            break
    return {
        "import_ms": (imported - begun) / 1e6,
        "load_ms": (loaded - imported) / 1e6,
        "first_predict_ms": (predicted - loaded) / 1e6,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def main(begun: int) -> None:
    """Start once as ``sys.argv[1:]`` says (:func:`start_arguments`) and print one JSON object.

    The object holds the figures, or ``error`` with what went wrong.

    Args:
        begun: ``time.perf_counter_ns()`` before the first import.
    """
    answer: dict[str, Any]
    try:
        answer = dict(_start(begun, sys.argv[1:]))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in the model under measurement is the answer
        answer = {"error": describe_failure(error)}
    import json

    sys.stdout.write(json.dumps(answer))


def describe_failure(error: Exception) -> str:
    """One line for a report: the message of an error of edgeml, with its type for any other.

    Args:
        error: What was raised.

    Returns:
        The line.
    """
    from edgeml_runtime.errors import EdgemlError

    return str(error) if isinstance(error, EdgemlError) else f"{type(error).__name__}: {error}"
