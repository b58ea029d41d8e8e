"""Which budgets a test asks for: those of the contract, or limits of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeml_runtime.contract import Budget, BudgetName, Provenance
from edgeml_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_devices.model_file import ModelFile

__all__ = ["gate_budgets", "needs_measuring"]

_EXAMPLE = "latency_ms_p95=2.0"


def needs_measuring(budget: Budget) -> bool:
    """Whether the file alone does not decide it.

    Args:
        budget: Any budget.
    """
    return budget.name is not BudgetName.BUNDLE_MB


def gate_budgets(
    model: ModelFile,
    device: str,
    variant: str | None,
    limits: Mapping[str, float],
    threads: int | None,
    backend_version: str | None = None,
) -> tuple[Budget, ...]:
    """The budgets to judge.

    Args:
        model: The file.
        device: Name of the device profile.
        variant: The variant to judge, or None.
        limits: A test's own limits by name, or empty for those of the contract.
        threads: Threads that will be measured with, or None for the profile's number; own limits are for them.
        backend_version: Release of the backend that own limits are for, or None for any.

    Returns:
        At least one budget. With a variant, all are for it: those of the contract that name another one are left out.

    Raises:
        InputError: There is none, the variant is not in the file, or a limit is not a number above 0.
    """
    if variant is not None and variant not in {known.id for known in model.variants}:
        held = ", ".join(known.id for known in model.variants)
        raise InputError(f"{model.path}: no variant {variant}; expected one of {held}")
    if limits:
        common = Budget(
            profile=device,
            name=BudgetName.BUNDLE_MB,
            limit=1.0,
            variant=variant,
            backend_version=backend_version,
            threads=threads,
        )
        return tuple(_own(name, limit, common) for name, limit in limits.items())
    if backend_version is not None:
        raise InputError(
            f"backend_version {backend_version!r} is for limits of a test's own: name one, such as {_EXAMPLE}; the "
            "contract's budgets say theirs themselves"
        )
    known = [budget for budget in model.budgets if budget.profile == device]
    chosen = [budget for budget in known if variant is None or budget.variant in {None, variant}]
    if not chosen:
        raise InputError(_nothing(model, device, variant, found=bool(known)))
    if variant is None:
        return tuple(chosen)
    return tuple(replace(budget, variant=variant) if needs_measuring(budget) else budget for budget in chosen)


def _own(name: str, limit: float, common: Budget) -> Budget:
    names = [known.value for known in BudgetName]
    if name not in names:
        raise InputError(f"unknown budget {name}; expected one of {', '.join(names)}")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not (math.isfinite(limit) and limit > 0):
        raise InputError(f"{name}: expected a number above 0, found {limit!r}")
    budget = replace(common, name=BudgetName(name), limit=float(limit))
    if budget.name is BudgetName.INSTRUCTIONS:
        return replace(budget, accepts=(Provenance.EMULATED,))
    return budget if needs_measuring(budget) else replace(budget, variant=None, threads=None, backend_version=None)


def _nothing(model: ModelFile, device: str, variant: str | None, *, found: bool) -> str:
    if found:
        return f"{model.path}: no budget for {device} is for {variant}; name a limit, such as {_EXAMPLE}"
    others = sorted({budget.profile for budget in model.budgets})
    known = f"; it has some for {', '.join(others)}" if others else ""
    return f"{model.path}: no budgets for {device} to check{known}. Name a limit, such as {_EXAMPLE}"
