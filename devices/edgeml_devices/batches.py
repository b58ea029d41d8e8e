"""Measuring in several processes one after the other, until the budgets are decided or the time is up.

One process tells nothing about the next: where it finds its memory moves all of its calls alike. So a bench is made of
batches, each measured by processes of its own. Whether the budgets are decided is asked after ``MIN_PROCESSES`` of
them, after twice as many, after four times as many: asking after each one until the answer pleases would make wrong
answers likely (Armitage, McPherson and Rowe, "Repeated Significance Tests on Accumulating Data", Journal of the Royal
Statistical Society A 132 (1969)).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeml_devices.intervals import MIN_PROCESSES
from edgeml_devices.native.measurement import ran
from edgeml_devices.ways import measure_ways
from edgeml_runtime.errors import TargetError
from edgeml_runtime.progress import ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from edgeml_devices.conditions import Conditions
    from edgeml_devices.memory import MemoryLimit
    from edgeml_devices.targets import Target
    from edgeml_runtime.measure.cli import MeasureRequest
    from edgeml_runtime.measure.report import Measurement
    from edgeml_runtime.progress import Progress

__all__ = ["Batch", "Plan", "measure_batches"]

SUSTAINED_BATCH_S = 10.0
EXPECTED_OF = 3
"""The next batch is expected to take as long as the longest of so many before it: on a busy machine they vary. Until
there are enough for an interval, as long as the last one: without an interval the time was spent for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to go on.

    Attributes:
        time_limit_s: No batch is begun that would probably end after this; one is measured in any case.
        sustained_s: Measure this long, whatever the budgets say; None to stop once they are decided.
    """

    time_limit_s: float
    sustained_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one batch found.

    Attributes:
        began_s: Seconds after the first one.
        took_s: Its own seconds.
        measurement: The figures.
        conditions: The machine meanwhile.
    """

    began_s: float
    took_s: float
    measurement: Measurement
    conditions: Conditions


def _share(request: MeasureRequest, wanted: Sequence[str], number: int, plan: Plan) -> MeasureRequest:
    """The part of a request that one batch measures."""
    starts, rest = divmod(request.starts, MIN_PROCESSES)
    seconds = request.seconds / MIN_PROCESSES if plan.sustained_s is None else SUSTAINED_BATCH_S / len(wanted)
    starts += number % MIN_PROCESSES < rest
    return replace(request, variants=tuple(wanted), seconds=seconds, starts=starts)


def _running(wanted: Sequence[str], batch: Batch) -> tuple[str, ...]:
    """Variants worth measuring again: not those that cannot run here."""
    failed = {variant.id for variant in batch.measurement.variants if not ran(variant)}
    return tuple(name for name in wanted if name not in failed)


def _time_is_up(batches: Sequence[Batch], plan: Plan) -> bool:
    last = batches[-1]
    ended = last.began_s + last.took_s
    if plan.sustained_s is not None:
        return ended >= plan.sustained_s
    lately = batches[-1:] if len(batches) < MIN_PROCESSES else batches[-EXPECTED_OF:]
    return ended + max(batch.took_s for batch in lately) > plan.time_limit_s


def measure_batches(
    target: Target,
    request: MeasureRequest,
    *,
    plan: Plan,
    undecided: Callable[[Sequence[Batch]], Collection[str]],
    limit: MemoryLimit | None = None,
    lost: Callable[[TargetError], None] | None = None,
    earlier: Sequence[Batch] = (),
    together: bool = False,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Batch, ...]:
    """Measure a model batch by batch.

    Args:
        target: Where.
        request: What, as a whole: its seconds and starts are spread over ``MIN_PROCESSES`` batches, and further batches
            are as long; its variants must be named, ways to run one (:class:`~edgeml_runtime.tuned_store.Choice`) as
            text.
        plan: How long to go on.
        undecided: Names the variants that are worth measuring longer, given all batches so far.
        limit: The memory the measuring processes may use, or None for all there is.
        lost: Told why the target did not answer, where a batch was measured before; without it that is raised.
        earlier: Batches of the same request that are gone on from; their time counts.
        together: Whether all names are ways to run a bundle that take turns in one process, golden vectors first.
        progress: Told before every batch.
        clock: Monotonic seconds.

    Returns:
        The batches, in order, the earlier ones included, at least one.

    Raises:
        InputError: The file cannot be measured at all.
        TargetError: The target did not answer.
    """
    batches, wanted, look = list(earlier), tuple(request.variants or ()), MIN_PROCESSES
    begun = clock() - (batches[-1].began_s + batches[-1].took_s if batches else 0.0)
    for batch in batches:
        wanted = _running(wanted, batch)
    while look < len(batches):
        look *= 2
    while wanted and not (batches and _time_is_up(batches, plan)):
        if len(batches) == look and plan.sustained_s is None:
            open_names = undecided(batches)
            wanted, look = tuple(name for name in wanted if name in open_names), look * 2
            if not wanted:
                break
        progress(_event(len(batches), look, plan, clock() - begun))
        began = clock()
        part = _share(request, wanted, len(batches), plan)
        try:
            measurement, conditions = measure_ways(target, part, limit=limit, together=together)
        except TargetError as error:
            if lost is None or not batches:
                raise
            lost(error)
            break
        batch = Batch(
            began_s=began - begun,
            took_s=clock() - began,
            measurement=measurement,
            conditions=conditions,
        )
        batches.append(batch)
        wanted = _running(wanted, batch)
    return tuple(batches)


def _event(number: int, look: int, plan: Plan, elapsed_s: float) -> ProgressEvent:
    if plan.sustained_s is not None:
        total = round(plan.sustained_s)
        return ProgressEvent(step="measure", done=min(round(elapsed_s), total), total=total, message="seconds")
    return ProgressEvent(step="measure", done=number, total=look, message=f"process {number + 1}")
