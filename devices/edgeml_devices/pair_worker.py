"""One process that measures two models in turns, so that whatever the machine does meets both: ``python -m`` this.

It takes one JSON object as its argument and prints one. It imports the runtime only, as what runs on a device has to.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from edgeml_runtime.measure.bare import bare_format, describe_bare
from edgeml_runtime.measure.loop import measure_interleaved
from edgeml_runtime.measure.report import samples_to_dict
from edgeml_runtime.measure.start import describe_failure
from edgeml_runtime.measure.subject import bare_subject, bundle_subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_runtime.measure.subject import Subject

__all__ = ["main"]


def _open(path: str, variant: str, threads: int | None, backend: str | None) -> Subject:
    if bare_format(path) is None:
        return bundle_subject(path, variant, threads, backend)
    with open(path, "rb") as file:
        return bare_subject(path, describe_bare(path, file.read(), backend), threads, backend)


def measure_pairs(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure several variants of both files in one loop.

    Args:
        request: ``paths`` (two), ``variants`` (ids), ``threads``, ``backend``, ``seconds`` (of each), ``seed``.

    Returns:
        ``pairs``: variant → the samples of the first and of the second file.

    Raises:
        EdgemlError: One cannot be loaded or run.
    """
    keys = [(variant, which) for variant in request["variants"] for which in (0, 1)]
    if request["seed"] % 2:  # which one finds its memory first is as random as the rest
        keys.reverse()
    subjects = {key: _open(request["paths"][key[1]], key[0], request["threads"], request["backend"]) for key in keys}
    try:
        runs = {json.dumps(key): subject.run for key, subject in subjects.items()}
        measured = measure_interleaved(runs, seconds=request["seconds"], seed=request["seed"])
    finally:
        for subject in subjects.values():
            subject.close()
    return {
        "pairs": {
            variant: [samples_to_dict(measured[json.dumps((variant, which))]) for which in (0, 1)]
            for variant in request["variants"]
        }
    }


def main() -> int:
    """Measure what ``sys.argv[1]`` says and print the answer; ``error`` in it says what went wrong."""
    try:
        answer = measure_pairs(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in the models under measurement is the answer
        answer = {"error": describe_failure(error)}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
