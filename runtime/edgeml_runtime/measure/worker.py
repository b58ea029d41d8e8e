"""The jobs of the measuring that run in a process of their own: describing a model, and the latency loops.

Each takes one JSON object as its argument and prints one. Loading a foreign model file may end the process; run apart,
it ends this one only.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.measure.subject import Subject

__all__ = ["main"]


def describe(request: Mapping[str, Any]) -> dict[str, Any]:
    """Which variants there are, which one ``auto`` picks, and for a bare model its tensors.

    Args:
        request: ``path``, ``backend``.

    Returns:
        ``variants`` [{``id``, ``size_bytes``}], ``auto_variant``, ``signature``.

    Raises:
        EdgemlError: The file cannot be used.
    """
    from edgeml_runtime.measure.bare import bare_format, describe_bare

    path = request["path"]
    if bare_format(path) is not None:
        with open(path, "rb") as file:
            model = file.read()
        name = os.path.basename(path)
        return {
            "variants": [{"id": name, "size_bytes": len(model)}],
            "auto_variant": name,
            "signature": describe_bare(path, model, request["backend"]).to_dict(),
        }
    from edgeml_runtime.bundle import Bundle

    with Bundle.open(path) as bundle:
        return {
            "variants": [
                {"id": variant.id, "size_bytes": bundle.member(variant.file).size_bytes}
                for variant in bundle.manifest.variants
            ],
            "auto_variant": _auto_variant(bundle, request["backend"]),
            "signature": None,
        }


def _auto_variant(bundle: Bundle, backend: str | None) -> str | None:
    from edgeml_runtime.errors import BackendError
    from edgeml_runtime.open_session import select_variant

    try:
        return select_variant(bundle, backend=backend).id
    except BackendError:
        return None


def _open(request: Mapping[str, Any], variant: str) -> Subject:
    from edgeml_runtime.measure.bare import BareSignature
    from edgeml_runtime.measure.subject import bare_subject, bundle_subject

    path, threads, backend = request["path"], request["threads"], request["backend"]
    if request["signature"] is not None:
        return bare_subject(path, BareSignature.from_dict(request["signature"]), threads, backend)
    return bundle_subject(path, variant, threads, backend)


def latency(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the latency of some variants side by side.

    Args:
        request: ``path``, ``signature``, ``variants`` (ids), ``threads``, ``backend``, ``seconds``, ``seed``.

    Returns:
        ``variants``: id → {``backend``, ``backend_version``, ``threads``, ``samples``}.

    Raises:
        EdgemlError: A variant cannot be loaded or run.
    """
    from edgeml_runtime.measure.loop import measure_interleaved
    from edgeml_runtime.measure.report import samples_to_dict

    subjects = {variant: _open(request, variant) for variant in request["variants"]}
    try:
        runs = {variant: subject.run for variant, subject in subjects.items()}
        measured = measure_interleaved(runs, seconds=request["seconds"], seed=request["seed"])
    finally:
        for subject in subjects.values():
            subject.close()
    return {
        "variants": {
            variant: {
                "backend": subject.backend,
                "backend_version": subject.backend_version,
                "threads": subject.threads,
                "samples": samples_to_dict(measured[variant]),
            }
            for variant, subject in subjects.items()
        }
    }


def choices(request: Mapping[str, Any]) -> dict[str, Any]:
    """See :func:`edgeml_runtime.measure.choices.time_choices`."""
    from edgeml_runtime.measure.choices import time_choices

    return time_choices(request)


_JOBS = {"describe": describe, "latency": latency, "choices": choices}


def main(begun: int) -> None:
    """Do the job that ``sys.argv[1]`` names, with the request in ``sys.argv[2]``, and print the answer as JSON.

    Args:
        begun: When the process began; not used here.
    """
    del begun
    from edgeml_runtime.measure.start import describe_failure

    try:
        answer = _JOBS[sys.argv[1]](json.loads(sys.argv[2]))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in the model under measurement is the answer
        answer = {"error": describe_failure(error)}
    sys.stdout.write(json.dumps(answer))
