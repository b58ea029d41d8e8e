"""Every way in which a device's budgets ask for a variant to be run: on which backend, with how many threads.

A bench measures each variant one way: on its own backend, with the profile's threads. Budgets may name others. Each of
those is measured beside it, in processes of its own, so that one bench decides them all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeml_devices.conditions import Conditions
from edgeml_runtime.contract import BudgetName, Provenance
from edgeml_runtime.progress import silent
from edgeml_runtime.tuned_store import Choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeml_devices.memory import MemoryLimit
    from edgeml_devices.targets import Target
    from edgeml_runtime.contract import Budget
    from edgeml_runtime.measure.cli import MeasureRequest
    from edgeml_runtime.measure.report import Measurement, VariantMeasurement

__all__ = ["further_ways", "measure_ways"]

_UNTIMED = {BudgetName.BUNDLE_MB, BudgetName.INSTRUCTIONS}


def further_ways(
    budgets: Iterable[Budget],
    *,
    auto_variant: str | None,
    own_backends: Mapping[str, str],
    profile_threads: int,
    backend: str | None = None,
    threads: int | None = None,
) -> tuple[Choice, ...]:
    """The ways that budgets name besides the one in which a bench measures every variant.

    Args:
        budgets: Of the device.
        auto_variant: The variant that budgets without one are for.
        own_backends: The backend that the manifest names for each variant that is benched.
        profile_threads: Threads that budgets without a number are for.
        backend: The only backend to bench, or None for any.
        threads: The only number of threads to bench, or None for any.

    Returns:
        Each way once, in the order of the budgets; none for variants that are not benched.
    """
    found: dict[Choice, None] = {}
    for budget in budgets:
        variant = budget.variant or auto_variant
        if budget.name in _UNTIMED or Provenance.MEASURED not in budget.accepts:
            continue
        if variant is None or variant not in own_backends:
            continue
        own = own_backends[variant]
        way = Choice(variant=variant, backend=budget.backend or own, threads=budget.threads or profile_threads)
        if backend not in (None, way.backend) or threads not in (None, way.threads):
            continue
        if (way.backend, way.threads) != (backend or own, threads or profile_threads):
            found[way] = None
    return tuple(found)


def measure_ways(
    target: Target, request: MeasureRequest, *, limit: MemoryLimit | None, together: bool = False
) -> tuple[Measurement, Conditions]:
    """Measure what a request names, one backend and number of threads after the other.

    Args:
        target: Where.
        request: What; ``variants`` may hold ways as text beside the ids of variants, which are measured with the
            request's own backend and threads.
        limit: The memory the measuring processes may use, or None for all there is.
        together: Whether all of them, which then are ways, take turns in one process.

    Returns:
        What was measured, each variant under the name the request has for it, and the machine meanwhile.

    Raises:
        InputError: The file cannot be measured at all.
        TargetError: The target did not answer.
    """
    parts, seen = [], []
    for part in [request] if together else _parts(request):
        with target.watch() as watch:
            measurement = target.measure(part, variants=len(part.variants or ()), limit=limit, progress=silent)
        parts.append((part, measurement))
        seen.append(watch.conditions)
    measured = [one for part, measurement in parts for one in _named(part, measurement, request.variants or ())]
    first = parts[0][1]
    return replace(first, variants=tuple(measured)), _worst(seen)


def _parts(request: MeasureRequest) -> Iterator[MeasureRequest]:
    """The request by backend and threads; first what it measures its own way."""
    groups: dict[tuple[str | None, int | None], list[str]] = {}
    for name in request.variants or ():
        if "/" in name:
            way = Choice.parse(name)
            groups.setdefault((way.backend, way.threads), []).append(way.variant)
        else:
            groups.setdefault((None, None), []).append(name)
    for (backend, threads), variants in sorted(groups.items(), key=lambda item: item[0] != (None, None)):
        yield replace(
            request,
            variants=tuple(variants),
            backend=backend or request.backend,
            threads=threads or request.threads,
        )


def _named(part: MeasureRequest, measurement: Measurement, names: Sequence[str]) -> Iterator[VariantMeasurement]:
    """What a part measured, under the names of the whole request."""
    for one in measurement.variants:
        way = f"{one.id}/{part.backend}/{part.threads}"
        yield replace(one, id=way) if way in names else one


def _worst(seen: Sequence[Conditions]) -> Conditions:
    """One stretch for several, each figure as bad as it was in any of them."""
    if len(seen) == 1:
        return seen[0]

    def known(key: str) -> list[Any]:
        return [value for one in seen if (value := getattr(one, key)) is not None]

    return Conditions(
        other_share=max(known("other_share"), default=None),
        clock_mhz=min(known("clock_mhz"), default=None),
        temperature_c=max(known("temperature_c"), default=None),
        throttled=any(throttled) if (throttled := known("throttled")) else None,
        governor=seen[0].governor,
    )
