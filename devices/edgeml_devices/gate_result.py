"""What a gate found about a model, on each of its targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.report import BudgetResult, VariantReport, Verdict
    from edgeml_runtime.contract import Provenance
    from edgeml_runtime.measure.loop import Samples

__all__ = ["GateResult", "TargetJudgement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetJudgement:
    """What one target says about a model.

    Attributes:
        target: Its name.
        provenance: How the figures were obtained, or None where nothing was measured for the device.
        mismatch: Every reason why the machine does not count as the device.
        variants: The variants that were measured for these budgets.
        samples: Every measured call, by variant id.
        budgets: The budgets with their verdicts, in the order they were asked for.
        regressions: Figures beside their earlier ones, as budgets whose limit is the worst value put up with.
        notes: What a reader should know besides.
        lost: Why the target stopped answering, or None.
    """

    target: str
    provenance: Provenance | None = None
    mismatch: tuple[str, ...] = ()
    variants: tuple[VariantReport, ...] = ()
    samples: Mapping[str, Samples] = field(default_factory=dict)
    budgets: tuple[BudgetResult, ...] = ()
    regressions: tuple[BudgetResult, ...] = ()
    notes: tuple[str, ...] = ()
    lost: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What all targets say about a model.

    Attributes:
        model: The file.
        device: Name of the device profile.
        targets: In the order in which they were named.
    """

    model: str
    device: str
    targets: tuple[TargetJudgement, ...]

    @property
    def lost(self) -> bool:
        """Whether a target was lost."""
        return any(target.lost is not None for target in self.targets)

    @property
    def verdicts(self) -> frozenset[Verdict]:
        """Every verdict that was given."""
        return frozenset(result.verdict for target in self.targets for result in (*target.budgets, *target.regressions))
