"""How the machines and circumstances of two benches differ, in words."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_devices.past import BenchFacts

__all__ = ["Differences", "differences"]

_ALIKE = 0.05
"""Clocks this close count as equal: the same as times that count as settled. A clock that is measured wavers."""

_MEMORY_ALIKE = 0.02
"""A kernel's update moves what it keeps for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """How two benches differ, each difference once, in words.

    Attributes:
        machine: What makes it another machine.
        pace: What makes the same machine faster or slower: its clock, how that is chosen, the memory it could use.
        software: What the model ran on: releases of Python and of the backends.
    """

    machine: tuple[str, ...] = ()
    pace: tuple[str, ...] = ()
    software: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.machine, *self.pace, *self.software)


def differences(then: BenchFacts, now: BenchFacts) -> Differences:
    """Compare the machines and circumstances of two benches.

    Args:
        then: The earlier one.
        now: The later one.

    Returns:
        Every difference that is known; what one of them does not state is none.
    """
    return Differences(
        machine=tuple(_machine(then, now)), pace=tuple(_pace(then, now)), software=tuple(_software(then, now))
    )


def _machine(then: BenchFacts, now: BenchFacts) -> Iterator[str]:
    old, new = then.machine, now.machine
    for what, before, after in (
        ("architecture", old.arch, new.arch),
        ("CPU", old.cpu, new.cpu),
        ("board", old.board, new.board),
        ("cores", old.cores, new.cores),
    ):
        if before != after:
            yield f"{what} {before} then, {after} now"
    if set(old.isa) != set(new.isa):
        lost, gained = sorted(set(old.isa) - set(new.isa)), sorted(set(new.isa) - set(old.isa))
        parts = [f"without {', '.join(lost)}"] * bool(lost) + [f"with {', '.join(gained)}"] * bool(gained)
        yield f"CPU features now {' and '.join(parts)}"
    if abs(old.memory_bytes - new.memory_bytes) > _MEMORY_ALIKE * old.memory_bytes:
        yield f"memory {old.memory_bytes / 1e9:.1f} GB then, {new.memory_bytes / 1e9:.1f} GB now"


def _pace(then: BenchFacts, now: BenchFacts) -> Iterator[str]:
    governors = [{one.governor for one in bench.conditions} - {None} for bench in (then, now)]
    if all(governors) and governors[0] != governors[1]:
        old, new = (", ".join(sorted(map(str, names))) for names in governors)
        yield f"governor {old} then, {new} now"
    measured = [_clock(bench) for bench in (then, now)]
    stated = [bench.machine.clock_mhz for bench in (then, now)]
    for what, (before, after) in (("clock while measuring", measured), ("highest clock", stated)):
        if before and after and abs(before - after) > _ALIKE * before:
            yield f"{what} {before:,.0f} MHz then, {after:,.0f} MHz now"
            break
    limits = [bench.memory_limit_bytes for bench in (then, now)]
    if limits[0] != limits[1]:
        old, new = ("no limit" if limit is None else f"{limit / 1e6:,.0f} MB" for limit in limits)
        yield f"memory of the processes: {old} then, {new} now"


def _clock(bench: BenchFacts) -> float | None:
    clocks = [one.clock_mhz for one in bench.conditions if one.clock_mhz is not None]
    return median(clocks) if clocks else None


def _software(then: BenchFacts, now: BenchFacts) -> Iterator[str]:
    if then.python and now.python and then.python != now.python:
        yield f"Python {then.python} then, {now.python} now"
    earlier = {variant.name: variant for variant in then.variants}
    found: dict[str, None] = {}
    for variant in now.variants:
        before = earlier.get(variant.name)
        if before is None or before.backend != variant.backend:
            continue
        versions: Sequence[str | None] = (before.backend_version, variant.backend_version)
        if all(versions) and versions[0] != versions[1]:
            found[f"{variant.backend} {versions[0]} then, {versions[1]} now"] = None
    yield from found
