"""Ways to run a bundle on a device, and what speaks against one of them apart from its speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_devices.budgets import SHARES, Evidence, check_budgets
from edgeml_runtime.contract import BudgetName, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_devices.report import BudgetResult, VariantReport
    from edgeml_runtime.contract import Budget, Contract
    from edgeml_runtime.manifest import Variant
    from edgeml_runtime.measure.loop import Samples
    from edgeml_runtime.tuned_store import Choice

__all__ = ["Candidate", "applicable", "judge_candidate", "metric_of", "quality_obstacle", "ranked_share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way to run the bundle, and what is known of it.

    Attributes:
        choice: Variant, backend and threads.
        metric: The variant's primary metric on the test set, or None where it was not scored.
        report: Its figures; without latency where it did not run, with the reason.
        samples: Every call, one entry per process, None where a process did not measure it. The same process has the
            same place in every candidate.
        quality: Why its quality is not what the contract asks for, or None.
        budgets: Verdicts of the budgets that cover it, as far as there are figures.
        screened: Whether it was far too slow to be measured in more than one process.
    """

    choice: Choice
    metric: float | None
    report: VariantReport
    samples: tuple[Samples | None, ...] = ()
    quality: str | None = None
    budgets: tuple[BudgetResult, ...] = ()
    screened: bool = False


def quality_obstacle(contract: Contract, variant: Variant, reference: Variant) -> str | None:
    """Why a variant's quality is not what the contract asks for, by what the manifest says of the test set.

    Args:
        contract: Its floor, its gate's margin and, in the manifest's losses, its export tolerances count.
        variant: The variant.
        reference: The bundle's first variant, which is the one a gate compares with the incumbent.

    Returns:
        The reason in words, or None; None as well where the variant was not scored.
    """
    value = metric_of(variant)
    if value is None:
        return None
    name, sign = contract.metric.primary.value, 1 if contract.metric.primary.higher_is_better else -1
    if sign * value < sign * contract.metric.floor:
        return f"its {name} of {value:.4g} misses the contract's floor of {contract.metric.floor:g}"
    losses = [("the test set", variant.metrics.get("paired_loss")), ("its events", variant.metrics.get("event_loss"))]
    slices = variant.metrics.get("slice_losses") or ()
    losses += [(f"slice {one['name']}", one) for one in slices if not one["too_small"]]
    lost = [where for where, loss in losses if loss and not loss["within"]]
    if lost:
        return f"it loses more against fp32 than the contract's export tolerances allow on {', '.join(lost)}"
    base = metric_of(reference)
    if base is not None and sign * (base - value) > contract.gate.margin:
        return (
            f"its {name} of {value:.4g} is worse than the {base:.4g} of {reference.id}, which gates judge, by more "
            f"than the margin of {contract.gate.margin:g}"
        )
    return None


def metric_of(variant: Variant) -> float | None:
    """A variant's primary metric on the test set, or None where it was not scored.

    Args:
        variant: Of the manifest.
    """
    metric = variant.metrics.get("metric")
    return None if metric is None else float(metric["value"])


def applicable(budgets: Sequence[Budget], choice: Choice) -> tuple[Budget, ...]:
    """The budgets that a way to run the bundle has to keep.

    One that names a variant, a backend or threads is for that one only; whatever it leaves out, it limits with any.

    Args:
        budgets: Of the device.
        choice: Variant, backend and threads.
    """
    return tuple(
        budget
        for budget in budgets
        if budget.variant in (None, choice.variant)
        and budget.backend in (None, choice.backend)
        and budget.threads in (None, choice.threads)
    )


def judge_candidate(
    budgets: Sequence[Budget], choice: Choice, report: VariantReport, bundle_bytes: int, disturbance: str | None
) -> tuple[BudgetResult, ...]:
    """Judge the budgets that cover a candidate, as far as there are figures.

    Args:
        budgets: Of the device.
        choice: Variant, backend and threads.
        report: Its figures, under the variant's id.
        bundle_bytes: Size of the bundle.
        disturbance: What made the machine slower than it is, or None.
    """
    if report.latency is None:
        return ()
    known = {*report.figures, BudgetName.BUNDLE_MB}
    evidence = Evidence(
        provenance=Provenance.MEASURED,
        variants={choice.variant: report},
        auto_variant=choice.variant,
        default_threads=choice.threads,
        bundle_bytes=bundle_bytes,
        disturbance=disturbance,
    )
    covering = [budget for budget in applicable(budgets, choice) if budget.name in known]
    return check_budgets(covering, evidence)


def ranked_share(budgets: Sequence[Budget]) -> float:
    """The percentile to rank by: p95 where the device has a budget for p95 or p99, else the median.

    Args:
        budgets: Of the device.

    Returns:
        0.95 or 0.5.
    """
    return 0.95 if any(SHARES.get(budget.name, 0.0) >= 0.95 for budget in budgets) else 0.5
