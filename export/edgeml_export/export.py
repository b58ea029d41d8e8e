"""From a fused model to a verified bundle: convert, quantize, try every variant on the test set, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_export.bundling import write_trials
from edgeml_export.fakequant.build import known_ranges
from edgeml_export.hostile import HOSTILE_CASES, hostile_inputs
from edgeml_export.prepared import prepare, refuse_unbounded_outputs, run_eager
from edgeml_export.report import ExportReport
from edgeml_export.scheme import variant_spec
from edgeml_export.tracing import trace
from edgeml_export.trial import Reference, Trial, run_trial
from edgeml_export.variant_maker import VariantMaker
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from edgeml_evaluate import LabelledData
    from edgeml_export.fakequant.learned import LearnedRanges
    from edgeml_export.graph.folding import Folding
    from edgeml_export.scheme import VariantSpec
    from edgeml_export.sensitivity import LayerLoss
    from edgeml_runtime.contract import Contract

__all__ = ["ExportOptions", "export_bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export, beside what the contract says.

    Attributes:
        search: Keep in float the layers that lose most, as few as keep the metric on the validation items.
        dynamic_batch: Leave the batch dimension open, for servers; ONNX only.
        explain: Measure what each layer loses when it alone is quantized.
    """

    search: bool = False
    dynamic_batch: bool = False
    explain: bool = False


def export_bundle(
    fused: torch.nn.Module,
    *,
    contract: Contract,
    calibration: LabelledData,
    test: LabelledData,
    out: Path,
    validation: LabelledData | None = None,
    options: ExportOptions | None = None,
    golden_files: Mapping[int, str] | None = None,
    card: str = "",
    learned: LearnedRanges | None = None,
    progress: Progress = silent,
) -> ExportReport:
    """Export a fused model into a bundle of variants that were all tried on the test set.

    The model itself is not changed. A variant that misses the contract's tolerances is not shipped; when that hits a
    required one, or none is left, no bundle is written and what lies at ``out`` stays as it is. The same model, items
    and thread count on the same type of CPU give the same bytes.

    Args:
        fused: Preprocessing, network and post-processing: takes the contract's inputs [b, *shape] by position in the
            contract's order, returns a mapping from contract output name to tensor [b, *shape].
        contract: The contract; its ``export`` says which variants, and what they must keep.
        calibration: Items of the training split, whose activations set the ranges of quantized variants.
        test: The test split; nothing is tuned on it.
        out: Path of the bundle; its folder exists.
        validation: The validation split, by which the precision search judges; needed where ``options.search``.
        options: How to export; the defaults of :class:`ExportOptions` when left out.
        golden_files: Test item → path of the encoded file it was decoded from, where there is one.
        card: Markdown that describes model, data and training.
        learned: Ranges of activations that quantization-aware training has learned, which int8 variants take instead of
            calibrated ones; None where there are none.
        progress: Told about every step.

    Returns:
        What became of every variant.

    Raises:
        ProjectError: The model, the items or the list of variants cannot be used; see
            :func:`edgeml_export.prepared.prepare` and :class:`edgeml_export.variant_maker.VariantMaker`.
        StorageError: The disk is full, or the folder is missing or not writable.
    """
    options = options or ExportOptions()
    specs = _specs(contract)
    out = out.absolute()
    tried = _try_all(fused, specs, contract, calibration, validation, test, options, learned, progress)
    report = ExportReport(
        bundle=out,
        bundle_bytes=0,
        variants=tuple(trial.report for trial in tried.trials),
        foldings=tried.foldings,
        layers=tried.layers,
    )
    if not report.ok:
        return report
    progress(ProgressEvent(step="write", done=0, total=1, message=out.name))
    shipped = [trial for trial in tried.trials if trial.report.shipped]
    size = write_trials(out, contract, shipped, test=test, golden_files=golden_files or {}, card=card)
    progress(ProgressEvent(step="write", done=1, total=1, message=out.name))
    return report.written(size)


def _specs(contract: Contract) -> list[VariantSpec]:
    rules = contract.export
    specs = [variant_spec(variant_id) for variant_id in rules.variants]
    if not specs:
        raise ProjectError("edgeml.toml: export.variants: expected at least one variant, found none")
    for required in rules.required:
        if required not in rules.variants:
            raise ProjectError(
                f"edgeml.toml: export.required: expected some of export.variants ({', '.join(rules.variants)}), "
                f"found {required!r}"
            )
    return specs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """Every variant, tried, and what was learned of the model on the way."""

    trials: tuple[Trial, ...]
    foldings: tuple[Folding, ...]
    layers: tuple[LayerLoss, ...]


def _try_all(
    fused: torch.nn.Module,
    specs: Sequence[VariantSpec],
    contract: Contract,
    calibration: LabelledData,
    validation: LabelledData | None,
    test: LabelledData,
    options: ExportOptions,
    learned: LearnedRanges | None,
    progress: Progress,
) -> _Tried:
    """Make every variant, then try every one, in the contract's order: what is tried on decides nothing."""
    progress(ProgressEvent(step="trace", done=0, total=1))
    prepared = prepare(fused, contract, calibration, test, validation if options.search else None)
    traced = trace(prepared, dynamic_batch=options.dynamic_batch)
    progress(ProgressEvent(step="trace", done=1, total=1))
    known = None if learned is None else known_ranges(prepared, learned, calibration)
    maker = VariantMaker(
        prepared, traced, calibration=calibration, validation=validation, progress=progress, learned=known
    )
    variants = [maker.make(spec, search=options.search) for spec in specs]
    quantized = next((spec for spec in specs if spec.precision.is_static), None)
    layers = maker.sensitivity(quantized) if options.explain and quantized is not None else ()
    reference = Reference(
        test=run_eager(prepared, test.inputs, progress, step="score PyTorch"),
        hostile=run_eager(prepared, hostile_inputs(contract), step=f"hostile inputs: {', '.join(HOSTILE_CASES)}"),
    )
    refuse_unbounded_outputs(reference.test, "test")
    trials = [
        run_trial(
            made.plan,
            made.converted,
            contract=contract,
            test=test,
            reference=reference,
            search=made.search,
            progress=progress,
        )
        for made in variants
    ]
    return _Tried(trials=tuple(trials), foldings=traced.folded.foldings, layers=layers)
