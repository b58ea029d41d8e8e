"""``python -m edgeml_runtime.measure``: measure on this machine, in fresh processes, and print one JSON object.

::

    python -P -m edgeml_runtime.measure machine
    python -P -m edgeml_runtime.measure model PATH [--variant ID …] [--threads N] [--backend NAME] [--seconds S]
        [--starts N]

The first prints the machine (:class:`edgeml_runtime.machine.Machine`), the second a
:class:`edgeml_runtime.measure.report.Measurement`. Progress goes to stderr, one JSON object per line. Exit status: 0
also when a variant could not be measured (the answer says why); 2 when nothing could be, with a message on stderr.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import EdgemlError, InputError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.measure.bare import BareSignature
from edgeml_runtime.measure.child import ChildFailure, run_child
from edgeml_runtime.measure.report import Measurement, Start, VariantMeasurement, samples_from_dict
from edgeml_runtime.measure.start import start_arguments
from edgeml_runtime.progress import ProgressEvent, silent
from edgeml_runtime.tuned_store import Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_runtime.progress import Progress

__all__ = ["DEFAULT_SECONDS", "DEFAULT_STARTS", "MeasureRequest", "main", "measure_model"]

DEFAULT_SECONDS = 2.0
DEFAULT_STARTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRequest:
    """What to measure, and within which bounds.

    Attributes:
        path: A bundle, or a bare ``.onnx``, ``.ort`` or ``.tflite`` file.
        variants: Variant ids, or None for all of them; not used for a bare model. Or ways to run a bundle, each as
            ``VARIANT/BACKEND/THREADS`` (:class:`edgeml_runtime.tuned_store.Choice`): then ``threads`` and ``backend``
            are not used, and only those are timed whose golden vectors pass.
        threads: Threads for the backend, or None for its default.
        backend: What is to run it, or None for the backend that the manifest names for each variant, or that is there
            for the format of a bare model.
        seconds: How long to time each variant, warm-up apart.
        starts: Fresh processes per variant for cold start and memory, after one that is not recorded because it may
            still have to compile Python files and to read from the disk; 0 for none at all.
        start_limit_s: Seconds after which a start counts as hanging.
        latency_limit_s: Seconds after which the latency loop counts as hanging, beyond the time it was asked to take.
        seed: Seed of the order in which variants take turns.
    """

    path: str
    variants: tuple[str, ...] | None = None
    threads: int | None = None
    backend: str | None = None
    seconds: float = DEFAULT_SECONDS
    starts: int = DEFAULT_STARTS
    start_limit_s: float = 60.0
    latency_limit_s: float = 120.0
    seed: int = 0

    def latency_s(self, variants: int) -> float:
        """Seconds after which one latency loop is killed.

        Args:
            variants: How many variants it measures.
        """
        return self.latency_limit_s + 4 * variants * (self.seconds + 1)

    def longest_s(self, variants: int) -> float:
        """Seconds after which :func:`measure_model` has ended in any case.

        Args:
            variants: How many variants it measures.
        """
        starts = (variants * (self.starts + 1) + 1) * self.start_limit_s
        return starts + self.latency_s(variants) + variants * self.latency_s(1)


@dataclass(slots=True)
class _Work:
    """One variant while it is measured."""

    id: str
    size_bytes: int
    starts: list[Start]
    failure: str | None = None


def _describe(request: MeasureRequest) -> tuple[list[_Work], str | None, BareSignature | None]:
    message = json.dumps({"path": request.path, "backend": request.backend})
    try:
        answer = run_child("measure.worker", ["describe", message], limit_s=request.start_limit_s)
    except ChildFailure as failure:
        raise InputError(f"{request.path}: cannot be measured: {failure}") from failure
    signature = None if answer["signature"] is None else BareSignature.from_dict(answer["signature"])
    known = [_Work(id=row["id"], size_bytes=row["size_bytes"], starts=[]) for row in answer["variants"]]
    if request.variants is None or signature is not None:
        return known, answer["auto_variant"], signature
    sizes = {work.id: work.size_bytes for work in known}
    unknown = sorted({_variant_of(name) for name in request.variants} - set(sizes))
    if unknown:
        held = ", ".join(work.id for work in known)
        raise InputError(f"{request.path}: no variant {', '.join(unknown)}; the bundle holds {held}")
    names = dict.fromkeys(request.variants)
    wanted = [_Work(id=name, size_bytes=sizes[_variant_of(name)], starts=[]) for name in names]
    order = list(sizes)
    return sorted(wanted, key=lambda work: order.index(_variant_of(work.id))), answer["auto_variant"], signature


def _variant_of(name: str) -> str:
    return name.partition("/")[0]


def _start_words(request: MeasureRequest, name: str, signature: BareSignature | None) -> list[str]:
    if "/" not in name or signature is not None:
        return start_arguments(request.path, name, request.threads, signature, request.backend)
    choice = Choice.parse(name)
    return start_arguments(request.path, choice.variant, choice.threads, None, choice.backend)


def _measure_starts(
    request: MeasureRequest, works: list[_Work], signature: BareSignature | None, progress: Progress
) -> None:
    order = random.Random(request.seed)
    rounds = request.starts + 1 if request.starts else 0
    for number in range(rounds):
        turns = [work for work in works if work.failure is None]
        order.shuffle(turns)
        for work in turns:
            words = _start_words(request, work.id, signature)
            try:
                start = Start(**run_child("measure.start", words, limit_s=request.start_limit_s))
            except ChildFailure as failure:
                work.failure = str(failure)
                continue
            if number > 0:
                work.starts.append(start)
        progress(ProgressEvent(step="cold start", done=number + 1, total=rounds))


def _measure_latency(request: MeasureRequest, works: list[_Work], signature: BareSignature | None) -> dict[str, Any]:
    running = [work for work in works if work.failure is None]
    if not running:
        return {}
    message = {
        "path": request.path,
        "signature": None if signature is None else signature.to_dict(),
        "variants": [work.id for work in running],
        "threads": request.threads,
        "backend": request.backend,
        "seconds": request.seconds,
        "seed": request.seed,
    }
    job = "choices" if signature is None and any("/" in work.id for work in running) else "latency"
    try:
        answer = run_child("measure.worker", [job, json.dumps(message)], limit_s=request.latency_s(len(running)))
    except ChildFailure as failure:
        if len(running) > 1:  # one of them ended the process: alone, the others can still be measured
            alone = [_measure_latency(request, [work], signature) for work in running]
            return {variant: figures for answer in alone for variant, figures in answer.items()}
        running[0].failure = str(failure)
        return {}
    for work in running:
        work.failure = answer.get("failures", {}).get(work.id)
    return dict(answer["variants"])


def _variant(work: _Work, timed: dict[str, Any] | None) -> VariantMeasurement:
    if timed is None:
        return VariantMeasurement(id=work.id, size_bytes=work.size_bytes, failure=work.failure)
    return VariantMeasurement(
        id=work.id,
        size_bytes=work.size_bytes,
        backend=timed["backend"],
        backend_version=timed["backend_version"],
        threads=timed["threads"],
        samples=samples_from_dict(timed["samples"]),
        starts=tuple(work.starts),
    )


def measure_model(request: MeasureRequest, *, progress: Progress = silent) -> Measurement:
    """Measure cold start, memory and latency of a model, each in fresh processes.

    Args:
        request: What to measure.
        progress: Told after every start and when the latency loop begins.

    Returns:
        Every figure; a variant that crashes, hangs or has no backend here carries the reason.

    Raises:
        InputError: The file cannot be read at all, or a variant is not in it.
    """
    works, auto_variant, signature = _describe(request)
    _measure_starts(request, works, signature, progress)
    progress(ProgressEvent(step="latency", done=0, total=None, message=f"{request.seconds:g} s per variant"))
    timed = _measure_latency(request, works, signature)
    return Measurement(
        machine=probe_machine(),
        auto_variant=auto_variant,
        variants=tuple(_variant(work, timed.get(work.id)) for work in works),
        python=platform.python_version(),
    )


def _print_progress(event: ProgressEvent) -> None:
    row = {"step": event.step, "done": event.done, "total": event.total, "message": event.message}
    sys.stderr.write(json.dumps(row) + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgeml_runtime.measure", description="Measure on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("machine", help="print what this machine is")
    model = commands.add_parser("model", help="measure a bundle, or a bare .onnx, .ort or .tflite file")
    model.add_argument("path", metavar="PATH")
    model.add_argument("--variant", action="append", metavar="ID", help="only this one; may be given several times")
    model.add_argument(
        "--threads", type=int, metavar="N", help="threads for the backend; its own default when left out"
    )
    model.add_argument("--backend", metavar="NAME", help="what is to run it; the manifest's own when left out")
    model.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="time per variant (%(default)s)")
    model.add_argument("--starts", type=int, default=DEFAULT_STARTS, help="fresh processes each (%(default)s)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command.

    Args:
        arguments: Words after ``python -m edgeml_runtime.measure``.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "machine":
            answer = probe_machine().to_dict()
        else:
            request = MeasureRequest(
                path=options.path,
                variants=None if options.variant is None else tuple(options.variant),
                threads=options.threads,
                backend=options.backend,
                seconds=options.seconds,
                starts=options.starts,
            )
            answer = measure_model(request, progress=_print_progress).to_dict()
    except EdgemlError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0
