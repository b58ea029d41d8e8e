"""What a bench has to know of a file before it measures: its variants, their sizes, its budgets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.backends import BACKEND_FORMATS, FORMAT_BACKENDS, load_backend
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError
from edgeml_runtime.measure.bare import bare_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_runtime.contract import Budget
    from edgeml_runtime.manifest import ModelFormat

__all__ = ["ModelFile", "VariantFile", "read_model", "runnable", "select"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFile:
    """A variant as the file states it.

    Attributes:
        id: Variant id; for a bare model the file's name.
        size_bytes: Size of the model file.
        format: Its file format.
        backend: The backend that the manifest names, or that is there for the format of a bare model.
        requires_isa: CPU features it needs.
    """

    id: str
    size_bytes: int
    format: ModelFormat
    backend: str
    requires_isa: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """The benched file.

    Attributes:
        path: Where it is.
        size_bytes: Its size.
        variants: In its order.
        budgets: Those of its contract, for all devices; a bare model has none.
        name: The model's name; for a bare model the file's.
        version: The model's version; a bare model has none.
    """

    path: str
    size_bytes: int
    variants: tuple[VariantFile, ...]
    budgets: tuple[Budget, ...]
    name: str
    version: str | None = None


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
    bare = bare_format(path)
    if bare is not None:
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        only = VariantFile(id=os.path.basename(path), size_bytes=size, format=bare, backend=FORMAT_BACKENDS[bare])
        return ModelFile(path=path, size_bytes=size, variants=(only,), budgets=(), name=only.id)
    with Bundle.open(path) as bundle:
        contract = parse_contract(bundle.manifest.contract, source=f"{path}: manifest.json")
        variants = tuple(
            VariantFile(
                id=item.id,
                size_bytes=bundle.member(item.file).size_bytes,
                format=item.format,
                backend=item.backend,
                requires_isa=item.requires_isa,
            )
            for item in bundle.manifest.variants
        )
        return ModelFile(
            path=path,
            size_bytes=bundle.size_bytes,
            variants=variants,
            budgets=contract.budgets,
            name=contract.name,
            version=contract.version,
        )


def select(model: ModelFile, variants: Sequence[str] | None, backend: str | None = None) -> tuple[VariantFile, ...]:
    """The named variants, in the order of the file.

    Args:
        model: The file.
        variants: Variant ids, or None for all of them that the backend runs.
        backend: What is to run them, or None for each one's own.

    Returns:
        The variants.

    Raises:
        InputError: One is not in the file, or the backend runs the format of none.
        BackendMissingError: The runtime has no such backend.
    """
    if backend is not None:
        load_backend(backend)
    if variants is None:
        able = runnable(model, backend)
        if not able and backend is not None:
            runs = " or ".join(f".{each.value}" for each in BACKEND_FORMATS[backend])
            held = ", ".join(variant.id for variant in model.variants)
            raise InputError(f"{model.path}: the backend {backend} runs {runs} files only; found {held}")
        return able
    unknown = sorted(set(variants) - {variant.id for variant in model.variants})
    if unknown:
        held = ", ".join(variant.id for variant in model.variants)
        raise InputError(f"{model.path}: no variant {', '.join(unknown)}; expected one of {held}")
    return tuple(variant for variant in model.variants if variant.id in variants)


def runnable(model: ModelFile, backend: str | None) -> tuple[VariantFile, ...]:
    """All variants of a format that a backend runs, in the order of the file.

    Args:
        model: The file.
        backend: A key of :data:`edgeml_runtime.backends.BACKENDS`, or None for each one's own, which runs all.

    Returns:
        The variants.
    """
    return tuple(item for item in model.variants if backend is None or item.format in BACKEND_FORMATS[backend])
