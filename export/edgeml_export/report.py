"""What an export came to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeml_export.scheme import Precision, variant_spec
from edgeml_export.scopes import within

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_evaluate import EventLoss, MetricValue, OperatingPoint, PairedLoss, SliceLoss, SliceResult
    from edgeml_export.converters import RangeSources
    from edgeml_export.graph.folding import Folding
    from edgeml_export.hostile import HostileResult
    from edgeml_export.inventory import Inventory
    from edgeml_export.parity import Parity
    from edgeml_export.search import SearchStep
    from edgeml_export.sensitivity import LayerLoss
    from edgeml_export.vnni_check import VnniCheck

__all__ = ["ExportReport", "VariantReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """One exported variant.

    Attributes:
        id: ``FORMAT-PRECISION``.
        quantized: Whether it may lose some of the metric; fp32 may not.
        bytes: Size of its file.
        inventory: Bytes of its weights, and its operators.
        metric: The contract's metric on the test set.
        slices: The same on every slice.
        paired_loss: What it loses against PyTorch's fp32 over the same items.
        slice_losses: The same on every slice.
        parity: How far its outputs lie from PyTorch's.
        hostile: The same for every hostile input.
        float_layers: Dotted paths of layers that stay float beside the contract's float scopes.
        small_layers: Paths of layers inside the float scopes whose constants are stored as int8.
        search: The attempts of the precision search that chose them; empty where there was none.
        without_vnni: Its answers on an x86 without VNNI; None where that does not concern it.
        required: Whether there is no bundle without it.
        reason: Why it is not shipped; None where it is good.
        alarms: What the alarms of an anomaly score are worth; None for other targets.
        event_loss: What they lose against fp32's.
        ranges: How many ranges of activations were learned and how many calibrated; None where training learned none.
    """

    id: str
    quantized: bool
    bytes: int
    inventory: Inventory
    metric: MetricValue
    slices: tuple[SliceResult, ...]
    paired_loss: PairedLoss
    slice_losses: tuple[SliceLoss, ...]
    parity: Parity
    hostile: tuple[HostileResult, ...]
    float_layers: tuple[str, ...]
    small_layers: tuple[str, ...]
    search: tuple[SearchStep, ...]
    without_vnni: VnniCheck | None
    required: bool
    reason: str | None
    ranges: RangeSources | None = None
    alarms: OperatingPoint | None = None
    event_loss: EventLoss | None = None

    @property
    def shipped(self) -> bool:
        """Whether it is fit to ship; it lies in the bundle where there is one."""
        return self.reason is None

    @property
    def worst_slice(self) -> SliceLoss | None:
        """The slice, of those large enough to judge, that loses most; None where there is none."""
        judged = [loss for loss in self.slice_losses if not loss.too_small]
        return max(judged, key=lambda loss: loss.loss.drop, default=None)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, the front end's included."""
        return self.inventory.weight_bytes

    @property
    def parity_max_abs(self) -> float:
        """Largest absolute difference from PyTorch's logits over the test set."""
        return self.parity.max_abs

    def judged(self, reason: str | None) -> VariantReport:
        """The same with a reason not to ship it; a search that came to nothing is one in itself.

        Args:
            reason: What is wrong with its outputs, or None where they are good.
        """
        return replace(self, reason=self._search_fault() or reason)

    def _search_fault(self) -> str | None:
        if not self.search or any(step.loss.within for step in self.search):
            return None
        most = max(self.search, key=lambda step: len(step.float_layers))
        overall = self.search[0].loss.overall
        return (
            f"the search found no form that keeps the contract's promise on the {overall.n} validation items "
            f"({len(self.search)} tried): {_missed(self.search[0])}; {_missed(most)}; {overall.allowed_drop:.4f} is "
            "allowed by export.max_metric_drop and export.max_metric_drop_items. Name the modules behind it in "
            "export.float_scopes, or leave the variant out"
        )

    @property
    def metrics(self) -> dict[str, Any]:
        """What a bundle's manifest states of its quality, as JSON values."""
        values: dict[str, Any] = {
            "metric": self.metric.to_dict(),
            "slices": [result.to_dict() for result in self.slices],
            "paired_loss": self.paired_loss.to_dict(),
            "slice_losses": [loss.to_dict() for loss in self.slice_losses],
        }
        if self.alarms is not None and self.event_loss is not None:
            values |= {"alarms": self.alarms.to_dict(), "event_loss": self.event_loss.to_dict()}
        return values

    def evidence(self) -> dict[str, Any]:
        """What a bundle's manifest states of its parity, as JSON values."""
        return {
            **self.parity.to_dict(),
            "hostile": [result.to_dict() for result in self.hostile],
            "float_layers": list(self.float_layers),
            **({} if self.ranges is None else {"ranges": self.ranges.to_dict()}),
        }

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
            "worst_slice": None if self.worst_slice is None else self.worst_slice.to_dict(),
            "slice_losses": [loss.to_dict() for loss in self.slice_losses],
            "alarms": self.alarms.to_dict() if self.alarms else None,
            "event_loss": self.event_loss.to_dict() if self.event_loss else None,
            "parity": self.parity.to_dict(),
            "parity_max_abs": self.parity_max_abs,
            "hostile": [result.to_dict() for result in self.hostile],
            "float_layers": list(self.float_layers),
            "small_layers": list(self.small_layers),
            "search": [step.to_dict() for step in self.search],
            "without_vnni": None if self.without_vnni is None else self.without_vnni.to_dict(),
            "required": self.required,
            "shipped": self.shipped,
            "reason": self.reason,
            "ranges": None if self.ranges is None else self.ranges.to_dict(),
        }


