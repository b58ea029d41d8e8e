"""Which variants to export, where the command line asks for others than the contract names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeml_export.scheme import KNOWN_VARIANTS, Precision
from edgeml_runtime.errors import InputError
from edgeml_runtime.manifest import ModelFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_runtime.contract import Budget, Contract

__all__ = ["AUTO", "VariantChoice", "choose_variants"]

AUTO = "auto"
"""The word for int8 by search, with fp32 beside it."""

_AUTO_PRECISIONS = (Precision.INT8, Precision.FP32)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantChoice:
    """What to export.

    Attributes:
        contract: The contract that the bundle states: what is exported, and what of that is required.
        search: Whether int8 variants are searched for the fewest layers to keep in float.
        missing: Ids that were asked for and that no format has.
        no_longer_required: Ids that the contract requires and that are not exported this time.
        dropped_budgets: ``PROFILE.QUANTITY`` and the variant of budgets for variants that are not exported this time.
    """

    contract: Contract
    search: bool = False
    missing: tuple[str, ...] = ()
    no_longer_required: tuple[str, ...] = ()
    dropped_budgets: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "variants": list(self.contract.export.variants),
            "search": self.search,
            "missing": list(self.missing),
            "no_longer_required": list(self.no_longer_required),
            "dropped_budgets": list(self.dropped_budgets),
        }


def choose_variants(
    contract: Contract,
    *,
    precisions: Sequence[str] = (),
    variants: Sequence[str] = (),
    dynamic_batch: bool = False,
) -> VariantChoice:
    """Decide which variants to export.

    Args:
        contract: The project's contract; its variants name the formats, and hold where nothing else is asked for.
        precisions: ``auto`` alone, or precisions, the one that a device should try first in front.
        variants: Ids instead of those of the contract; with ``auto``, those of int8 are searched.
        dynamic_batch: Whether the batch dimension stays open.

    Returns:
        The choice; without anything asked for, the contract as it stands.

    Raises:
        InputError: When a word is unknown, words contradict each other, or nothing is left; the message lists what
            there is.
    """
    wanted = tuple(dict.fromkeys(variants)) or contract.export.variants
    missing: tuple[str, ...] = ()
    if variants:
        _check_ids(wanted)
    if precisions and not (variants and tuple(precisions) == (AUTO,)):
        if variants:
            raise InputError(
                "expected --variants alone or with --precision auto, found both lists: name the precisions in the ids"
            )
        named = _ids(contract, precisions)
        wanted = tuple(name for name in named if name in KNOWN_VARIANTS)
        missing = tuple(name for name in named if name not in KNOWN_VARIANTS)
        if not wanted:
            raise InputError(f"--precision: expected at least one of {_listed()}, found only {', '.join(missing)}")
    search = AUTO in precisions
    _check_together(wanted, search=search, dynamic_batch=dynamic_batch)
    return _chosen(contract, wanted, missing=missing, search=search)


def _check_ids(variants: Sequence[str]) -> None:
    unknown = [name for name in variants if name not in KNOWN_VARIANTS]
    if unknown:
        raise InputError(f"--variants: expected some of {_listed()}, found {', '.join(map(repr, unknown))}")


def _ids(contract: Contract, words: Sequence[str]) -> list[str]:
    """Ids of the precisions in the contract's formats, whether the formats have them or not."""
    known = [precision.value for precision in Precision]
    unknown = [word for word in words if word not in known]
    if unknown and tuple(words) != (AUTO,):
        raise InputError(
            f"--precision: expected {AUTO} alone, or some of {', '.join(known)}, found {', '.join(map(repr, words))}"
        )
    chosen = [precision.value for precision in _AUTO_PRECISIONS] if unknown else dict.fromkeys(words)
    formats = dict.fromkeys(name.partition("-")[0] for name in contract.export.variants)
    return [f"{form}-{precision}" for precision in chosen for form in formats]


def _check_together(wanted: Sequence[str], *, search: bool, dynamic_batch: bool) -> None:
    specs = [KNOWN_VARIANTS[name] for name in wanted if name in KNOWN_VARIANTS]
    if search and not any(spec.precision is Precision.INT8 for spec in specs):
        raise InputError(f"--precision auto searches int8 variants, found only {', '.join(wanted)}")
    fixed = [spec.id for spec in specs if spec.format is ModelFormat.TFLITE]
    if dynamic_batch and fixed:
        others = ",".join(spec.id for spec in specs if spec.id not in fixed) or "onnx-fp32"
        raise InputError(
            f"--dynamic-batch: expected ONNX variants alone, because TFLite's have a batch of one, found "
            f"{', '.join(fixed)}; add --variants {others}"
        )


def _chosen(contract: Contract, wanted: tuple[str, ...], *, missing: tuple[str, ...], search: bool) -> VariantChoice:
    rules = contract.export
    budgets = [budget for budget in contract.budgets if budget.variant is None or budget.variant in wanted]
    required = tuple(name for name in rules.required if name in wanted)
    return VariantChoice(
        contract=replace(contract, export=replace(rules, variants=wanted, required=required), budgets=tuple(budgets)),
        search=search,
        missing=missing,
        no_longer_required=tuple(name for name in rules.required if name not in wanted),
        dropped_budgets=tuple(_budget_text(budget) for budget in contract.budgets if budget not in budgets),
    )


def _budget_text(budget: Budget) -> str:
    return f"{budget.profile}.{budget.name.value} of {budget.variant}"


def _listed() -> str:
    return ", ".join(KNOWN_VARIANTS)
