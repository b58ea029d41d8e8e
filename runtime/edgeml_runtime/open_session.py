"""From a bundle to a loaded backend: which variant can run here, and whether its file keeps the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_runtime.backends.table import BACKEND_FORMATS, formats_fault, load_backend
from edgeml_runtime.errors import (
    BackendError,
    BackendFailedError,
    BackendMissingError,
    BackendUnsuitableError,
    BundleFormatError,
    InputError,
)

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from edgeml_runtime.backends.base import Backend, TensorInfo
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.manifest import Variant
    from edgeml_runtime.tensors import InputSpec, OutputSpec

__all__ = ["AUTO", "TUNED", "open_backend", "select_variant"]

AUTO = "auto"
TUNED = "tuned"


def select_variant(bundle: Bundle, variant: str = AUTO, *, backend: str | None = None) -> Variant:
    """Choose the variant to run.

    Args:
        bundle: An open bundle.
        variant: A variant id, or ``"auto"`` for the first one, in the manifest's order, that can run here.
        backend: What is to run it, a key of :data:`edgeml_runtime.backends.BACKENDS`; None for the backend that each
            variant's manifest entry names.

    Returns:
        The variant; :func:`open_backend` checks whether one chosen by its id can run here.

    Raises:
        InputError: The bundle has no such variant.
        BackendMissingError: This runtime has no such backend. Or no variant can run here, and a backend is missing; the
            message says why for each, and names packages.
        BackendUnsuitableError: None can run here, for backends that are too old, known to be wrong or made for other
            formats, or features the CPU lacks.
    """
    if backend is not None:
        load_backend(backend)
    if variant != AUTO:
        return _named(bundle, variant)
    variants = bundle.manifest.variants
    reasons: list[BackendError] = []
    for candidate in variants:
        reason = _unsuitable(candidate, backend)
        if reason is None:
            return candidate
        reasons.append(reason)
    kind = BackendMissingError if any(isinstance(r, BackendMissingError) for r in reasons) else BackendUnsuitableError
    listed = "\n".join(f"  {reason}" for reason in reasons)
    raise kind(f"{bundle.path}: none of its {len(variants)} variants can run here\n{listed}")


def _check_suitable(variant: Variant, name: str) -> None:
    """Raise BackendMissingError or BackendUnsuitableError where a variant cannot run here with a backend.

    The oldest release in the manifest counts releases of the manifest's backend, so it says nothing of another one. The
    CPU features it asks for bind every backend: sums that saturate without them do so in ranges that golden vectors
    need not reach.
    """
    backend = load_backend(name)
    if variant.format not in BACKEND_FORMATS[name]:
        raise BackendUnsuitableError(f"{variant.id}: {formats_fault(name, variant.format)}")
    try:
        version = backend.installed_version()
    except ModuleNotFoundError as error:
        raise BackendMissingError(
            f"{variant.id}: needs the backend {name}, which is not installed ({error}): pip install {backend.package}"
        ) from error
    except Exception as error:  # importing a library whose binaries do not fit raises whatever its loader raises
        raise BackendMissingError(
            f"{variant.id}: needs the backend {name}, which is installed but does not load "
            f"({type(error).__name__}: {error}): pip install --force-reinstall {backend.package}"
        ) from error
    package = backend.installed_package()
    if package in variant.refused_by:
        other = backend.package not in variant.refused_by
        raise BackendUnsuitableError(
            f"{variant.id}: is known to be wrong with {package}: {variant.refused_by[package]}; "
            + (f"pip install {backend.package}, or use another variant" if other else "use another variant")
        )
    if name == variant.backend and _release(version) < _release(variant.min_backend_version):
        raise BackendUnsuitableError(
            f"{variant.id}: needs {variant.backend} {variant.min_backend_version} or newer, found {version}: "
            f"pip install '{backend.package}>={variant.min_backend_version}'"
        )
    if variant.requires_isa:
        _check_isa(variant)


def open_backend(
    bundle: Bundle, variant: Variant | str, threads: int | None = None, *, backend: str | None = None
) -> Backend:
    """Load one variant of a bundle.

    A backend other than the manifest's is one that the bundle's metrics were not obtained with: it first has to give
    what the golden vectors say, within their tolerances.

    Args:
        bundle: An open bundle.
        variant: One of its variants, or the id of one.
        threads: Threads for one run; None for 1.
        backend: What is to run it, a key of :data:`edgeml_runtime.backends.BACKENDS`; None for the manifest's.

    Returns:
        The loaded model, its inputs and outputs in the contract's order; the caller closes it.

    Raises:
        InputError: The bundle has no such variant, or ``threads`` is not a positive integer.
        BundleIntegrityError: The model file was altered.
        BundleFormatError: The model file takes or gives other tensors than the contract says.
        BackendMissingError: The backend is unknown or not installed; the message names the package.
        BackendUnsuitableError: The backend is too old, known to be wrong or made for other formats, or the CPU lacks a
            feature; or it is not the manifest's, and the golden vectors do not pass or are not there.
        BackendFailedError: The backend cannot load the file.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"threads: expected an integer of at least 1 or None, found {threads!r:.60}")
    if isinstance(variant, str):
        variant = _named(bundle, variant)
    name = backend or variant.backend
    _check_suitable(variant, name)
    loaded = _load(bundle, variant, name, threads)
    if name != variant.backend:
        from edgeml_runtime.golden_check import check_golden

        try:
            check_golden(bundle, variant, loaded)
        except BaseException:
            loaded.close()
            raise
    return loaded


