"""``edgeml export``: a trained run, or a model that was made elsewhere, becomes a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _words(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A list with commas."""
    words = () if value is None else tuple(word.strip() for word in value.split(","))
    if not all(words):
        raise click.BadParameter(f"expected words with commas between, found {value!r}")
    return words


@click.command()
@click.argument(
    "folder", metavar="[PROJECT]", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--run", "run_id", metavar="ID", help="Run to export; the latest finished one by default.")
@click.option(
    "--out",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Where to write the bundle: a file, or a folder that exists; the current folder by default.",
)
@click.option(
    "--precision",
    "precisions",
    metavar="LIST",
    callback=_words,
    help="In the formats of the contract: auto, or some of fp32, fp16, int8, int8-dynamic, w8, int16x8, with commas.",
)
@click.option(
    "--variants",
    metavar="LIST",
    callback=_words,
    help="Ids such as onnx-int8, with commas, instead of export.variants of the contract.",
)
@click.option("--dynamic-batch", is_flag=True, help="Leave the batch dimension open, for servers; ONNX only.")
@click.option("--explain", is_flag=True, help="Show error, cost and precision layer by layer, and write a report.")
@click.option(
    "--report",
    "page",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="With --explain: where to write it; NAME-VERSION-export.html beside the bundle by default.",
)
@click.option("--from", "source", metavar="FILE", type=_FILE, help="A .onnx, .tflite or .pt2 instead of PROJECT.")
@click.option("--contract", "toml", metavar="FILE", type=_FILE, help="With --from: its edgeml.toml.")
@click.option("--data", metavar="FILE", type=_FILE, help="With --from: labelled items, an .npz file.")
@click.option("--unscored", is_flag=True, help="With --from: wrap it without labelled items.")
@common_options
@click.pass_obj
def command(session: Session, /, folder: Path | None, source: Path | None, **options: Any) -> int:
    """Export to a verified bundle.

    Converts and quantizes the model of PROJECT and writes NAME-VERSION.edgeml. Every variant is checked against
    PyTorch and scored on the test set; one that fails is left out. Exits 1 when a variant fails that the contract
    requires; there is no bundle then.

    With --precision auto, int8 is searched for: the layers that lose most stay in float, as few as keep what the
    contract promises on the validation split.

    With --from, a model that was made elsewhere is wrapped and checked in the same way.
    """
    from edgeml_cli.export_steps import check_options, export_model
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working
    from edgeml_cli.render import fast_text
    from edgeml_cli.render_export import render_export, render_layers

    check_options(folder, source, **options)
    with working(session) as progress:
        report = export_model(folder, source, progress, **options)

    def render(console: Console) -> None:
        if options["explain"]:
            render_layers(console, report)
        render_export(console, report)
        if report.get("fast"):
            console.print(fast_text(report["fast"]), highlight=False)
        if report["report"] is not None:
            console.print(f"explained in [bold]{report['report']}[/]", soft_wrap=True)
        if report["ok"]:
            console.print(f"next: [bold]edgeml bench {Path(report['bundle']).name}[/]")

    emit(session, report, render)
    return 0 if report["ok"] else 1
