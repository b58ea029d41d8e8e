"""What a bench has to know of a file before it measures: its variants, their sizes, its budgets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError
from edgeml_runtime.measure.bare import bare_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_runtime.contract import Budget

__all__ = ["ModelFile", "VariantFile", "read_model", "select"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFile:
    """A variant as the file states it.

    Attributes:
        id: Variant id; for a bare model the file's name.
        size_bytes: Size of the model file.
        requires_isa: CPU features it needs.
    """

    id: str
    size_bytes: int
    requires_isa: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """The benched file.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        variants: In its order.
        budgets: Those of its contract, for all devices; a bare model has none.
    """

    path: str
    size_bytes: int
    variants: tuple[VariantFile, ...]
    budgets: tuple[Budget, ...]


def read_model(path: str) -> ModelFile:
    """Read what a bundle or a bare model says about itself.

    Args:
        path: The file.

    Returns:
        Its variants and budgets.

    Raises:
        InputError: It cannot be read.
        BundleError: The bundle must not be used.
    """
    if bare_format(path) is not None:
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        only = VariantFile(id=os.path.basename(path), size_bytes=size)
        return ModelFile(path=path, size_bytes=size, variants=(only,), budgets=())
    with Bundle.open(path) as bundle:
        contract = parse_contract(bundle.manifest.contract, source=f"{path}: manifest.json")
        variants = tuple(
            VariantFile(id=item.id, size_bytes=bundle.member(item.file).size_bytes, requires_isa=item.requires_isa)
            for item in bundle.manifest.variants
        )
        return ModelFile(path=path, size_bytes=bundle.size_bytes, variants=variants, budgets=contract.budgets)


def select(model: ModelFile, variants: Sequence[str] | None) -> tuple[VariantFile, ...]:
    """The named variants, in the order of the file.

    Args:
        model: The file.
        variants: Variant ids, or None for all of them.

    Returns:
        The variants.

    Raises:
        InputError: One is not in the file.
    """
    if variants is None:
        return model.variants
    unknown = sorted(set(variants) - {variant.id for variant in model.variants})
    if unknown:
        held = ", ".join(variant.id for variant in model.variants)
        raise InputError(f"{model.path}: no variant {', '.join(unknown)}; expected one of {held}")
    return tuple(variant for variant in model.variants if variant.id in variants)