def _load(bundle: Bundle, variant: Variant, name: str, threads: int | None) -> Backend:
    """Hand the model file to a backend and compare its tensors with the contract."""
    manifest = bundle.manifest
    model = bundle.read(variant.file)
    where = f"{bundle.path}: {variant.file}"
    try:
        backend = load_backend(name).create(
            model,
            input_names=[variant.inputs[spec.name] for spec in manifest.inputs],
            output_names=[variant.outputs[spec.name] for spec in manifest.outputs],
            threads=threads,
            encodings=[variant.input_encodings.get(spec.name) for spec in manifest.inputs],
        )
    except BackendFailedError as error:
        raise BackendFailedError(f"{where}: {error}") from error
    _check_tensors(where, "input", manifest.inputs, backend.inputs, variant.input_encodings)
    _check_tensors(where, "output", manifest.outputs, backend.outputs)
    return backend


def _unsuitable(variant: Variant, backend: str | None) -> BackendError | None:
    try:
        _check_suitable(variant, backend or variant.backend)
    except BackendError as error:
        return error
    return None


def _named(bundle: Bundle, variant_id: str) -> Variant:
    for variant in bundle.manifest.variants:
        if variant.id == variant_id:
            return variant
    known = ", ".join(variant.id for variant in bundle.manifest.variants)
    raise InputError(f"{bundle.path}: has no variant {variant_id!r}; it has {known}, or use {AUTO!r}")


def _check_isa(variant: Variant) -> None:
    from edgeml_runtime.isa import cpu_features

    missing = sorted(set(variant.requires_isa) - cpu_features())
    if missing:
        raise BackendUnsuitableError(
            f"{variant.id}: needs the CPU features {', '.join(variant.requires_isa)}, of which this CPU lacks "
            f"{', '.join(missing)}; use another variant"
        )


def _release(version: str) -> tuple[int, ...]:
    """The numbers a version begins with, without zeros at the end: ``2.3.0rc1`` and ``2.3`` are equal."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _check_tensors(
    where: str,
    kind: str,
    specs: Sequence[InputSpec | OutputSpec],
    tensors: Sequence[TensorInfo],
    encoded: Container[str] = (),
) -> None:
    for spec, tensor in zip(specs, tensors, strict=True):
        shape = (1, *spec.shape)
        dtype = "int8" if spec.name in encoded else spec.dtype.value
        if tensor.dtype != dtype or not _fits(tensor.shape, shape):
            raise BundleFormatError(
                f"{where}: the contract's {kind} {spec.name!r} is {spec.dtype.value}{list(shape)} with the batch "
                f"dimension{f', in the file {dtype}' if spec.name in encoded else ''}, but the model file's tensor is "
                f"{tensor!r}; export the bundle again"
            )


def _fits(found: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Whether a declared shape is the expected one, dimensions that the file leaves open apart."""
    return len(found) == len(shape) and all(size in (None, wanted) for size, wanted in zip(found, shape, strict=True))
