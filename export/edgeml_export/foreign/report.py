"""What wrapping a foreign model came to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_export.foreign.file import ForeignKind
    from edgeml_export.graph.folding import Folding
    from edgeml_export.hostile import HostileResult
    from edgeml_export.inventory import Inventory
    from edgeml_export.parity import Parity
    from edgeml_export.report import ExportReport, VariantReport
    from edgeml_export.sensitivity import LayerLoss
    from edgeml_export.vnni_check import VnniCheck

__all__ = ["ForeignReport", "UnscoredReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnscoredReport:
    """A variant that was tried without labelled items: it runs, and nobody knows how good it is.

    Attributes:
        id: ``FORMAT-PRECISION``.
        quantized: Whether it may lose some of the metric; fp32 may not.
        bytes: Size of its file.
        inventory: Bytes of its weights, and its operators.
        parity: How far its outputs lie from the reference configuration's, over noise within the contract's ranges.
        hostile: The same for every hostile input.
        without_vnni: Its answers on an x86 without VNNI; None where that does not concern it.
        reason: Why it is not shipped; None where it is good.
    """

    id: str
    quantized: bool
    bytes: int
    inventory: Inventory
    parity: Parity
    hostile: tuple[HostileResult, ...]
    without_vnni: VnniCheck | None
    reason: str | None

    @property
    def shipped(self) -> bool:
        """Whether it is fit to ship."""
        return self.reason is None

    def judged(self, reason: str | None) -> UnscoredReport:
        """The same with a reason not to ship it.

        Args:
            reason: The reason, or None where it is good.
        """
        return replace(self, reason=reason)

    def evidence(self) -> dict[str, Any]:
        """What a bundle's manifest states of its parity, as JSON values."""
        return {**self.parity.to_dict(), "hostile": [result.to_dict() for result in self.hostile]}

    def to_dict(self) -> dict[str, Any]:
        """JSON values, under the keys of a scored variant; null stands for what was not measured."""
        return {
            "id": self.id,
            "bytes": self.bytes,
            "weight_bytes": self.inventory.weight_bytes,
            "front_end_bytes": 0,
            "bytes_without_front_end": self.bytes,
            "weight_bytes_without_front_end": self.inventory.weight_bytes,
            "operators": self.inventory.operators.to_dict(),
            "metric": None,
            "slices": [],
            "paired_loss": None,
            "slice_losses": [],
            "parity": self.parity.to_dict(),
            "parity_max_abs": self.parity.max_abs,
            "hostile": [result.to_dict() for result in self.hostile],
            "float_layers": [],
            "small_layers": [],
            "search": [],
            "without_vnni": None if self.without_vnni is None else self.without_vnni.to_dict(),
            "required": True,
            "shipped": self.shipped,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignReport:
    """A wrapped file, or an exported program.

    Attributes:
        source: Name of the file that was wrapped.
        kind: What it is.
        bundle: Absolute path of the bundle; nothing was written there when ``ok`` is False.
        bundle_bytes: Its size; 0 where none was written.
        scored: Whether labelled items said how good it is.
        variants: One for a file; those of the contract for a program.
        reference: What parity was measured against, in words.
        notes: What was matched by position, changed or not checked, one sentence each.
        foldings: What became of each input's preprocessing; of programs only.
        layers: What each layer loses when it alone is quantized; of programs only, and where asked for.
    """

    source: str
    kind: ForeignKind
    bundle: Path
    bundle_bytes: int
    scored: bool
    variants: tuple[VariantReport | UnscoredReport, ...]
    reference: str
    notes: tuple[str, ...] = ()
    foldings: tuple[Folding, ...] = ()
    layers: tuple[LayerLoss, ...] = ()

    @classmethod
    def of_program(cls, source: str, kind: ForeignKind, report: ExportReport, notes: tuple[str, ...]) -> ForeignReport:
        """The report of a program that went through the whole export.

        Args:
            source: Name of its file.
            kind: What it is.
            report: What the export came to.
            notes: What was matched by position.
        """
        return cls(
            source=source,
            kind=kind,
            bundle=report.bundle,
            bundle_bytes=report.bundle_bytes,
            scored=True,
            variants=report.variants,
            reference="PyTorch",
            notes=notes,
            foldings=report.foldings,
            layers=report.layers,
        )

    @property
    def ok(self) -> bool:
        """Whether there is a bundle: every required variant is fit to ship, and at least one is."""
        fit = [variant for variant in self.variants if variant.shipped]
        needed = [v for v in self.variants if isinstance(v, UnscoredReport) or v.required]
        return bool(fit) and all(variant in fit for variant in needed)

    def written(self, size_bytes: int) -> ForeignReport:
        """The same after the bundle was written.

        Args:
            size_bytes: Its size.
        """
        return replace(self, bundle_bytes=size_bytes)

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the keys of :class:`edgeml_export.report.ExportReport`'s, and what is known of the source."""
        return {
            "ok": self.ok,
            "bundle": str(self.bundle) if self.ok else None,
            "bundle_bytes": self.bundle_bytes,
            "variants": [variant.to_dict() for variant in self.variants],
            "preprocessing": [folding.to_dict() for folding in self.foldings],
            "layers": [layer.to_dict() for layer in self.layers],
            "source": {"name": self.source, "format": self.kind.value},
            "scored": self.scored,
            "reference": self.reference,
            "notes": list(self.notes),
        }
