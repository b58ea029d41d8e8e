"""Whether a model got worse than in an earlier bench, and what that comparison is worth: a pure function of both.

The same file measured twice on the same machine gives different figures: where processes find their memory, the clock,
temperature, other virtual machines and whatever was installed in between differ. On rented machines such differences
are larger than many slowdowns one would like to find, while two programs that take turns in one run can be told apart
(Laaber, Scheuner and Leitner, "Software microbenchmarking in the cloud. How bad is it really?", Empirical Software
Engineering 24 (2019)): that is :mod:`edgeml_devices.against`. This comparison is a coarse net for where the other model
is not at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_devices.conditions import disturbance
from edgeml_devices.report import Verdict
from edgeml_devices.sameness import Differences, differences
from edgeml_runtime.contract import BudgetName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeml_devices.intervals import Figure
    from edgeml_devices.past import BenchFacts, VariantFacts

__all__ = ["ALLOWANCES", "TOLERANCE", "BaselineComparison", "FigureComparison", "compare_with", "pick_earlier"]

TOLERANCE = 0.05
"""What is put up with, as a share: the same as beside another model (:data:`edgeml_devices.against.TOLERANCE`)."""

ALLOWANCES = {
    BudgetName.LATENCY_MS_P50: 0.10,
    BudgetName.LATENCY_MS_P95: 0.20,
    BudgetName.THROUGHPUT_PER_S: 0.10,
    BudgetName.COLD_START_MS: 0.20,
    BudgetName.PEAK_RSS_MB: 0.05,
    BudgetName.BUNDLE_MB: 0.0,
    BudgetName.INSTRUCTIONS: 0.0,
}
"""What two benches of the same file on the same machine may differ by beyond their intervals, as a share.