def _missed(step: SearchStep) -> str:
    """What one attempt lost, in words."""
    count = len(step.float_layers)
    form = "with everything quantized" if count == 0 else f"with {count} layer{'s' * (count > 1)} in float"
    slices = [loss.name for loss in step.loss.slices if not loss.within]
    where = f", and too much on {', '.join(slices[:3])}" if slices else ""
    return f"{form} it loses {step.loss.overall.drop:.4f}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """A whole export.

    Attributes:
        bundle: Absolute path of the bundle; nothing was written there when ``ok`` is False.
        bundle_bytes: Its size; 0 where none was written.
        variants: In the order of the contract.
        foldings: What became of each input's preprocessing.
        layers: Every layer in the order of the graph, and what it loses when it alone is quantized; empty where nobody
            asked.
    """

    bundle: Path
    bundle_bytes: int
    variants: tuple[VariantReport, ...]
    foldings: tuple[Folding, ...] = ()
    layers: tuple[LayerLoss, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a bundle: every required variant is fit to ship, and at least one is."""
        fit = [variant for variant in self.variants if variant.shipped]
        return bool(fit) and all(variant in fit for variant in self.variants if variant.required)

    @property
    def measured_as(self) -> str | None:
        """Id of the variant as which ``layers`` were quantized: the first with calibrated activations."""
        if not self.layers:
            return None
        return next(variant.id for variant in self.variants if variant_spec(variant.id).precision.is_static)

    def precision_of(self, variant: VariantReport, layer: LayerLoss) -> Precision:
        """In which precision a variant stores and computes a layer, as it was made.

        Args:
            variant: One of ``variants``.
            layer: One of ``layers``.
        """
        if within(layer.path, variant.float_layers):
            return Precision.FP32
        if not layer.in_float_scope:
            return variant_spec(variant.id).precision
        return Precision.W8 if layer.path in variant.small_layers else Precision.FP32

    @property
    def alike(self) -> tuple[tuple[VariantReport, ...], ...]:
        """Variants that compute every layer in the same precision, grouped, in the order of the contract."""
        groups: dict[tuple[Precision, ...], list[VariantReport]] = {}
        for variant in self.variants:
            groups.setdefault(tuple(self.precision_of(variant, layer) for layer in self.layers), []).append(variant)
        return tuple(tuple(group) for group in groups.values())

    def written(self, size_bytes: int) -> ExportReport:
        """The same after the bundle was written.

        Args:
            size_bytes: Its size.
        """
        return replace(self, bundle_bytes=size_bytes)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay. ``bundle`` is null where none was written."""
        return {
            "ok": self.ok,
            "bundle": str(self.bundle) if self.ok else None,
            "bundle_bytes": self.bundle_bytes,
            "variants": [variant.to_dict() for variant in self.variants],
            "preprocessing": [folding.to_dict() for folding in self.foldings],
            "measured_as": self.measured_as,
            "alike": [[variant.id for variant in group] for group in self.alike],
            "layers": [{**layer.to_dict(), "precisions": self._precisions(layer)} for layer in self.layers],
        }

    def _precisions(self, layer: LayerLoss) -> dict[str, str]:
        return {variant.id: self.precision_of(variant, layer).value for variant in self.variants}
