"""A model that was made elsewhere becomes a bundle: wrapped as it is, with the checks that our own exports get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeml_export.foreign.bundle import write_foreign
from edgeml_export.foreign.file import ForeignKind, ForeignLimits, read_foreign
from edgeml_export.foreign.items import trial_items
from edgeml_export.foreign.mapping import map_tensors
from edgeml_export.foreign.process import ForeignProcess
from edgeml_export.foreign.report import ForeignReport
from edgeml_export.foreign.trial import ForeignTrial, judge_foreign
from edgeml_export.scheme import variant_spec
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, ProgressEvent, silent

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_export.export import ExportOptions
    from edgeml_export.foreign.data import ForeignData
    from edgeml_export.foreign.file import ForeignFile
    from edgeml_runtime.contract import Contract

__all__ = ["export_foreign"]


def export_foreign(
    source: Path,
    *,
    contract: Contract,
    out: Path,
    data: ForeignData | None = None,
    unscored: bool = False,
    options: ExportOptions | None = None,
    limits: ForeignLimits | None = None,
    progress: Progress = silent,
) -> ForeignReport:
    """Wrap an ``.onnx`` or ``.tflite`` file, or export a ``.pt2`` program, into a bundle.

    A file is the one variant that it is; ``export.variants`` and ``export.required`` of the contract are not for it. It
    is loaded in a process of its own, run over the items as it ships and as plainly as its backend can, and judged by
    the difference, as our own variants are by their difference from PyTorch. A program goes through the whole export,
    with all variants of the contract.

    Args:
        source: The model.
        contract: What it is to be; names of tensors may differ where their order, shapes and dtypes fit.
        out: Path of the bundle; its folder exists.
        data: Labelled items. A program of which integer variants are made also needs calibration items.
        unscored: Wrap without labelled items: golden vectors are then hostile inputs and noise, there are no reference
            histograms, and the manifest says ``"scored": false``.
        options: How to export a program; of no use for a file.
        limits: What is taken from the file.
        progress: Told about every step.

    Returns:
        What became of it; no bundle is written when ``ok`` is False.

    Raises:
        ProjectError: The model cannot be read, does not fit the contract, or neither items nor ``unscored`` were given.
        StorageError: The disk is full, or the folder is missing or not writable.
    """
    limits = limits or ForeignLimits()
    _check_evidence(data, unscored=unscored)
    out = out.absolute()
    file = read_foreign(source, limits)
    try:
        if file.kind is ForeignKind.PT2:
            from edgeml_export.foreign.pt2 import export_program

            return export_program(
                file, contract=contract, out=out, data=data, options=options, limits=limits, progress=progress
            )
        return _wrap(file, contract, out, data, limits, progress)
    except ProjectError as error:
        raise ProjectError(f"{source}: {error}") from error


def _check_evidence(data: ForeignData | None, *, unscored: bool) -> None:
    if data is None and not unscored:
        raise ProjectError(
            "no variant ships unscored: give labelled items (--data ITEMS.npz: arrays named like the inputs, and "
            "targets), or say that there are none (--unscored)"
        )
    if data is not None and unscored:
        raise ProjectError("labelled items were given, and --unscored says that there are none; leave one of them out")


def _wrap(
    file: ForeignFile,
    contract: Contract,
    out: Path,
    data: ForeignData | None,
    limits: ForeignLimits,
    progress: Progress,
) -> ForeignReport:
    trial, notes = _try(file, contract, data, limits, progress)
    judged = judge_foreign(trial, contract, progress)
    if judged.without_vnni is not None and not judged.without_vnni.checked:
        notes += ("not checked without VNNI, for want of an emulator: its sums may saturate on such a CPU",)
    report = ForeignReport(
        source=file.name,
        kind=file.kind,
        bundle=out,
        bundle_bytes=0,
        scored=data is not None,
        variants=(judged,),
        reference=trial.runs.configuration,
        notes=notes,
    )
    if not report.ok:
        return report
    progress(ProgressEvent(step="write", done=0, total=1, message=out.name))
    size = write_foreign(out, contract, trial, judged, source=file.content, notes=notes)
    progress(ProgressEvent(step="write", done=1, total=1, message=out.name))
    return report.written(size)


def _try(
    file: ForeignFile, contract: Contract, data: ForeignData | None, limits: ForeignLimits, progress: Progress
) -> tuple[ForeignTrial, tuple[str, ...]]:
    """Inspect the file and run it, in a process of its own."""
    from edgeml_export.foreign.normalise import normalise

    items = trial_items(contract, None if data is None else data.test)
    with ForeignProcess(limits) as process:
        progress(ProgressEvent(step="inspect", done=0, total=1, message=file.name))
        facts = process.inspect(file)
        progress(ProgressEvent(step="inspect", done=1, total=1, message=f"{file.kind.value}-{facts.precision.value}"))
        mapping = map_tensors(contract, facts.inputs, facts.outputs, file.kind)
        made = normalise(file, mapping, contract, limits)
        compared = [int(item) for item in items.compared(limits.reference_items)]
        runs = process.run(made.file, facts, made.mapping, contract, items.feeds, compared, progress)
    notes = (*made.mapping.notes, *made.notes, *facts.notes)
    trial = ForeignTrial(
        spec=variant_spec(f"{file.kind.value}-{facts.precision.value}"),
        content=made.file.content,
        facts=facts,
        mapping=made.mapping,
        min_backend_version=made.min_backend_version or _min_litert(file, runs.version),
        items=items,
        runs=runs,
    )
    return trial, notes


def _min_litert(file: ForeignFile, installed: str) -> str:
    from edgeml_export.foreign.tflite import min_litert

    return min_litert(file.content, installed)
