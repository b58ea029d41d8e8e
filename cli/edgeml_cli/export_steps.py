"""What ``edgeml export`` does behind its options: of a project, or of a model that was made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml_cli.progress import announce_loading
from edgeml_cli.quick_check import check_contract, check_devices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_export import ExportReport
    from edgeml_export.choice import VariantChoice
    from edgeml_export.foreign.report import ForeignReport
    from edgeml_runtime.contract import Contract
    from edgeml_runtime.progress import Progress

__all__ = ["check_options", "export_model"]

Report = dict[str, Any]

_ONLY_FROM = {"toml": "--contract", "data": "--data", "unscored": "--unscored"}


def check_options(folder: Path | None, source: Path | None, **options: Any) -> None:
    """Refuse options that do not go together, and faults of the contract, before anything heavy is imported.

    Args:
        folder: The project, where one was named.
        source: The model that was made elsewhere, where one was named.
        options: The command's other options.

    Raises:
        click.UsageError: When they contradict each other.
        ProjectError: When the project's contract cannot be used.
    """
    if (folder is None) is (source is None):
        raise click.UsageError("expected either PROJECT, or a model with --from FILE --contract FILE")
    if folder is not None and (idle := [flag for name, flag in _ONLY_FROM.items() if options[name]]):
        raise click.UsageError(f"{', '.join(idle)}: only with --from")
    if source is not None and options["toml"] is None:
        raise click.UsageError("--from: the model's promise is missing: add --contract FILE, an edgeml.toml")
    if source is not None and options["run_id"] is not None:
        raise click.UsageError("--run chooses a run of PROJECT: leave it out with --from")
    _check_page(options["page"], explain=options["explain"])
    if folder is not None:
        check_contract(folder)


def _check_page(page: Path | None, *, explain: bool) -> None:
    if page is None:
        return
    if not explain:
        raise click.UsageError("--report says where --explain writes: add --explain")
    if not page.is_dir() and not page.absolute().parent.is_dir():
        raise click.UsageError(f"--report: expected a file in a folder that exists, found {str(page)!r}")


def export_model(folder: Path | None, source: Path | None, progress: Progress, **options: Any) -> Report:
    """Export a run of a project, or wrap a model that was made elsewhere.

    Args:
        folder: The project, or None.
        source: The model's file, or None.
        progress: Told about every step.
        options: The command's other options, as :func:`check_options` took them.

    Returns:
        JSON values.
    """
    if source is not None:
        return _export_foreign(source, progress, **options)
    assert folder is not None
    return _export_project(folder, progress, **options)


def _export_project(
    folder: Path,
    progress: Progress,
    *,
    run_id: str | None,
    out: Path | None,
    precisions: tuple[str, ...],
    variants: tuple[str, ...],
    dynamic_batch: bool,
    explain: bool,
    page: Path | None,
    **_: Any,
) -> Report:
    announce_loading(progress, "PyTorch and the converters")
    from edgeml_export.choice import choose_variants
    from edgeml_export.export import ExportOptions
    from edgeml_train.pipeline import export_project
    from edgeml_train.project import Project

    project = Project.open(folder)
    choice = choose_variants(project.contract, precisions=precisions, variants=variants, dynamic_batch=dynamic_batch)
    options = ExportOptions(search=choice.search, dynamic_batch=dynamic_batch, explain=explain)
    result = export_project(
        project, run_id=run_id, out=out, contract=choice.contract, options=options, progress=progress
    )
    written = _explain(result.export, choice.contract, page) if explain else None
    return _report(result.to_dict(), choice, written)


def _export_foreign(
    source: Path,
    progress: Progress,
    *,
    toml: Path,
    data: Path | None,
    unscored: bool,
    out: Path | None,
    precisions: tuple[str, ...],
    variants: tuple[str, ...],
    dynamic_batch: bool,
    explain: bool,
    page: Path | None,
    **_: Any,
) -> Report:
    from edgeml_train.contract_file import read_contract_file

    contract = read_contract_file(toml).contract
    check_devices(contract, toml)
    announce_loading(progress, "the converters")
    from edgeml_export.choice import choose_variants
    from edgeml_export.export import ExportOptions
    from edgeml_export.foreign import export_foreign
    from edgeml_export.foreign.data import load_foreign_data
    from edgeml_export.foreign.file import ForeignKind, ForeignLimits, read_foreign

    wanted = {"precision": precisions, "variants": variants, "dynamic-batch": dynamic_batch, "explain": explain}
    choice = choose_variants(contract, precisions=precisions, variants=variants, dynamic_batch=dynamic_batch)
    is_program = read_foreign(source, ForeignLimits()).kind is ForeignKind.PT2
    if not is_program:
        _refuse_for_files(source, wanted)
    result = export_foreign(
        source,
        contract=choice.contract,
        out=_bundle_path(out, contract),
        data=None if data is None else load_foreign_data(data, contract),
        unscored=unscored,
        options=ExportOptions(search=choice.search, dynamic_batch=dynamic_batch, explain=explain),
        progress=progress,
    )
    if not explain:
        return _report(result.to_dict(), choice if is_program else None, None)
    of_program = _of_program(result)
    values = {**result.to_dict(), **of_program.to_dict()}
    return _report(values, choice, _explain(of_program, choice.contract, page))


def _refuse_for_files(source: Path, wanted: Mapping[str, object]) -> None:
    """A file is wrapped as it is; what makes or measures variants of a program has nothing to do there."""
    if asked := [f"--{name}" for name, value in wanted.items() if value]:
        raise click.UsageError(f"{', '.join(asked)}: {source.name} is wrapped as it is; only a .pt2 is converted")


def _of_program(report: ForeignReport) -> ExportReport:
    """The report of a program as that of any other export."""
    from edgeml_export import ExportReport, VariantReport

    return ExportReport(
        bundle=report.bundle,
        bundle_bytes=report.bundle_bytes,
        variants=tuple(variant for variant in report.variants if isinstance(variant, VariantReport)),
        foldings=report.foldings,
        layers=report.layers,
    )


def _bundle_path(out: Path | None, contract: Contract) -> Path:
    target = out or Path.cwd()
    return target / f"{contract.name}-{contract.version}.edgeml" if target.is_dir() else target


def _explain(export: ExportReport, contract: Contract, page: Path | None) -> Path:
    """Write the page that explains an export; returns where."""
    from edgeml_export.explain import explain_html, write_explanation

    target = page or export.bundle.parent
    if target.is_dir():
        target /= f"{contract.name}-{contract.version}-export.html"
    write_explanation(target, explain_html(export, contract))
    return target.resolve()


def _report(values: Report, choice: VariantChoice | None, page: Path | None) -> Report:
    chosen = None if choice is None else choice.to_dict()
    return {**values, "choice": chosen, "report": None if page is None else str(page)}
