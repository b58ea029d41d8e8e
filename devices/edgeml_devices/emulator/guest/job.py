"""Testing and counting one variant of a bundle, or a bare model, in this process."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.guest.layers import mark_layers
from edgeml_devices.emulator.guest.marks import count_calls
from edgeml_runtime.errors import BackendError
from edgeml_runtime.measure.bare import bare_format, describe_bare
from edgeml_runtime.measure.start import describe_failure
from edgeml_runtime.measure.subject import bare_subject, bundle_subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.measure.subject import Subject
    from edgeml_runtime.selftest import SelfTestReport

__all__ = ["answer", "main"]

THREADS = 1


def _self_test(request: Mapping[str, Any]) -> SelfTestReport | None:
    """The golden vectors of a bundle, or None where it has none."""
    from edgeml_runtime.golden import GOLDEN_INDEX
    from edgeml_runtime.model import Model

    with Model.load(request["path"], variant=request["variant"], threads=THREADS, backend=request["backend"]) as model:
        if not any(member.name == GOLDEN_INDEX for member in model.manifest.members):
            return None
        return model.self_test()


def _subject(request: Mapping[str, Any]) -> Subject:
    path = request["path"]
    if bare_format(path) is None:
        return bundle_subject(path, request["variant"], THREADS, request["backend"])
    with open(path, "rb") as file:
        signature = describe_bare(path, file.read())
    return bare_subject(path, signature, THREADS, request["backend"])


def _layers(request: Mapping[str, Any], backend: str) -> dict[str, Any]:
    try:
        return {"names": [asdict(layer) for layer in mark_layers(request, backend)]}
    except BackendError as error:
        return {"error": describe_failure(error)}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what a request asks for.

    Args:
        request: ``path``; ``variant`` (not used for a bare model); ``backend`` or None for the manifest's; ``count``,
            whether to mark calls; ``layers``, whether to mark the layers of a further call as well.

    Returns:
        ``backend``, ``backend_version``, ``self_test`` (a report, or None where there are no golden vectors), ``calls``
        that were marked, and ``layers``: ``names``, one :class:`~edgeml_devices.emulator.guest.found.Layer` for each
        marked beginning, or ``error``.

    Raises:
        EdgemlError: The file or the variant cannot be used.
    """
    tested = None if bare_format(request["path"]) else _self_test(request)
    subject = _subject(request)
    try:
        calls = count_calls(subject.run) if request["count"] else 0
    finally:
        subject.close()
    layers = _layers(request, subject.backend) if request["layers"] and calls else {}
    return {
        "backend": subject.backend,
        "backend_version": subject.backend_version,
        "self_test": None if tested is None else tested.to_dict(),
        "calls": calls,
        "layers": layers,
    }


def main(arguments: Sequence[str]) -> int:
    """Do what the one argument asks for, and print the answer.

    Args:
        arguments: One JSON object.

    Returns:
        The exit status.
    """
    try:
        found = answer(json.loads(arguments[0]))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in the model under test is the answer
        found = {"error": describe_failure(error)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0
