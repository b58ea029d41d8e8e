"""``edgeml bench``: latency, cold start and memory against the contract's budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]


@click.command()
@click.argument("model", metavar="MODEL", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--device", metavar="PROFILE", default="host", show_default=True, help="Device profile to judge for.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the backend; the profile's number by default.")
@click.option(
    "--variant", "variants", multiple=True, metavar="ID", help="Only this variant. May be given several times."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="How long to time each variant.",
)
@common_options
@click.pass_obj
def command(
    session: Session, model: Path, device: str, threads: int | None, variants: tuple[str, ...], seconds: float
) -> int:
    """Measure speed and memory against the budgets.

    MODEL is a bundle, or a bare .onnx or .tflite file; it is measured on this machine. Figures count as measured only
    when this machine matches the device profile; otherwise the verdict is not_measured and the exit code 4. Exits 1
    when a budget is exceeded.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working
    from edgeml_cli.render import render_bench

    with working(session) as progress:
        from edgeml_devices.bench import bench

        result = bench(
            model, device=device, variants=variants or None, threads=threads, seconds=seconds, progress=progress
        )
    report = result.to_dict()

    def render(console: Console) -> None:
        render_bench(console, report)

    emit(session, report, render)
    return result.exit_code
