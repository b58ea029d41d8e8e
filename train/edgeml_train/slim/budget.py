"""How much of a network has to go until the budgets of a device profile are met."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_devices import Verdict, bench, check_budgets, load_profile, match
from edgeml_devices.budgets import Evidence
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.open_session import select_variant
from edgeml_runtime.progress import Progress, ProgressEvent, silent
from edgeml_train.networks.count import count_parameters
from edgeml_train.slim.channels import Channels, kept_count, slimmed
from edgeml_train.slim.draft import write_draft
from edgeml_train.slim.result import BudgetStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from edgeml_devices import BudgetResult
    from edgeml_runtime.contract import Budget, Contract
    from edgeml_train.runs import TrainedRun

__all__ = ["BudgetSearch", "Limits", "find_share", "judged_budgets", "largest_meeting", "limits_here", "shares"]

_STEPS = 32
_SECONDS = 0.6
_TIME_LIMIT_S = 20.0
"""Of each share that is tried. Shares are compared with a limit and not with each other, and the next smaller one is a
32nd away: what six processes leave open lies so near the limit that it may as well count as not met."""
_TIMED = frozenset(
    {
        BudgetName.LATENCY_MS_P50,
        BudgetName.LATENCY_MS_P95,
        BudgetName.LATENCY_MS_P99,
        BudgetName.THROUGHPUT_PER_S,
    }
)
_HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The budgets of one profile that channels decide.

    Attributes:
        judged: Those that are judged here.
        not_judged: Name of another one → why not.
    """

    judged: tuple[Budget, ...]
    not_judged: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSearch:
    """What the search came to.

    Attributes:
        keep: The largest share that surely meets the budgets.
        steps: Everything that was tried, in order.
        not_judged: Budgets that did not take part → why.
    """

    keep: float
    steps: tuple[BudgetStep, ...]
    not_judged: Mapping[str, str]


def judged_budgets(contract: Contract, profile: str, mismatch: Sequence[str]) -> Limits:
    """Which budgets of a profile decide how much has to go.

    Args:
        contract: The contract.
        profile: A known profile.
        mismatch: Why this machine is not the device; empty where it is.

    Returns:
        Size, and on the device itself latency and throughput.

    Raises:
        ProjectError: When the contract has no budgets for the profile, or none that can be judged here.
    """
    own = [budget for budget in contract.budgets if budget.profile == profile]
    if not own:
        others = ", ".join(sorted({budget.profile for budget in contract.budgets})) or "none"
        raise ProjectError(
            f"edgeml.toml: expected [budgets.{profile}] to slim to, found budgets for {others}. Add the table, or keep "
            "a share instead (--slim RUN --set train.keep=0.5)."
        )
    judged, not_judged = [], {}
    for budget in own:
        if budget.name is BudgetName.BUNDLE_MB or (budget.name in _TIMED and not mismatch):
            judged.append(budget)
        elif budget.name in _TIMED:
            not_judged[budget.name.value] = f"this machine is not a {profile}: {'; '.join(mismatch)}"
        else:
            not_judged[budget.name.value] = "channels hardly change it; `edgeml bench` judges it"
    if not judged:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_judged.items())
        raise ProjectError(
            f"edgeml.toml: expected a budget of [budgets.{profile}] that can be judged here, found none ({reasons}). "
            "Add bundle_mb, slim on the device itself, or keep a share instead (--slim RUN --set train.keep=0.5)."
        )
    return Limits(judged=tuple(judged), not_judged=not_judged)


def limits_here(contract: Contract, profile: str, folder: Path) -> Limits:
    """Which budgets of a profile can be judged on this machine.

    Args:
        contract: The contract.
        profile: Name of a device profile, or path of its ``.toml`` file.
        folder: The project's folder, whose ``devices/*.toml`` are known as well.

    Returns:
        See :func:`judged_budgets`.

    Raises:
        ProjectError: When the profile is unknown, and as for :func:`judged_budgets`.
    """
    if profile == _HOST:
        return judged_budgets(contract, profile, ())
    known = load_profile(profile, project=folder)
    return judged_budgets(contract, known.name, match(known, probe_machine()).reasons)


def shares(channels: Channels) -> list[float]:
    """Shares that give different networks, ascending, the whole one last.

    Args:
        channels: The channels of the network.
    """
    found: dict[tuple[int, ...], float] = {}
    for step in range(1, _STEPS + 1):
        keep = step / _STEPS
        found[tuple(kept_count(len(group.channels), keep) for group in channels.groups)] = keep
    return sorted(found.values())


def largest_meeting(choices: Sequence[float], meets: Callable[[float], bool]) -> float | None:
    """The largest choice that meets something which smaller ones meet as well, by bisection.

    Args:
        choices: Ascending, at least one.
        meets: Tells of one choice; asked of the smallest one first.

    Returns:
        The choice, or None where even the smallest one does not meet it.
    """
    if not meets(choices[0]):
        return None
    low, high = 0, len(choices)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if meets(choices[middle]) else (low, middle)
    return choices[low]


