"""Instructions of one inference, variant by variant, as the page compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.emulator.found import LayerCounts
from edgeml_devices.reports.history import run_of
from edgeml_devices.reports.words import emulated_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeml_devices.past import BenchFacts
    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = ["CountedBench", "CountedVariant", "by_format", "counted_benches", "counted_variants", "rest_of"]

REFERENCE = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedVariant:
    """A variant whose instructions were counted.

    Attributes:
        name: Its id, or the way in which it was run.
        counts: Instructions of one inference.
        layers: Those of each layer, in the order of execution; empty where they were not told apart.
        layers_reason: Why not, or None.
    """

    name: str
    counts: ClassCounts
    layers: tuple[LayerCounts, ...] = ()
    layers_reason: str | None = None

    @property
    def format(self) -> str:
        """Its file format, which ids of variants begin with."""
        return self.name.partition("-")[0]

    @property
    def is_reference(self) -> bool:
        """Whether others of its format are compared with it."""
        return self.name.partition("-")[2] == REFERENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedBench:
    """An emulated bench.

    Attributes:
        device: The profile.
        cpu: QEMU's name of the CPU model.
        variants: Those that were counted.
        when: The day it was made for one from an earlier result; None for one of this page.
    """

    device: str
    cpu: str
    variants: tuple[CountedVariant, ...]
    when: str | None = None


def counted_variants(values: Mapping[str, Any]) -> tuple[CountedVariant, ...]:
    """The variants of a bench that were counted.

    Args:
        values: The JSON form of the bench.
    """
    return tuple(
        CountedVariant(
            name=row.get("way") or row["id"],
            counts=ClassCounts.from_dict(row["emulated"]["counts"]),
            layers=tuple(_layer(one) for one in row["emulated"]["layers"]),
            layers_reason=row["emulated"]["layers_reason"],
        )
        for row in emulated_rows(values)
        if row["emulated"]["counts"] is not None
    )


def _layer(values: Mapping[str, Any]) -> LayerCounts:
    return LayerCounts(name=values["name"], type=values["type"], counts=ClassCounts.from_dict(values["counts"]))


def counted_benches(record: BenchRecord, bench: TargetBench) -> list[CountedBench]:
    """This bench, then those of other profiles or CPUs: of the same page, and the latest of each among earlier results.

    Args:
        record: Holds them all.
        bench: The one at hand.
    """
    here = [bench, *(one for one in record.benches if one is not bench and one.measured)]
    runs = () if record.history is None else record.history.runs
    name = run_of(record, bench).name
    earlier = [_of_run(run) for run in reversed(runs) if run.name in (name, None)]
    found: dict[tuple[str, str], CountedBench] = {}
    for one in (*(_of_bench(one) for one in here), *earlier):
        if one.variants:
            found.setdefault((one.device, one.cpu), one)
    return list(found.values())


def _of_bench(bench: TargetBench) -> CountedBench:
    values = bench.values
    return CountedBench(device=values["device"], cpu=values["machine"]["cpu"], variants=counted_variants(values))


def _of_run(run: BenchFacts) -> CountedBench:
    return CountedBench(
        device=run.device or "unknown device",
        cpu=run.machine.cpu,
        variants=tuple(
            CountedVariant(name=one.name, counts=one.counts) for one in run.variants if one.counts is not None
        ),
        when=f"{run.measured_at:%Y-%m-%d}",
    )


def by_format(variants: Iterable[CountedVariant]) -> list[Sequence[CountedVariant]]:
    """Variants of the same file format together, the one in floats first.

    Args:
        variants: In the order of the file.
    """
    groups: dict[str, list[CountedVariant]] = {}
    for one in variants:
        groups.setdefault(one.format, []).append(one)
    return [sorted(group, key=lambda one: not one.is_reference) for group in groups.values()]


def rest_of(variant: CountedVariant) -> ClassCounts:
    """What no layer accounts for: the runtime, and the call into it.

    Args:
        variant: One with layers.
    """
    return variant.counts - sum((layer.counts for layer in variant.layers), start=ClassCounts())
