"""From tried variants to the file: members, manifest entries, and reading back what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_export.card import card_with_variants
from edgeml_export.golden_cases import golden_cases
from edgeml_export.reference import reference_histograms
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.errors import BundleError, DefectError
from edgeml_runtime.golden import golden_members
from edgeml_runtime.histograms import HISTOGRAMS, histograms_member
from edgeml_runtime.manifest import Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeml_evaluate import LabelledData
    from edgeml_export.scheme import VariantSpec
    from edgeml_export.trial import Trial
    from edgeml_runtime.contract import Contract

__all__ = ["write_trials"]

_CARD = "card.md"


def write_trials(
    out: Path,
    contract: Contract,
    trials: Sequence[Trial],
    *,
    test: LabelledData,
    golden_files: Mapping[int, str],
    card: str,
) -> int:
    """Write the bundle and read it back whole.

    Args:
        out: Path of the bundle.
        contract: The contract.
        trials: The variants to ship, in the contract's order.
        test: The test split.
        golden_files: Test item → path of the encoded file it was decoded from.
        card: Markdown that describes model, data and training.

    Returns:
        Its size in bytes.

    Raises:
        StorageError: The disk is full, or the folder is missing or not writable.
        DefectError: What was written cannot be read.
    """
    members = _members(contract, test, golden_files, card, trials)
    write_bundle(out, contract=contract, variants=[_variant(trial, contract) for trial in trials], members=members)
    try:
        with Bundle.open(out) as bundle:
            bundle.verify()
            return bundle.size_bytes
    except BundleError as error:
        raise DefectError(f"export: the bundle that was just written cannot be read: {error}") from error


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
        requires_isa=converted.requires_isa,
        inputs={item.name: item.name for item in contract.inputs},
        outputs={item.name: item.name for item in contract.outputs},
        weight_bytes=report.weight_bytes,
        metrics=report.metrics,
        parity=report.evidence(),
        input_encodings=converted.input_encodings,
        refused_by=converted.refused_by,
    )
