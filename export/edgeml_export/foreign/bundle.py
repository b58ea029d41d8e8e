"""From a tried foreign file to the bundle: members, manifest entry, and reading back what was written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeml_export.foreign.report import UnscoredReport
from edgeml_export.golden_cases import golden_cases
from edgeml_export.reference import reference_histograms
from edgeml_runtime.backends import FORMAT_BACKENDS
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.bundle_write import write_bundle
from edgeml_runtime.canonical import sha256_hex
from edgeml_runtime.errors import BundleError, DefectError, ProjectError
from edgeml_runtime.golden import golden_members
from edgeml_runtime.histograms import HISTOGRAMS, histograms_member
from edgeml_runtime.manifest import Variant

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_export.foreign.trial import ForeignTrial
    from edgeml_export.report import VariantReport
    from edgeml_runtime.contract import Contract

    Report = VariantReport | UnscoredReport

__all__ = ["write_foreign"]

_CARD = "card.md"


def write_foreign(
    out: Path, contract: Contract, trial: ForeignTrial, report: Report, *, source: bytes, notes: tuple[str, ...]
) -> int:
    """Write the bundle of one wrapped file and read it back whole.

    Args:
        out: Path of the bundle.
        contract: The contract.
        trial: The file, tried.
        report: How it was judged.
        source: The file as it was given, which the card names by its hash.
        notes: What was matched by position, changed or not checked.

    Returns:
        Its size in bytes.

    Raises:
        ProjectError: The bundle would be larger than readers take.
        StorageError: The disk is full, or the folder is missing or not writable.
        DefectError: What was written cannot be read.
    """
    variant = _variant(contract, trial, report)
    members = _members(contract, trial, variant, _card(contract, trial, report, source, notes))
    try:
        write_bundle(out, contract=contract, variants=[variant], members=members)
    except BundleError as error:
        raise ProjectError(f"{error}; wrap a smaller model, or hand in fewer or smaller items") from error
    try:
        with Bundle.open(out) as bundle:
            bundle.verify()
            return bundle.size_bytes
    except BundleError as error:
        raise DefectError(f"export: the bundle that was just written cannot be read: {error}") from error


def _members(contract: Contract, trial: ForeignTrial, variant: Variant, card: str) -> dict[str, bytes]:
    """Every file of the bundle but the manifest; distributions of noise are no reference, so they are left out."""
    chosen = trial.golden(contract)
    golden = golden_cases(contract, chosen.items, {}, {variant.id: chosen.outputs}, {variant.id: trial.spec})
    cases = replace(golden.cases, tolerances={variant.id: chosen.tolerances})
    members = {variant.file: trial.content, **golden_members(cases, golden.files), _CARD: card.encode()}
    if trial.items.labelled is not None:
        outputs = {name: values[: trial.items.count] for name, values in trial.runs.outputs.items()}
        histograms = reference_histograms(contract, {**trial.items.labelled.inputs, **outputs})
        members[HISTOGRAMS] = histograms_member(histograms)
    return members


def _variant(contract: Contract, trial: ForeignTrial, report: Report) -> Variant:
    spec = trial.spec
    return Variant(
        id=spec.id,
        file=f"variants/{spec.id}.{spec.format.value}",
        format=spec.format,
        precision=spec.precision.value,
        backend=FORMAT_BACKENDS[spec.format],
        min_backend_version=trial.min_backend_version,
        requires_isa=(),
        inputs={item.name: trial.mapping.inputs[item.name].name for item in contract.inputs},
        outputs={item.name: trial.mapping.outputs[item.name].name for item in contract.outputs},
        weight_bytes=report.inventory.weight_bytes,
        metrics=_metrics(report),
        parity={**report.evidence(), "reference": trial.runs.configuration},
        input_encodings=trial.mapping.encodings,
        refused_by=trial.facts.refused_by,
    )


def _metrics(report: Report) -> dict[str, Any]:
    if isinstance(report, UnscoredReport):
        return {"scored": False}
    return {"scored": True, **report.metrics}


def _card(contract: Contract, trial: ForeignTrial, report: Report, source: bytes, notes: tuple[str, ...]) -> str:
    """Markdown; the same file, contract and items give the same text."""
    metric, measured = "–", "**Not scored**: no labelled items were given, so nobody knows here how good it is."
    if not isinstance(report, UnscoredReport):
        found = report.metric
        metric = f"{found.name.value} {found.value:.4f}, 95 % {found.interval.low:.4f} – {found.interval.high:.4f}"
        measured = (
            "Measured on labelled items with the bytes in this bundle, through the inference backend that a device "
            "uses."
        )
    origin = (
        f"Wraps a {trial.spec.format.value} file that was made elsewhere: {len(source)} bytes, sha256 "
        f"`{sha256_hex(source)}`. How it was trained is not known here."
    )
    sizes, differs = f"{report.bytes} | {report.inventory.weight_bytes}", f"{report.parity.max_abs_of_std:.1e}"
    lines = [
        f"# {contract.name} {contract.version}",
        "",
        *([contract.description, ""] if contract.description else []),
        origin,
        "",
        "## Variants",
        "",
        measured,
        "",
        f"| variant | file, bytes | weights, bytes | metric | max. difference from {trial.runs.configuration} ÷ std |",
        "|---|---|---|---|---|",
        f"| {report.id} | {sizes} | {metric} | {differs} |",
        *(["", "## Notes", "", *(f"- {note}" for note in notes)] if notes else []),
    ]
    return "\n".join(lines) + "\n"
