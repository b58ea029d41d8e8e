"""Which variant, backend and number of threads to use on a device: a pure function of what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edgeml_devices.against import TOLERANCE, judge_ratio, ratio_figure
from edgeml_devices.budgets import SHARES
from edgeml_devices.report import Verdict
from edgeml_runtime.measure.loop import quantile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from edgeml_devices.candidates import Candidate
    from edgeml_devices.intervals import Figure
    from edgeml_devices.report import BudgetResult
    from edgeml_runtime.measure.loop import Samples
    from edgeml_runtime.tuned_store import Choice

__all__ = ["SCREEN_RATIO", "Decision", "Row", "Standing", "decide", "exclude", "survivors"]

SCREEN_RATIO = 1.5
"""What took this many times as long as the fastest in the first process is not measured further: two processes that run
the same file differ by a few per cent, not by half."""


class Standing(Enum):
    """What became of a candidate."""

    CHOSEN = "chosen"
    ALIKE = "alike"
    SLOWER = "slower"
    OVER_BUDGET = "over_budget"
    BELOW_QUALITY = "below_quality"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one candidate, and why.

    Attributes:
        candidate: The candidate.
        standing: What became of it.
        reason: Why it was not taken; empty for the chosen one.
        ratio: Its time over that of the chosen one, or None where one of them was not timed.
    """

    candidate: Candidate
    standing: Standing
    reason: str = ""
    ratio: Figure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The recommendation.

    Attributes:
        chosen: The candidate to use, or None where none will do.
        verdict: ``pass`` where it is known to be within ``TOLERANCE`` of the fastest; ``inconclusive`` where noise
            leaves that open, or whether it keeps a budget; ``fail`` where none keeps quality and budgets;
            ``not_measured`` where none ran.
        rows: One per candidate, in the same order.
        undecided: Candidates that longer measuring might put before the chosen one.
    """

    chosen: Candidate | None
    verdict: Verdict
    rows: tuple[Row, ...]
    undecided: tuple[Choice, ...] = ()


def survivors(screening: Mapping[Choice, Samples]) -> tuple[Choice, ...]:
    """Which candidates are worth measuring in more than one process.

    A burst of other work slows neighbouring rounds only, so each candidate is taken by its best round.

    Args:
        screening: Every call of one process, by candidate.

    Returns:
        Those within ``SCREEN_RATIO`` of the fastest, in the same order.
    """
    best = {choice: min(quantile(times, 0.5) for times in one.rounds_ns) for choice, one in screening.items()}
    limit = SCREEN_RATIO * min(best.values(), default=0)
    return tuple(choice for choice, value in best.items() if value <= limit)


def _ratio(one: Candidate, other: Candidate, share: float) -> Figure | None:
    pairs = [(a, b) for a, b in zip(one.samples, other.samples, strict=False) if a is not None and b is not None]
    return ratio_figure(pairs, share) if pairs else None


def _judge(one: Candidate, other: Candidate, share: float) -> Verdict:
    ratio = _ratio(one, other, share)
    return Verdict.INCONCLUSIVE if ratio is None else judge_ratio(ratio, TOLERANCE)


def _broken(candidate: Candidate) -> BudgetResult | None:
    return next((result for result in candidate.budgets if result.verdict is Verdict.FAIL), None)


def exclude(candidate: Candidate) -> Row | None:
    """The row of a candidate that will not do however fast it is, or None.

    Args:
        candidate: What is known of it.
    """
    if candidate.quality is not None:
        return Row(candidate=candidate, standing=Standing.BELOW_QUALITY, reason=candidate.quality)
    if not candidate.report.fits:
        return Row(candidate=candidate, standing=Standing.OVER_BUDGET, reason=candidate.report.reason or "does not fit")
    if candidate.report.latency is None:
        reason = candidate.report.reason or "was not measured"
        return Row(candidate=candidate, standing=Standing.NOT_RUN, reason=reason)
    broken = _broken(candidate)
    if broken is not None:
        reason = f"breaks the budget {broken.name.value}: {broken.value:.4g}, and the limit is {broken.limit:g}"
        return Row(candidate=candidate, standing=Standing.OVER_BUDGET, reason=reason)
    return None


def _preference(candidate: Candidate, number: int, sign: int) -> tuple[float, int, int, int]:
    """What decides between equally fast ones: the better metric, fewer threads, the smaller file, the order."""
    metric = float("-inf") if candidate.metric is None else sign * candidate.metric
    return (-metric, candidate.choice.threads, candidate.report.size_bytes, number)


def _why_not(row: Candidate, chosen: Candidate, sign: int) -> str:
    """What an equally fast candidate lacks."""
    if chosen.metric is not None and (row.metric is None or sign * row.metric < sign * chosen.metric):
        return "its metric on the test set is worse"
    if row.choice.threads > chosen.choice.threads:
        return "it takes more threads"
    if row.report.size_bytes > chosen.report.size_bytes:
        return "its file is larger"
    return "it comes later in the bundle"


def _row(candidate: Candidate, chosen: Candidate, undecided: Collection[Choice], sign: int, share: float) -> Row:
    ratio = _ratio(candidate, chosen, share)
    if ratio is None or candidate.screened:
        value = "" if ratio is None else f"about {ratio.value:.2g} times the time at p{100 * share:.0f}, "
        reason = f"{value}seen in one process and measured no further"
        return Row(candidate=candidate, standing=Standing.SLOWER, reason=reason, ratio=ratio)
    between = f"{ratio.low:.3g} to {ratio.high:.3g} times the time at p{100 * share:.0f}"
    if candidate.choice in undecided:
        reason = f"cannot be told apart: {between}; measure longer or on a quieter machine"
        return Row(candidate=candidate, standing=Standing.ALIKE, reason=reason, ratio=ratio)
    if judge_ratio(ratio, TOLERANCE) is Verdict.FAIL or ratio.value > 1 + TOLERANCE:
        return Row(candidate=candidate, standing=Standing.SLOWER, reason=between, ratio=ratio)
    reason = f"as fast ({between}), but {_why_not(candidate, chosen, sign)}"
    return Row(candidate=candidate, standing=Standing.ALIKE, reason=reason, ratio=ratio)


def decide(candidates: Sequence[Candidate], *, share: float, higher_is_better: bool) -> Decision:
    """Choose a candidate.

    Only those count that run, whose golden vectors pass, whose quality is what the contract asks for and that break no
    budget. Of these the fastest is taken, and of those within ``TOLERANCE`` of it the one with the better metric, then
    fewer threads, then the smaller file, then the earlier one.

    Args:
        candidates: In the bundle's order.
        share: The percentile to rank by, such as 0.95.
        higher_is_better: Whether a larger metric is the better one.

    Returns:
        The decision, with a reason for each one that was not taken.
    """
    sign = 1 if higher_is_better else -1
    excluded = [exclude(candidate) for candidate in candidates]
    able = [number for number, row in enumerate(excluded) if row is None and not candidates[number].screened]
    if not able:
        return _nothing(candidates, excluded)
    name = next(name for name, value in SHARES.items() if value == share)
    fastest = candidates[min(able, key=lambda number: candidates[number].report.figures[name].value)]
    keys = {number: _preference(candidates[number], number, sign) for number in able}
    close = {number: _ratio(candidates[number], fastest, share) for number in able}
    tied = [number for number, ratio in close.items() if ratio is not None and ratio.value <= 1 + TOLERANCE]
    first = min(tied, key=lambda number: keys[number])
    chosen = candidates[first]
    undecided = tuple(
        candidates[number].choice
        for number in able
        if number != first
        and (
            _judge(chosen, candidates[number], share) is Verdict.INCONCLUSIVE
            or (keys[number] < keys[first] and _judge(candidates[number], fastest, share) is Verdict.INCONCLUSIVE)
        )
    )
    rows = tuple(
        excluded[number]
        or (
            Row(candidate=candidate, standing=Standing.CHOSEN)
            if number == first
            else _row(candidate, chosen, undecided, sign, share)
        )
        for number, candidate in enumerate(candidates)
    )
    open_budget = any(result.verdict is Verdict.INCONCLUSIVE for result in chosen.budgets)
    verdict = Verdict.INCONCLUSIVE if undecided or open_budget else Verdict.PASS
    return Decision(chosen=chosen, verdict=verdict, rows=rows, undecided=undecided)


def _nothing(candidates: Sequence[Candidate], excluded: Sequence[Row | None]) -> Decision:
    rows = tuple(
        row or Row(candidate=candidate, standing=Standing.SLOWER, reason="was too slow to be measured further")
        for candidate, row in zip(candidates, excluded, strict=True)
    )
    refused = {Standing.BELOW_QUALITY, Standing.OVER_BUDGET} & {row.standing for row in rows}
    return Decision(chosen=None, verdict=Verdict.FAIL if refused else Verdict.NOT_MEASURED, rows=rows)