def find_share(
    run: TrainedRun, profile: str, channels: Channels, example: Tensor, *, card: str = "", progress: Progress = silent
) -> BudgetSearch:
    """Find the largest share of channels with which the budgets of a profile are surely met.

    Every share that is tried is exported as a draft, and what budgets ask of it is measured as ``edgeml bench`` does,
    for a short time; an inconclusive verdict counts as not met.

    Args:
        run: What is slimmed; it is not changed.
        profile: Name of a device profile, or path of its ``.toml`` file.
        channels: The channels of its network.
        example: float32 [2, …], features of two items.
        card: Markdown of about the length that the bundle's card will have.
        progress: Told about every share.

    Returns:
        The share and what was tried.

    Raises:
        ProjectError: When the profile is unknown or has no budgets that can be judged here, the run meets them already,
            or no share does.
    """
    limits = limits_here(run.project.contract, profile, run.project.folder)
    trial = _Trial(run, profile, channels, example, limits, card, progress)
    whole = trial.step(1.0)
    if whole.met:
        raise ProjectError(
            f"--slim-to {profile}: run {run.run_id} meets the budgets already: {_found(limits, whole)}. Export it as "
            "it is, tighten the budgets in edgeml.toml, or keep a share (--slim RUN --set train.keep=0.5)."
        )
    smaller = shares(channels)[:-1]
    keep = largest_meeting(smaller, lambda share: trial.step(share).met) if smaller else None
    if keep is None:
        raise ProjectError(
            f"--slim-to {profile}: expected the budgets to be met with fewer channels, found that the smallest network "
            f"does not: {_found(limits, trial.steps[-1])}. Raise the budgets in edgeml.toml, or change network() in "
            "task.py."
        )
    return BudgetSearch(keep=keep, steps=tuple(trial.steps), not_judged=limits.not_judged)


class _Trial:
    """Drafts and benches one share after another."""

    def __init__(
        self,
        run: TrainedRun,
        profile: str,
        channels: Channels,
        example: Tensor,
        limits: Limits,
        card: str,
        progress: Progress,
    ) -> None:
        self._run, self._profile, self._channels, self._example = run, profile, channels, example
        self._limits, self._card, self._progress = limits, card, progress
        self.steps: list[BudgetStep] = []

    def step(self, keep: float) -> BudgetStep:
        """Try a share."""
        step, total = "slim", len(shares(self._channels)).bit_length() + 2
        self._progress(
            ProgressEvent(step=step, done=len(self.steps), total=total, message=f"keeping {keep:.3g} of the channels")
        )
        fused = copy.deepcopy(self._run.fused)
        fused.network, _ = slimmed(fused.network, self._channels, keep, self._example)
        judged = self._judge(fused)
        found = BudgetStep(
            keep=keep,
            parameters=count_parameters(fused.network),
            values={_name(budget): result.value for budget, result in zip(self._limits.judged, judged, strict=True)},
            met=all(result.verdict is Verdict.PASS for result in judged),
        )
        self.steps.append(found)
        return found

    def _judge(self, fused: object) -> tuple[BudgetResult, ...]:
        """The verdicts of the judged budgets, in their order; only what they are about is measured."""
        judged = self._limits.judged
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / "draft.edgeml"
            write_draft(
                fused,  # type: ignore[arg-type]
                self._run.project.contract,
                self._run.splits,
                draft,
                card=self._card,
                progress=silent,
            )
            timed = [budget for budget in judged if budget.name in _TIMED]
            if not timed:
                return check_budgets(judged, _size_alone(draft.stat().st_size))
            with Bundle.open(draft) as bundle:
                named = {budget.variant or select_variant(bundle).id for budget in timed}
            return bench(
                draft,
                device=self._profile,
                variants=sorted(named),
                seconds=_SECONDS,
                starts=1,
                time_limit_s=_TIME_LIMIT_S,
                project=self._run.project.folder,
                budgets=judged,
            ).budgets


def _size_alone(size_bytes: int) -> Evidence:
    """The evidence that budgets for the bundle's size need."""
    return Evidence(provenance=None, variants={}, auto_variant=None, default_threads=1, bundle_bytes=size_bytes)


def _name(budget: Budget) -> str:
    """A budget's quantity, with what tells it from another limit for the same one."""
    asked = (budget.variant, budget.backend, budget.threads and f"{budget.threads} threads")
    given = ", ".join(str(part) for part in asked if part)
    return f"{budget.name.value} ({given})" if given else budget.name.value


def _found(limits: Limits, step: BudgetStep) -> str:
    texts = []
    for budget in limits.judged:
        value = step.values[_name(budget)]
        texts.append(f"{_name(budget)} {'not measured' if value is None else f'{value:.4g}'} of {budget.limit:g}")
    return ", ".join(texts)