``python benchmarks/quiet.py`` measures it; docs/results.md has the figures. p95 and cold start depend on the rest of
the system most: on its interrupts, and on its file cache. A size is exact, and instructions are nearly.
"""

INSTRUCTIONS_TOLERANCE = 0.005
"""What is put up with of instructions: one per cent more is found, and what counts differ by is not."""

_LOWER_IS_WORSE = {BudgetName.THROUGHPUT_PER_S}
_TIMED = set(ALLOWANCES) - {BudgetName.PEAK_RSS_MB, BudgetName.BUNDLE_MB, BudgetName.INSTRUCTIONS}


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureComparison:
    """One figure then and now.

    Attributes:
        variant: The variant's id, or a way to run it as text; None for the whole file.
        name: The figure.
        then: Its value in the earlier bench, or None where it was not measured.
        now: Its value in this one, likewise.
        ratio: How many times as bad it is now, with its interval; above 1 is worse. None without both values.
        allowed: The largest ratio that passes.
        verdict: ``pass`` where the whole interval lies within ``allowed``, ``fail`` where it lies beyond.
        reason: Why, where the ratio alone does not say it; empty otherwise.
    """

    variant: str | None
    name: BudgetName
    then: float | None
    now: float | None
    ratio: tuple[float, float, float] | None
    allowed: float
    verdict: Verdict
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether measuring longer may decide it: not where the earlier bench is what makes it inconclusive."""
        return self.verdict is Verdict.INCONCLUSIVE and self.ratio is not None and self.ratio[2] > self.allowed

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; ``null`` for an end that does not exist."""
        ratio, low, high = self.ratio or (None, None, None)
        return {
            "variant": self.variant,
            "name": self.name.value,
            "then": self.then,
            "now": self.now,
            "ratio": ratio,
            "low": low or None,
            "high": None if high is None or not math.isfinite(high) else high,
            "allowed": self.allowed,
            "verdict": self.verdict.value,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineComparison:
    """A bench beside an earlier one.

    Attributes:
        then: The earlier bench, or None where the file has none of this machine.
        now: This one.
        found: How the two differ.
        figures: Every figure that both could have, the file's size first.
        left_out: Variants of this bench that the earlier one lacks.
        reason: Why nothing is compared; empty otherwise.
    """

    then: BenchFacts | None
    now: BenchFacts
    found: Differences
    figures: tuple[FigureComparison, ...]
    left_out: tuple[str, ...] = ()
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """1 where a figure got worse, 4 where that cannot be told, else 0."""
        verdicts = {figure.verdict for figure in self.figures}
        if Verdict.FAIL in verdicts:
            return 1
        return 4 if verdicts - {Verdict.PASS} or not verdicts else 0

    @property
    def undecided(self) -> set[str]:
        """Variants with figures that are inconclusive and might be decided by more calls, or on a quieter machine."""
        return {one.variant for one in self.figures if one.variant is not None and one.open}

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        then = self.then
        return {
            "measured_at": None if then is None else then.measured_at.isoformat(timespec="seconds"),
            "hours_between": None if then is None else round(_hours(then, self.now), 2),
            "version": None if then is None else then.version,
            "same_machine": not self.found.machine and then is not None,
            "differences": list(self.found.all),
            "disturbed_then": None if then is None else disturbance(then.conditions),
            "disturbed_now": disturbance(self.now.conditions),
            "figures": [figure.to_dict() for figure in self.figures],
            "left_out": list(self.left_out),
            "reason": self.reason,
        }


def _hours(then: BenchFacts, now: BenchFacts) -> float:
    return (now.measured_at - then.measured_at).total_seconds() / 3600


def pick_earlier(benches: Sequence[BenchFacts], now: BenchFacts) -> BenchFacts | None:
    """The bench of a file that another one is to be compared with.

    Args:
        benches: Of one file, at least one.
        now: The bench at hand.

    Returns:
        The one of the same target; else one of the same machine; else the only one there is, whatever its machine.
        None where there are several and none fits.
    """
    named = [bench for bench in benches if bench.target is not None and bench.target == now.target]
    alike = [bench for bench in benches if not differences(bench, now).machine]
    for fitting in (named, alike):
        if fitting:
            return fitting[0]
    return benches[0] if len(benches) == 1 else None


def compare_with(then: BenchFacts | None, now: BenchFacts) -> BaselineComparison:
    """Compare a bench with an earlier one.

    Times and memory are compared on the same machine only, in the same way of running: elsewhere a verdict would be
    about the machines. A figure is worse where the whole interval of its ratio lies beyond the tolerance and the
    allowance together. A machine that was busy now makes a worse time inconclusive; one that was busy then, or whose
    clock or governor has changed, makes a better one inconclusive as well. Size is compared on any machine.

    Args:
        then: The earlier bench, or None where there is none of this machine.
        now: The bench at hand.

    Returns:
        The comparison.
    """
    if then is None:
        reason = "the earlier result has no bench of this target, nor of a machine like this one"
        return BaselineComparison(then=None, now=now, found=Differences(), figures=(), reason=reason)
    found = differences(then, now)
    earlier = {variant.name: variant for variant in then.variants}
    return BaselineComparison(
        then=then,
        now=now,
        found=found,
        figures=(
            *_size(then, now),
            *(
                figure
                for variant in now.variants
                if variant.name in earlier
                for figure in _figures(earlier[variant.name], variant, (then, now), found)
            ),
        ),
        left_out=tuple(variant.name for variant in now.variants if variant.name not in earlier),
    )


def _size(then: BenchFacts, now: BenchFacts) -> Iterator[FigureComparison]:
    if then.size_bytes is None or now.size_bytes is None:
        return
    ratio, allowed = now.size_bytes / max(then.size_bytes, 1), 1 + TOLERANCE
    yield FigureComparison(
        variant=None,
        name=BudgetName.BUNDLE_MB,
        then=then.size_bytes / 1e6,
        now=now.size_bytes / 1e6,
        ratio=(ratio, ratio, ratio),
        allowed=allowed,
        verdict=Verdict.PASS if ratio <= allowed else Verdict.FAIL,
    )


def _figures(
    then: VariantFacts, now: VariantFacts, benches: tuple[BenchFacts, BenchFacts], found: Differences
) -> Iterator[FigureComparison]:
    obstacle = _obstacle(then, now, found)
    for name, allowance in ALLOWANCES.items():
        old, new = then.figures.get(name), now.figures.get(name)
        if name is BudgetName.BUNDLE_MB or (old is None and new is None and (then.figures or now.figures)):
            continue
        ratio = None if old is None or new is None or obstacle else _ratio(name, old, new)
        allowed = 1 + (INSTRUCTIONS_TOLERANCE if name is BudgetName.INSTRUCTIONS else TOLERANCE + allowance)
        verdict, reason = Verdict.NOT_MEASURED, obstacle or f"not measured {'then' if old is None else 'now'}"
        if ratio is not None:
            verdict, reason = _decide(name, ratio, allowed, benches, found)
        yield FigureComparison(
            variant=now.name,
            name=name,
            then=None if old is None else old.value,
            now=None if new is None else new.value,
            ratio=ratio,
            allowed=allowed,
            verdict=verdict,
            reason=reason,
        )


def _obstacle(then: VariantFacts, now: VariantFacts, found: Differences) -> str | None:
    """Why figures of a variant cannot be compared at all, or None."""
    if found.machine:
        return f"another machine: {'; '.join(found.machine)}"
    if not now.figures:
        return "it did not run now"
    if not then.figures:
        return "it did not run then"
    ways = [(one.runner or one.backend, one.threads, one.sustained) for one in (then, now)]
    if ways[0] == ways[1]:
        return None
    texts = [f"{ran} with {threads} thread(s){', sustained' if hot else ''}" for ran, threads, hot in ways]
    return f"it ran on {texts[0]} then and on {texts[1]} now"


def _ratio(name: BudgetName, then: Figure, now: Figure) -> tuple[float, float, float]:
    """How many times as bad, with its 95 % interval.

    The interval follows from the two figures' own ones, whose distances add up as those of independent estimates do, in
    logarithms: Zou and Donner, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27 (2008).
    """
    above, below = (then, now) if name in _LOWER_IS_WORSE else (now, then)
    ratio = above.value / max(below.value, 1e-12)
    down = math.hypot(_distance(above.low, above.value), _distance(below.value, below.high))
    up = math.hypot(_distance(above.value, above.high), _distance(below.low, below.value))
    return ratio, ratio * math.exp(-down), ratio * math.exp(up)


def _distance(low: float, high: float) -> float:
    """How far apart two values are, in logarithms; infinitely where one is no positive number."""
    return math.log(high / low) if low > 0 and math.isfinite(high) else math.inf


def _decide(
    name: BudgetName,
    ratio: tuple[float, float, float],
    allowed: float,
    benches: tuple[BenchFacts, BenchFacts],
    found: Differences,
) -> tuple[Verdict, str]:
    _, low, high = ratio
    then, now = (disturbance(bench.conditions) if name in _TIMED else None for bench in benches)
    pace = "; ".join(found.pace) if name in _TIMED else ""
    if not math.isfinite(high) and low == 0.0:
        return Verdict.INCONCLUSIVE, "too few processes for an interval: raise --time-limit"
    if low > allowed:
        if now is not None:
            return Verdict.INCONCLUSIVE, f"worse, but {now} now: bench on a quieter machine"
        if pace:
            return Verdict.INCONCLUSIVE, f"worse, but {pace}"
        return Verdict.FAIL, f"it may be due to {'; '.join(found.software)}" if found.software else ""
    if high <= allowed:
        if then is not None:
            return Verdict.INCONCLUSIVE, f"not worse than then, but {then} then: bench the earlier model again"
        return (Verdict.INCONCLUSIVE, f"not worse than then, but {pace}") if pace else (Verdict.PASS, "")
    advice = "" if name is BudgetName.INSTRUCTIONS else ": raise --time-limit"
    return Verdict.INCONCLUSIVE, f"what is allowed lies within the interval{advice}"
