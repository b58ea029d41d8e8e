"""What the benched file says of itself: name, version, hash, and how good its variants are."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeml_runtime.bundle import Bundle
from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import InputError
from edgeml_runtime.measure.bare import bare_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_runtime.contract import MetricName
    from edgeml_runtime.manifest import Variant

__all__ = ["Subject", "VariantMetric", "read_subject"]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMetric:
    """How good one variant is on the contract's test set.

    Attributes:
        value: The primary metric.
        low: Lower end of its 95 % interval, or None where the bundle states none.
        high: Upper end, likewise.
        items: Test items, or None likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None
    items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The benched file.

    Attributes:
        name: The model's name; for a bare model the file's.
        version: The model's version, or None for a bare model.
        sha256: Hash of the file.
        size_bytes: Its size.
        metric: The contract's primary metric, or None for a bare model.
        variants: Its value, by variant id; variants that were never scored are missing.
    """

    name: str
    version: str | None
    sha256: str
    size_bytes: int
    metric: MetricName | None = None
    variants: Mapping[str, VariantMetric] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name and version."""
        return self.name if self.version is None else f"{self.name} {self.version}"

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "metric": None if self.metric is None else self.metric.value,
            "variants": {
                id_: {"value": one.value, "low": one.low, "high": one.high, "items": one.items}
                for id_, one in self.variants.items()
            },
        }


def read_subject(path: str | os.PathLike[str]) -> Subject:
    """Read what a bundle or a bare model says of itself.

    Args:
        path: The file.

    Returns:
        The subject.

    Raises:
        InputError: The file cannot be read.
        BundleError: The bundle must not be used.
    """
    text = os.fspath(path)
    digest, size = _hash(text)
    if bare_format(text) is not None:
        return Subject(name=os.path.basename(text), version=None, sha256=digest, size_bytes=size)
    with Bundle.open(text) as bundle:
        contract = parse_contract(bundle.manifest.contract, source=f"{text}: manifest.json")
        metrics = {variant.id: _metric(variant) for variant in bundle.manifest.variants}
    return Subject(
        name=contract.name,
        version=str(contract.version),
        sha256=digest,
        size_bytes=size,
        metric=contract.metric.primary,
        variants={id_: metric for id_, metric in metrics.items() if metric is not None},
    )


def _hash(path: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest(), size


def _metric(variant: Variant) -> VariantMetric | None:
    """The primary metric as export writes it (docs/bundle.md), or None where the variant was not scored."""
    stated = variant.metrics.get("metric")
    if not isinstance(stated, dict) or not isinstance(stated.get("value"), int | float):
        return None
    interval = stated.get("interval")
    interval = interval if isinstance(interval, dict) else {}
    return VariantMetric(
        value=float(stated["value"]), low=interval.get("low"), high=interval.get("high"), items=stated.get("n")
    )
