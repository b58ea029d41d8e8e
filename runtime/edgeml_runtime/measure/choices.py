"""Ways to run one bundle, timed side by side: variant, backend and number of threads.

A choice is timed only after the bundle's golden vectors have passed on it. All of them are loaded into one process and
take turns, so that whatever the machine does meets all alike; that process is a child, because loading a model file
into a backend it was not made with may end the process.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.measure.child import ChildFailure, run_child
from edgeml_runtime.tuned_store import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.measure.subject import Subject

__all__ = ["ALIKE", "Timed", "choose", "measure_choices", "time_choices"]

ALIKE = 0.05
"""Times this close count as equal: processes that run the same file differ by a few per cent (docs/bench.md)."""

_START_S = 20.0
_LEAST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What was found of one choice.

    Attributes:
        choice: The choice.
        p50_ms: Median time of a prediction in the quietest round, or None where it was not timed: a burst of other work
            makes some rounds slower, and never one faster.
        calls: Predictions that were timed.
        reason: Why it was not timed, or None.
    """

    choice: Choice
    p50_ms: float | None = None
    calls: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**self.choice.to_dict(), "p50_ms": self.p50_ms, "calls": self.calls, "reason": self.reason}


def choose(timed: Sequence[Timed]) -> Choice | None:
    """The fastest choice; among those within ``ALIKE`` of it the fewest threads, then the earliest in the list.

    Args:
        timed: In order of preference.

    Returns:
        The choice, or None where none was timed.
    """
    ran = [(one.p50_ms, one.choice) for one in timed if one.p50_ms is not None]
    if not ran:
        return None
    best = min(p50_ms for p50_ms, _ in ran)
    return min((choice for p50_ms, choice in ran if p50_ms <= best * (1 + ALIKE)), key=lambda choice: choice.threads)


def _open(path: str, choice: Choice) -> Subject:
    from edgeml_runtime.measure.subject import bundle_subject

    return bundle_subject(path, choice.variant, choice.threads, backend=choice.backend, self_test=True)


def time_choices(request: Mapping[str, Any]) -> dict[str, Any]:
    """Load choices, test them and time those that pass, in this process.

    Args:
        request: ``path``, ``variants`` (choices as text), ``seed``, and ``seconds`` for each of them. Or ``in_all_s``,
            seconds for all of them together, loading included: then later choices are left out where earlier ones take
            that long to load, and at least a quarter of it is spent on timing.

    Returns:
        ``variants``: choice → {``backend``, ``backend_version``, ``threads``, ``samples``}; ``failures``: choice → why
        there are no figures.
    """
    from edgeml_runtime.measure.loop import LoopLimits, measure_interleaved
    from edgeml_runtime.measure.report import samples_to_dict
    from edgeml_runtime.measure.start import describe_failure

    begun, in_all_s, order = time.perf_counter(), request.get("in_all_s"), list(request["variants"])
    if in_all_s is None:
        random.shuffle(order)  # which one finds its memory first is left to chance, in each process anew
    subjects: dict[str, Subject] = {}
    failures: dict[str, str] = {}
    for text in order:
        if in_all_s is not None and len(subjects) >= _LEAST and time.perf_counter() - begun > in_all_s:
            failures[text] = f"not tried: loading the others took the {in_all_s:g} s"
            continue
        try:
            subjects[text] = _open(request["path"], Choice.parse(text))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in the model under measurement is the answer
            failures[text] = describe_failure(error)
    if not subjects:
        return {"variants": {}, "failures": failures}
    if in_all_s is None:
        seconds, limits = request["seconds"], LoopLimits()
    else:
        limits = LoopLimits(warmup_s=0.1, block_s=0.01)
        left_s = max(in_all_s - (time.perf_counter() - begun), in_all_s / 4)
        seconds = max(left_s / len(subjects) - 2 * limits.block_s, limits.block_s)
    runs = {text: subject.run for text, subject in subjects.items()}
    measured = measure_interleaved(runs, seconds=seconds, limits=limits, seed=request["seed"])
    for subject in subjects.values():
        subject.close()
    figures = {
        text: {
            "backend": subject.backend,
            "backend_version": subject.backend_version,
            "threads": subject.threads,
            "samples": samples_to_dict(measured[text]),
        }
        for text, subject in subjects.items()
    }
    return {"variants": figures, "failures": failures}


def _time_in_child(
    path: str, choices: Sequence[Choice], seconds: float, environment: Mapping[str, str] | None
) -> list[Timed]:
    from edgeml_runtime.measure.loop import quantile
    from edgeml_runtime.measure.report import samples_from_dict

    message = {"path": path, "variants": [str(choice) for choice in choices], "in_all_s": seconds, "seed": 0}
    words = ["choices", json.dumps(message)]
    answer = run_child("measure.worker", words, limit_s=_START_S + 4 * seconds, environment=environment)
    found = []
    for choice in choices:
        row = answer["variants"].get(str(choice))
        if row is None:
            found.append(Timed(choice=choice, reason=answer["failures"].get(str(choice), "no answer")))
            continue
        samples = samples_from_dict(row["samples"])
        p50_ms = min(quantile(times, 0.5) for times in samples.rounds_ns) / 1e6
        found.append(Timed(choice=choice, p50_ms=p50_ms, calls=len(samples.all_ns)))
    return found


def measure_choices(
    path: str, choices: Sequence[Choice], *, seconds: float, environment: Mapping[str, str] | None = None
) -> list[Timed]:
    """Time choices in a child process.

    Where that process crashes or hangs, each variant and backend has one of its own, so that the others are timed.

    Args:
        path: The bundle.
        choices: What to time, in order of preference.
        seconds: How long that may take in all, the start of the process apart.
        environment: Of the children, or None for that of this process.

    Returns:
        What was found, in the same order.
    """
    if not choices:
        return []
    try:
        return _time_in_child(path, choices, seconds, environment)
    except ChildFailure as failure:
        pairs = list(dict.fromkeys((choice.variant, choice.backend) for choice in choices))
        if len(pairs) == 1:
            return [Timed(choice=choice, reason=str(failure)) for choice in choices]
    found: dict[Choice, Timed] = {}
    for pair in pairs:
        those = [choice for choice in choices if (choice.variant, choice.backend) == pair]
        alone = measure_choices(path, those, seconds=seconds / len(pairs), environment=environment)
        found.update({one.choice: one for one in alone})
    return [found[choice] for choice in choices]
