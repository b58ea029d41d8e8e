"""Profiling the variants of a bench by operator, on the target that was benched, and the roofline of that machine."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeml_devices.ceilings import ROUNDS, ceilings_command, joined, read_ceilings
from edgeml_devices.operators import OperatorProfile
from edgeml_devices.roofline import roofline_of
from edgeml_devices.targets import MODEL, RunsPython
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.progress import ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.ceilings import Ceiling
    from edgeml_devices.report import BenchReport, VariantReport
    from edgeml_devices.roofline import Roofline
    from edgeml_devices.targets import Ended, Target
    from edgeml_runtime.progress import Progress

__all__ = ["PROFILE_SECONDS", "ProfiledBench", "able_to_profile", "profile_bench"]

PROFILE_SECONDS = 2.0
_LIMIT_S = 180.0
_CEILINGS_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfiledBench:
    """The variants of a bench by their operators.

    Attributes:
        profiles: One per variant, in the order of the bench.
        roofline: Their place below the ceilings of the machine, or None where no variant could be profiled.
    """

    profiles: tuple[OperatorProfile, ...]
    roofline: Roofline | None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "operators": [profile.to_dict() for profile in self.profiles],
            "roofline": None if self.roofline is None else self.roofline.to_dict(),
        }


def able_to_profile(target: Target) -> RunsPython:
    """The target as one that can profile.

    Args:
        target: Where the model is benched.

    Returns:
        The same.

    Raises:
        InputError: It has no Python that edgeml can use.
    """
    if isinstance(target, RunsPython):
        return target
    raise InputError(
        "profiling by operator needs a Python on the device, and there a program measures: leave --profile out"
    )


def profile_bench(
    report: BenchReport,
    target: Target,
    *,
    backend: str | None = None,
    seconds: float = PROFILE_SECONDS,
    rounds: int = ROUNDS,
    progress: Progress = silent,
) -> BenchReport:
    """Profile every variant that a bench has measured, and measure the ceilings of the machine before and after.

    Args:
        report: The bench.
        target: Where it was made.
        backend: What ran the variants, or None for the backends that the manifest names.
        seconds: About how long to profile each variant.
        rounds: How often each ceiling is measured, before and again after.
        progress: Told what is being profiled.

    Returns:
        The bench with :attr:`BenchReport.profiled`; with ``lost`` where the target was lost meanwhile. Without it where
        the bench measured nothing.

    Raises:
        InputError: The target has no Python that edgeml can use.
    """
    able = able_to_profile(target)
    ran = [variant for variant in report.variants if variant.latency is not None]
    if not ran or report.lost is not None:
        return replace(report, notes=(*report.notes, "no operators were profiled, because nothing was measured"))
    profiles: list[OperatorProfile] = []
    ceilings: tuple[Ceiling, ...] = ()
    try:
        ceilings = _ceilings(report, able, ran[0].threads or 1, rounds, progress)
        for number, variant in enumerate(report.variants):
            progress(ProgressEvent(step="operators", done=number, total=len(report.variants), message=variant.id))
            profiles.append(_profile(report.model, variant, able, backend, seconds))
        ceilings = joined(ceilings, _ceilings(report, able, ran[0].threads or 1, rounds, progress))
    except TargetError as error:
        found = ProfiledBench(profiles=tuple(profiles), roofline=_roofline(ceilings, profiles))
        return replace(report, profiled=found, lost=str(error))
    return replace(report, profiled=ProfiledBench(profiles=tuple(profiles), roofline=_roofline(ceilings, profiles)))


def _profile(
    path: str, variant: VariantReport, target: RunsPython, backend: str | None, seconds: float
) -> OperatorProfile:
    if variant.latency is None:
        return OperatorProfile(variant=variant.id, reason=variant.reason)
    request = {"path": MODEL, "variant": variant.id, "threads": variant.threads, "backend": backend, "seconds": seconds}
    words = ["-m", "edgeml_devices.profilers", json.dumps(request)]
    ended = target.run_python(words, model=path, limit_s=_LIMIT_S + 10 * seconds, progress=silent)
    try:
        return OperatorProfile.from_answer(variant.id, json.loads(ended.output))
    except (ValueError, KeyError, TypeError):
        return OperatorProfile(variant=variant.id, reason=_ending(ended))


def _ending(ended: Ended) -> str:
    """Why a process gave no answer."""
    if ended.status < 0:
        try:
            name = signal.Signals(-ended.status).name
        except ValueError:
            name = str(-ended.status)
        return f"the profiled process was ended by signal {name}"
    last = [line.strip() for line in ended.messages.splitlines() if line.strip()][-1:]
    return ": ".join([f"the profiled process ended with status {ended.status} and no answer", *last])


def _ceilings(
    report: BenchReport, target: RunsPython, threads: int, rounds: int, progress: Progress
) -> tuple[Ceiling, ...]:
    """What that machine can do with as many threads as a bench gives to all variants."""
    progress(ProgressEvent(step="ceilings", done=0, total=1, message="bandwidth and arithmetic of the machine"))
    words = ceilings_command(threads=threads, memory_bytes=report.machine.memory_bytes, rounds=rounds)
    ended = target.run_python(words, model=None, limit_s=_CEILINGS_LIMIT_S, progress=silent)
    return read_ceilings(ended.output, threads, status=ended.status, messages=ended.messages)


def _roofline(ceilings: Sequence[Ceiling], profiles: Sequence[OperatorProfile]) -> Roofline | None:
    return roofline_of(ceilings, profiles) if ceilings and any(profile.rows for profile in profiles) else None
