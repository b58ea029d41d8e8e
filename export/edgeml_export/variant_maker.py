"""Making variants of one traced model: conversion, and the precision search where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgeml_evaluate import decision_output
from edgeml_export.converters import Converted, load_converter
from edgeml_export.prepared import run_eager
from edgeml_export.scheme import Precision, plan_variant
from edgeml_export.scopes import within
from edgeml_export.search import SearchStep, ValidationLoss, search_precision
from edgeml_export.sensitivity import LayerLoss, measure_sensitivity
from edgeml_export.small_front import small_layers
from edgeml_export.trial import validation_loss
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from edgeml_evaluate import LabelledData
    from edgeml_export.converters import Converter
    from edgeml_export.fakequant.matching import KnownRanges
    from edgeml_export.prepared import Prepared
    from edgeml_export.scheme import QuantScheme, VariantPlan, VariantSpec
    from edgeml_export.tracing import Traced
    from edgeml_export.trial import Outputs
    from edgeml_runtime.manifest import ModelFormat

__all__ = ["Made", "VariantMaker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One variant as it was made.

    Attributes:
        plan: Which, and how.
        converted: Its bytes.
        search: The attempts of the precision search; empty where there was none.
    """

    plan: VariantPlan
    converted: Converted
    search: tuple[SearchStep, ...] = ()


class VariantMaker:
    """Makes the variants of one model; converters, ranges and sensitivities are made once.

    Args:
        prepared: The model.
        traced: Its trace.
        calibration: Items of the training split.
        validation: Items that the precision search judges by; None where there is none.
        progress: Told about every step.
        learned: Ranges that training has learned, for int8 variants; None where all are calibrated.
    """

    def __init__(
        self,
        prepared: Prepared,
        traced: Traced,
        *,
        calibration: LabelledData,
        validation: LabelledData | None,
        progress: Progress,
        learned: KnownRanges | None = None,
    ) -> None:
        self._prepared, self._traced = prepared, traced
        self._calibration, self._validation = calibration, validation
        self._progress, self._learned = progress, learned
        self._reference: Outputs | None = None
        self._converters: dict[ModelFormat, Converter] = {}
        self._sensitivities: dict[tuple[QuantScheme, bool], tuple[LayerLoss, ...]] = {}

    def make(self, spec: VariantSpec, *, search: bool) -> Made:
        """Make a variant.

        Args:
            spec: Which.
            search: Whether layers may stay float until it keeps the metric on the validation items.

        Returns:
            The variant.

        Raises:
            ProjectError: When an operator has no counterpart in the format, or cannot be quantized.
        """
        if not (search and spec.precision is Precision.INT8):
            plan = self._plan(spec)
            return Made(plan=plan, converted=self._convert(plan))
        ranking = self._ranking(self._plan(spec))
        result = search_precision(ranking, lambda layers: self._convert(self._plan(spec, layers)), self._judge(spec))
        return Made(plan=self._plan(spec, result.float_layers), converted=result.made, search=result.steps)

    def sensitivity(self, spec: VariantSpec) -> tuple[LayerLoss, ...]:
        """What each layer loses when it alone is quantized as a variant quantizes it.

        Args:
            spec: A variant with a scheme.

        Returns:
            One entry per layer in the order of the graph, those in the contract's float scopes marked; none where the
            variant has no scheme.
        """
        scheme = self._plan(spec).scheme
        if scheme is None:
            return ()
        losses = (*self._losses(scheme, in_float_scope=False), *self._losses(scheme, in_float_scope=True))
        order = {path: place for place, path in enumerate(dict.fromkeys(layer.path for layer in self._traced.layers))}
        return tuple(sorted(losses, key=lambda loss: order[loss.path]))

    def _losses(self, scheme: QuantScheme, *, in_float_scope: bool) -> tuple[LayerLoss, ...]:
        """Losses of the layers inside or outside of the contract's float scopes, measured once."""
        if (scheme, in_float_scope) not in self._sensitivities:
            scopes = self._prepared.contract.export.float_scopes
            names = self._prepared.output_names
            self._sensitivities[scheme, in_float_scope] = measure_sensitivity(
                self._traced.graph.module,
                [layer for layer in self._traced.layers if within(layer.path, scopes) is in_float_scope],
                self._items,
                scheme,
                output=names.index(decision_output(self._prepared.contract)),
                in_float_scope=in_float_scope,
                progress=self._progress,
            )
        return self._sensitivities[scheme, in_float_scope]

    @cached_property
    def _items(self) -> list[tuple[torch.Tensor, ...]]:
        """Calibration items as the traced graph takes them."""
        names, graph = self._prepared.input_names, self._traced.graph
        count = len(self._calibration)
        return [graph.feed(names, self._calibration.inputs, index) for index in range(count)]

    def _plan(self, spec: VariantSpec, float_layers: tuple[str, ...] = ()) -> VariantPlan:
        rules = self._prepared.contract.export
        plan = plan_variant(
            spec,
            calibration=rules.calibration,
            weights=rules.weights,
            float_layers=float_layers,
            dynamic_batch=self._traced.dynamic_batch,
        )
        if spec.precision is Precision.INT8:
            plan = replace(plan, learned=self._learned)
        return plan if plan.scheme is None else replace(plan, small_layers=self._small_layers(plan.scheme))

    def _small_layers(self, scheme: QuantScheme) -> tuple[str, ...]:
        """Layers inside the contract's float scopes whose constants are stored as int8 in a variant of a scheme."""
        scopes = self._prepared.contract.export.float_scopes
        if not any(within(layer.path, scopes) for layer in self._traced.layers):
            return ()
        stored = replace(scheme, weight_bits=8, activation_bits=None)
        return small_layers(self._losses(stored, in_float_scope=True), self._losses(scheme, in_float_scope=False))

    def _convert(self, plan: VariantPlan) -> Converted:
        spec, step = plan.spec, f"convert {plan.spec.id}"
        kept = f"{len(plan.float_layers)} layers in float" if plan.float_layers else ""
        self._progress(ProgressEvent(step=step, done=0, total=1, message=kept))
        try:
            if spec.format not in self._converters:  # importing its libraries takes seconds
                self._converters[spec.format] = load_converter(spec.format)(self._prepared, self._traced)
            converted = self._converters[spec.format].convert(plan, self._calibration, self._progress)
        except ProjectError as error:
            raise ProjectError(f"export: {spec.id}: {error}") from error
        size = f"{len(converted.content)} bytes"
        self._progress(ProgressEvent(step=step, done=1, total=1, message=f"{size}, {kept}" if kept else size))
        return converted

    def _ranking(self, plan: VariantPlan) -> list[str]:
        """Paths of the layers that can be given back to float, the most sensitive first."""
        measured = () if plan.scheme is None else self._losses(plan.scheme, in_float_scope=False)
        losses = [loss for loss in measured if loss.path]
        return [loss.path for loss in sorted(losses, key=lambda loss: loss.output_sqnr_db)]

    def _judge(self, spec: VariantSpec) -> Callable[[Converted], ValidationLoss]:
        if self._validation is None or len(self._validation) == 0:
            raise ProjectError(
                f"export: {spec.id}: the precision search judges by validation items, found none; give splits() in "
                "task.py a validation split, or export without --precision auto"
            )
        validation = self._validation
        if self._reference is None:
            self._reference = run_eager(self._prepared, validation.inputs, self._progress, step="validate PyTorch")
        reference = self._reference

        def judge(converted: Converted) -> ValidationLoss:
            return validation_loss(spec, converted, self._prepared.contract, validation, reference)

        return judge
