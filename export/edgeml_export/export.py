"""From a fused model to a verified bundle: convert, quantize, try every variant on the test set, write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_export.card import card_with_variants
from edgeml_export.converters import Converted, Converter, load_converter
from edgeml_export.golden_cases import golden_cases
from edgeml_export.prepared import prepare, run_eager
from edgeml_export.reference import reference_histograms
from edgeml_export.report import ExportReport
from edgeml_export.scheme import VariantSpec, scheme_of, variant_spec
from edgeml_export.tracing import trace
from edgeml_export.trial import Trial, run_trial
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.errors import BundleError, DefectError, ProjectError
from edgeml_runtime.golden import golden_members
from edgeml_runtime.histograms import HISTOGRAMS, histograms_member
from edgeml_runtime.manifest import Variant
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from edgeml_evaluate import LabelledData
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.manifest import ModelFormat

__all__ = ["export_bundle"]

_CARD = "card.md"


def export_bundle(
    fused: torch.nn.Module,
    *,
    contract: Contract,
    calibration: LabelledData,
    test: LabelledData,
    out: Path,
    golden_files: Mapping[int, str] | None = None,
    card: str = "",
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
        golden_files: Test item → path of the encoded file it was decoded from, where there is one.
        card: Markdown that describes model, data and training.
        progress: Told about every step.

    Returns:
        What became of every variant.

    Raises:
        ProjectError: The model, the items or the list of variants cannot be used; see
            :func:`edgeml_export.prepared.prepare` and :func:`edgeml_export.converters.load_converter`.
        StorageError: The disk is full, or the folder is missing or not writable.
    """
    specs = _specs(contract)
    if len(test) == 0:
        raise ProjectError("export: expected at least one test item, found none")
    out = out.absolute()
    trials = _try_all(fused, specs, contract, calibration, test, progress)
    report = ExportReport(bundle=out, bundle_bytes=0, variants=tuple(trial.report for trial in trials))
    if not report.ok:
        return report
    progress(ProgressEvent(step="write", done=0, total=1, message=out.name))
    shipped = [trial for trial in trials if trial.report.shipped]
    members = _members(contract, test, golden_files or {}, card, shipped)
    bundle_bytes = _write(out, contract, shipped, members)
    progress(ProgressEvent(step="write", done=1, total=1, message=out.name))
    return ExportReport(bundle=out, bundle_bytes=bundle_bytes, variants=report.variants)


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


def _try_all(
    fused: torch.nn.Module,
    specs: Sequence[VariantSpec],
    contract: Contract,
    calibration: LabelledData,
    test: LabelledData,
    progress: Progress,
) -> list[Trial]:
    """Convert and try every variant, in the contract's order."""
    progress(ProgressEvent(step="trace", done=0, total=1))
    prepared = prepare(fused, contract, calibration)
    program = trace(prepared)
    progress(ProgressEvent(step="trace", done=1, total=1))
    reference = run_eager(prepared, test.inputs, progress, step="score PyTorch")
    converters: dict[ModelFormat, Converter] = {}
    trials = []
    for spec in specs:
        progress(ProgressEvent(step=f"convert {spec.id}", done=0, total=1))
        if spec.format not in converters:  # importing its libraries takes seconds
            converters[spec.format] = load_converter(spec.format)(prepared, program)
        converted = _convert(converters[spec.format], spec, calibration, progress)
        progress(ProgressEvent(step=f"convert {spec.id}", done=1, total=1, message=f"{len(converted.content)} bytes"))
        trials.append(run_trial(spec, converted, contract=contract, test=test, reference=reference, progress=progress))
    return trials


def _convert(converter: Converter, spec: VariantSpec, calibration: LabelledData, progress: Progress) -> Converted:
    try:
        if not spec.quantized:
            return converter.fp32()
        return converter.quantized(scheme_of(spec), calibration, progress, step=f"calibrate {spec.id}")
    except ProjectError as error:
        raise ProjectError(f"export: {spec.id}: {error}") from error


def _members(
    contract: Contract, test: LabelledData, files: Mapping[int, str], card: str, shipped: Sequence[Trial]
) -> dict[str, bytes]:
    """Every file of the bundle but the manifest."""
    golden = golden_cases(
        contract,
        test,
        files,
        {trial.spec.id: trial.outputs for trial in shipped},
        {trial.spec.id: trial.spec for trial in shipped},
    )
    histograms = reference_histograms(contract, {**test.inputs, **shipped[0].outputs})
    text = card_with_variants(card or f"# {contract.name} {contract.version}", [trial.report for trial in shipped])
    return {
        **{_file(trial.spec): trial.converted.content for trial in shipped},
        **golden_members(golden.cases, golden.files),
        HISTOGRAMS: histograms_member(histograms),
        _CARD: text.encode(),
    }


def _file(spec: VariantSpec) -> str:
    return f"variants/{spec.id}.{spec.format.value}"


def _variant(trial: Trial, contract: Contract) -> Variant:
    spec, converted, report = trial.spec, trial.converted, trial.report
    return Variant(
        id=spec.id,
        file=_file(spec),
        format=spec.format,
        precision=spec.precision.value,
        backend=converted.backend,
        min_backend_version=converted.min_backend_version,
        requires_isa=(),
        inputs={item.name: item.name for item in contract.inputs},
        outputs={item.name: item.name for item in contract.outputs},
        weight_bytes=report.weight_bytes,
        metrics={
            "metric": report.metric.to_dict(),
            "slices": [result.to_dict() for result in report.slices],
            "paired_loss": report.paired_loss.to_dict(),
        },
        parity=report.parity.to_dict(),
    )


def _write(out: Path, contract: Contract, trials: Sequence[Trial], members: Mapping[str, bytes]) -> int:
    """Write the bundle and read it back whole; returns its size in bytes."""
    write_bundle(out, contract=contract, variants=[_variant(trial, contract) for trial in trials], members=members)
    try:
        with Bundle.open(out) as bundle:
            bundle.verify()
            return bundle.size_bytes
    except BundleError as error:
        raise DefectError(f"export: the bundle that was just written cannot be read: {error}") from error
