"""``manifest.json`` to :class:`~edgeml_runtime.manifest.Manifest` and back (docs/bundle.md is its specification).

Only what loading a model needs is parsed: the contract's inputs and outputs become values, the rest of the contract
stays JSON and is tied to its hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeml_runtime.canonical import canonical_json, parse_json, require_canonical, sha256_hex, take
from edgeml_runtime.errors import BundleFormatError, BundleVersionError
from edgeml_runtime.fields import FaultCollector
from edgeml_runtime.manifest import FORMAT_VERSION, InputEncoding, Manifest, Member, ModelFormat, Variant
from edgeml_runtime.tensors import DType
from edgeml_runtime.tensors_parse import parse_inputs, parse_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.tensors import InputSpec, OutputSpec

__all__ = ["FORMAT_NAME", "MAX_TENSORS", "manifest_to_dict", "parse_manifest"]

FORMAT_NAME = "edgeml-bundle"
MAX_TENSORS = 256

_HEX = frozenset("0123456789abcdef")
_PRECISION = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")


def parse_manifest(data: bytes, *, where: str = "manifest.json") -> Manifest:
    """Parse and check a manifest that may be hostile.

    The format version is looked at first, so that a bundle from a newer edgeml is told apart from a broken one. Keys
    that this version does not know are ignored.

    Args:
        data: The bytes of ``manifest.json``; the caller has capped their number.
        where: Name of the document for messages.

    Returns:
        The manifest.

    Raises:
        BundleVersionError: Its format version is newer than this runtime's.
        BundleFormatError: It breaks the specification.
    """
    document = parse_json(data, where)
    _check_version(document, where)
    require_canonical(document, data, where)
    contract = take(document, "contract", dict, where)
    contract_sha256 = take(document, "contract_sha256", str, where)
    if (found := sha256_hex(canonical_json(contract))) != contract_sha256:
        raise BundleFormatError(f"{where}: contract_sha256 is {contract_sha256!r}, but the contract hashes to {found}")
    inputs, outputs = _parse_tensors(contract, where)
    members = tuple(
        _parse_member(item, f"{where}: members[{index}]")
        for index, item in enumerate(take(document, "members", list, where))
    )
    variants = tuple(
        _parse_variant(item, f"{where}: variants[{index}]")
        for index, item in enumerate(take(document, "variants", list, where))
    )
    _check_variants(variants, members, inputs, outputs, where)
    model = take(contract, "model", dict, f"{where}: contract")
    return Manifest(
        name=_take_same(document, model, "name", where),
        version=_take_same(document, model, "version", where),
        contract=contract,
        contract_sha256=contract_sha256,
        inputs=inputs,
        outputs=outputs,
        variants=variants,
        members=members,
    )


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """Turn a manifest into JSON values; the inverse of :func:`parse_manifest`.

    Args:
        manifest: The manifest; ``inputs`` and ``outputs`` are left out, because the contract holds them.

    Returns:
        What ``manifest.json`` holds.
    """
    return {
        "format": FORMAT_NAME,
        "format_version": FORMAT_VERSION,
        "name": manifest.name,
        "version": manifest.version,
        "contract": dict(manifest.contract),
        "contract_sha256": manifest.contract_sha256,
        "variants": [_variant_to_dict(variant) for variant in manifest.variants],
        "members": [
            {"name": member.name, "size_bytes": member.size_bytes, "sha256": member.sha256}
            for member in manifest.members
        ],
    }


def _variant_to_dict(variant: Variant) -> dict[str, Any]:
    encodings = {name: encoding.value for name, encoding in variant.input_encodings.items()}
    optional = {"input_encodings": encodings, "refused_by": dict(variant.refused_by)}
    return {
        "id": variant.id,
        "file": variant.file,
        "format": variant.format.value,
        "precision": variant.precision,
        "backend": variant.backend,
        "min_backend_version": variant.min_backend_version,
        "requires_isa": list(variant.requires_isa),
        "inputs": dict(variant.inputs),
        "outputs": dict(variant.outputs),
        "weight_bytes": variant.weight_bytes,
        "metrics": dict(variant.metrics),
        "parity": dict(variant.parity),
    } | {key: value for key, value in optional.items() if value}


def _check_version(document: object, where: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
        raise BundleFormatError(f'{where}: not a bundle: expected an object with "format": "{FORMAT_NAME}"')
    version = take(document, "format_version", int, where)
    if version > FORMAT_VERSION:
        raise BundleVersionError(
            f"{where}: this runtime reads format {FORMAT_VERSION}; the bundle is format {version}: update "
            "edgeml-runtime"
        )
    if version != FORMAT_VERSION:
        raise BundleFormatError(f"{where}: format_version: expected {FORMAT_VERSION}, found {version}")


def _take_count(document: object, key: str, where: str) -> int:
    value: int = take(document, key, int, where)
    if value < 0:
        raise BundleFormatError(f"{where}: {key}: expected at least 0, found {value}")
    return value


def _take_names(document: object, key: str, where: str, *, optional: bool = False) -> dict[str, str]:
    if optional and isinstance(document, dict) and key not in document:
        return {}
    names: dict[str, str] = take(document, key, dict, where)
    for name in names:
        take(names, name, str, f"{where}: {key}")
    return names


def _take_same(document: object, model: object, key: str, where: str) -> str:
    """Take a text that stands in the manifest and in the contract alike."""
    text: str = take(document, key, str, where)
    if text != take(model, key, str, f"{where}: contract.model"):
        raise BundleFormatError(f"{where}: {key} is {text!r}, but contract.model.{key} is another")
    return text


def _parse_tensors(contract: Mapping[str, Any], where: str) -> tuple[tuple[InputSpec, ...], tuple[OutputSpec, ...]]:
    faults = FaultCollector()
    inputs = parse_inputs(_take_tensors(contract, "inputs", where), faults)
    outputs = parse_outputs(_take_tensors(contract, "outputs", where), faults)
    if faults.faults:
        first = "; ".join(map(str, faults.faults[:3]))
        raise BundleFormatError(f"{where}: contract: {len(faults.faults)} fault(s): {first:.500}")
    return inputs, outputs


def _take_tensors(contract: Mapping[str, Any], key: str, where: str) -> list[Any]:
    items: list[Any] = take(contract, key, list, f"{where}: contract")
    if not 0 < len(items) <= MAX_TENSORS:
        raise BundleFormatError(f"{where}: contract: {key}: expected 1 to {MAX_TENSORS}, found {len(items)}")
    return items


def _parse_member(item: object, where: str) -> Member:
    sha256 = take(item, "sha256", str, where)
    if len(sha256) != 64 or not _HEX.issuperset(sha256):
        raise BundleFormatError(f"{where}: sha256: expected 64 lower-case hex digits, found {sha256!r:.80}")
    return Member(name=take(item, "name", str, where), size_bytes=_take_count(item, "size_bytes", where), sha256=sha256)


def _parse_variant(item: object, where: str) -> Variant:
    requires_isa = take(item, "requires_isa", list, where)
    encodings = _take_names(item, "input_encodings", where, optional=True)
    if not all(type(feature) is str for feature in requires_isa):
        raise BundleFormatError(f"{where}: requires_isa: expected strings, found {requires_isa!r:.60}")
    variant = Variant(
        id=take(item, "id", str, where),
        file=take(item, "file", str, where),
        format=_parse_format(take(item, "format", str, where), where),
        precision=take(item, "precision", str, where),
        backend=take(item, "backend", str, where),
        min_backend_version=take(item, "min_backend_version", str, where),
        requires_isa=tuple(requires_isa),
        inputs=_take_names(item, "inputs", where),
        outputs=_take_names(item, "outputs", where),
        weight_bytes=_take_count(item, "weight_bytes", where),
        metrics=take(item, "metrics", dict, where),
        parity=take(item, "parity", dict, where),
        input_encodings=_parse_encodings(encodings, where),
        refused_by=_take_names(item, "refused_by", where, optional=True),
    )
    if not variant.precision or not _PRECISION.issuperset(variant.precision):
        raise BundleFormatError(f"{where}: precision: expected a-z, 0-9, '_' or '-', found {variant.precision!r:.60}")
    if variant.id != f"{variant.format.value}-{variant.precision}":
        raise BundleFormatError(f"{where}: id: expected FORMAT-PRECISION of the same variant, found {variant.id!r:.60}")
    if not all(part.isascii() and part.isdigit() for part in variant.min_backend_version.split(".")):
        raise BundleFormatError(
            f"{where}: min_backend_version: expected numbers joined by dots, found {variant.min_backend_version!r:.60}"
        )
    return variant


def _parse_format(text: str, where: str) -> ModelFormat:
    try:
        return ModelFormat(text)
    except ValueError:
        known = ", ".join(item.value for item in ModelFormat)
        raise BundleFormatError(f"{where}: format: expected one of {known}, found {text!r:.60}") from None


def _parse_encodings(names: Mapping[str, str], where: str) -> dict[str, InputEncoding]:
    known = {encoding.value: encoding for encoding in InputEncoding}
    if unknown := sorted(set(names.values()) - known.keys()):
        raise BundleFormatError(
            f"{where}: input_encodings: expected {', '.join(known)}, found {unknown[0]!r:.60}: update edgeml-runtime"
        )
    return {name: known[text] for name, text in names.items()}


def _check_variants(
    variants: Sequence[Variant],
    members: Sequence[Member],
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    where: str,
) -> None:
    """Check what ties the variants to each other, to the members and to the contract."""
    if not variants or len({variant.id for variant in variants}) != len(variants):
        raise BundleFormatError(f"{where}: variants: expected at least one, each with an id of its own")
    names = {member.name for member in members}
    for variant in variants:
        if variant.file not in names:
            raise BundleFormatError(f"{where}: variant {variant.id}: its file {variant.file!r} is no member")
        for key, given, specs in (("inputs", variant.inputs, inputs), ("outputs", variant.outputs, outputs)):
            expected = {spec.name for spec in specs}
            if given.keys() != expected:
                raise BundleFormatError(
                    f"{where}: variant {variant.id}: {key}: expected the contract's {sorted(expected)}, found "
                    f"{sorted(given)}"
                )
        encodable = sorted(spec.name for spec in inputs if spec.dtype is DType.UINT8)
        if not variant.input_encodings.keys() <= set(encodable):
            raise BundleFormatError(
                f"{where}: variant {variant.id}: input_encodings: expected uint8 inputs of the contract, {encodable}, "
                f"found {sorted(variant.input_encodings)}"
            )
