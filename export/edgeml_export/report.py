"""What an export came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_evaluate import MetricValue, PairedLoss, SliceResult
    from edgeml_export.inventory import Inventory
    from edgeml_export.parity import Parity

__all__ = ["ExportReport", "VariantReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """One exported variant.

    Attributes:
        id: ``FORMAT-PRECISION``.
        bytes: Size of its file.
        inventory: Bytes of its weights, and its operators.
        metric: The contract's metric on the test set.
        slices: The same on every slice.
        paired_loss: What it loses against PyTorch's fp32 over the same items.
        parity: How far its outputs lie from PyTorch's.
        required: Whether there is no bundle without it.
        reason: Why it is not shipped; None where it is good.
    """

    id: str
    bytes: int
    inventory: Inventory
    metric: MetricValue
    slices: tuple[SliceResult, ...]
    paired_loss: PairedLoss
    parity: Parity
    required: bool
    reason: str | None

    @property
    def shipped(self) -> bool:
        """Whether it is fit to ship; it lies in the bundle where there is one."""
        return self.reason is None

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, the front end's included."""
        return self.inventory.weight_bytes

    @property
    def parity_max_abs(self) -> float:
        """Largest absolute difference from PyTorch's logits over the test set."""
        return self.parity.max_abs

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        front_end_bytes = self.inventory.front_end_bytes
        return {
            "id": self.id,
            "bytes": self.bytes,
            "weight_bytes": self.weight_bytes,
            "front_end_bytes": front_end_bytes,
            "bytes_without_front_end": self.bytes - front_end_bytes,
            "weight_bytes_without_front_end": self.weight_bytes - front_end_bytes,
            "operators": self.inventory.operators.to_dict(),
            "metric": self.metric.to_dict(),
            "slices": [result.to_dict() for result in self.slices],
            "paired_loss": self.paired_loss.to_dict(),
            "parity": self.parity.to_dict(),
            "parity_max_abs": self.parity_max_abs,
            "required": self.required,
            "shipped": self.shipped,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """A whole export.

    Attributes:
        bundle: Absolute path of the bundle; nothing was written there when ``ok`` is False.
        bundle_bytes: Its size; 0 where none was written.
        variants: In the order of the contract.
    """

    bundle: Path
    bundle_bytes: int
    variants: tuple[VariantReport, ...]

    @property
    def ok(self) -> bool:
        """Whether there is a bundle: every required variant is fit to ship, and at least one is."""
        fit = [variant for variant in self.variants if variant.shipped]
        return bool(fit) and all(variant in fit for variant in self.variants if variant.required)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay. ``bundle`` is null where none was written."""
        return {
            "ok": self.ok,
            "bundle": str(self.bundle) if self.ok else None,
            "bundle_bytes": self.bundle_bytes,
            "variants": [variant.to_dict() for variant in self.variants],
        }
