"""The process that loads foreign files: what they do to the libraries in it stays in it.

Started by :mod:`edgeml_export.foreign.process`. It reads requests and writes answers as lines of JSON; tensors lie in
files of the folder it is given. An answer is ``{"done": n, "total": n, "step": text}`` for progress, then ``{"answer":
…}`` or ``{"error": text}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_export.foreign.facts import ForeignFacts
from edgeml_export.foreign.file import ForeignKind, ForeignLimits
from edgeml_export.foreign.run import over_items, reference_run, shipped, together
from edgeml_runtime.errors import EdgemlError, ProjectError
from edgeml_runtime.manifest import InputEncoding

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

Answer = dict[str, Any]


def main(folder: str, limits: str) -> None:
    """Serve requests until stdin ends.

    Args:
        folder: Where the model and its tensors lie.
        limits: The fields of :class:`~edgeml_export.foreign.file.ForeignLimits` as JSON.
    """
    allowed = ForeignLimits(**json.loads(limits))
    _confine(allowed)
    answers = _take_stdout()

    def say(line: Answer) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    for line in sys.stdin:
        try:
            say({"answer": _answer(Path(folder), json.loads(line), allowed, say)})
        except EdgemlError as error:
            say({"error": str(error)})
        except MemoryError:
            say({"error": f"it needs more than {allowed.max_memory_bytes} bytes of memory"})
        except Exception as error:  # noqa: BLE001 - a file can make libraries raise anything
            said = f"{type(error).__name__}: {error}"
            say({"error": f"it cannot be read or run ({said}): it is damaged; convert it again"})


def _confine(limits: ForeignLimits) -> None:
    """Cap the memory of this process, and let a crash leave no dump; Windows has neither."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = limits.max_memory_bytes if most == resource.RLIM_INFINITY else min(limits.max_memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS takes no limit of the address space
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def _take_stdout() -> Any:
    """Keep stdout for answers; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(folder: Path, request: Answer, limits: ForeignLimits, say: Callable[[Answer], None]) -> Answer:
    kind = ForeignKind(request["kind"])
    content = (folder / "model").read_bytes()
    if request["do"] == "inspect":
        return _inspect(kind, content, limits).to_dict()
    return _run(kind, content, folder, request, say)


def _inspect(kind: ForeignKind, content: bytes, limits: ForeignLimits) -> ForeignFacts:
    if kind is ForeignKind.ONNX:
        from edgeml_export.foreign.onnx import inspect_onnx

        return inspect_onnx(content, limits)
    from edgeml_export.foreign.tflite import inspect_tflite

    return inspect_tflite(content, limits)


def _untold(done: int, total: int) -> None:
    """Progress that nobody needs to hear of."""


def _run(kind: ForeignKind, content: bytes, folder: Path, request: Answer, say: Callable[[Answer], None]) -> Answer:
    """Run both configurations, the first item once more, and a few items at once."""
    facts = ForeignFacts.from_dict(request["tensors"])
    encodings = [None if text is None else InputEncoding(text) for text in request["encodings"]]
    feeds = [np.load(folder / f"in-{index}.npy") for index in range(len(facts.inputs))]
    total = len(feeds[0])

    def reporter(step: str) -> Callable[[int, int], None]:
        return lambda done, of: say({"done": done, "total": of, "step": step})

    backend = shipped(kind, content, facts.inputs, facts.outputs, encodings)
    reference, words = reference_run(kind, content, facts.inputs, facts.outputs, encodings)
    plain = over_items(reference, feeds, request["reference"], reporter("reference"))
    outputs = over_items(backend.run, feeds, range(total), reporter("score"))
    again = over_items(backend.run, feeds, [0], _untold)
    if not all(np.array_equal(one[:1], two, equal_nan=True) for one, two in zip(outputs, again, strict=True)):
        raise ProjectError(
            "it gives another answer for the first item when asked again: it draws random numbers or keeps state "
            "between runs; let the model take its state as an input, and leave randomness out"
        )
    company = together(backend, feeds)
    for index, array in enumerate(company or []):
        np.save(folder / f"together-{index}.npy", array)
    for index, (before, after) in enumerate(zip(plain, outputs, strict=True)):
        np.save(folder / f"reference-{index}.npy", before)
        np.save(folder / f"out-{index}.npy", after)
    return {"reference": words, "version": backend.version, "together": company is not None}
