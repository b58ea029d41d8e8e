"""``edgeml predict``: run a bundle on one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

    from edgeml_runtime import Model, Result

__all__ = ["command"]


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--variant", metavar="ID", default="auto", show_default=True, help="Variant to run.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the backend.")
@click.option("--backend", metavar="NAME", help="What runs it, such as openvino; the manifest's own by default.")
@common_options
@click.pass_obj
def command(session: Session, bundle: Path, source: str, variant: str, threads: int | None, backend: str | None) -> int:
    """Run a bundle on one file.

    FILE is a WAV or image file, a .npy array, or JSON; a dash reads it from standard input.

    JSON is a list of numbers in the shape of the contract's input or, where there are several inputs, an object from
    their names to such lists.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import quiet_libraries
    from edgeml_cli.render import render_prediction

    with quiet_libraries(show=session.debug):
        from edgeml_runtime import Model

        with Model.load(str(bundle), variant=variant, threads=threads, backend=backend) as model:
            result = _predict(model, source)
            report = _as_dict(model, source, result)

    def render(console: Console) -> None:
        render_prediction(console, report)

    emit(session, report, render)
    return 0


def _predict(model: Model, source: str) -> Result:
    from edgeml_cli.input_files import read_arrays

    data = sys.stdin.buffer.read() if source == "-" else None
    arrays = read_arrays(model.manifest.inputs, source, data)
    if arrays is not None:
        return model.predict(arrays)
    if data is None:
        return model.predict_file(source)
    from edgeml_runtime.loaders import load_tensor

    return model.predict(load_tensor(model.manifest.inputs[0], data))


def _as_dict(model: Model, source: str, result: Result) -> dict[str, Any]:
    return {
        "source": source,
        "bundle": str(Path(model.bundle_path).resolve()),
        "variant": result.variant,
        "backend": model.backend_name,
        "backend_version": model.backend_version,
        "label": result.label,
        "score": result.score,
        "scores": result.scores,
        "alarm": result.alarm,
        "outputs": {name: array.tolist() for name, array in result.outputs.items()},
    }
