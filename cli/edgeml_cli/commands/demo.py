"""``edgeml demo``: the whole way on handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeml_cli.session import Session, common_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from edgeml_cli.demo_steps import StepRecord
    from edgeml_runtime.progress import Progress

__all__ = ["command"]


@click.command()
@click.argument(
    "folder", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=Path("edgeml-demo")
)
@common_options
@click.pass_obj
def command(session: Session, folder: Path) -> int:
    """Take handwritten digits the whole way.

    In DIR (edgeml-demo by default) makes a project, trains it, exports it, benches the bundle on this machine and
    recognises an image. Needs no download. What is done already is skipped.
    """
    from edgeml_cli.demo_steps import DemoSteps
    from edgeml_cli.demo_view import render_demo
    from edgeml_cli.output import emit, note
    from edgeml_cli.quiet import working

    steps = DemoSteps(folder)
    records: dict[str, StepRecord] = {}

    def run(step: str, text: str, work: Callable[[Progress], StepRecord]) -> StepRecord:
        note(session, f"{step}: {text}")
        with working(session) as progress:
            record = records[step] = work(progress)
        if record.skipped:
            note(session, "  done before, skipped")
        return record

    run("init", f"a project from the template, in {folder}", lambda _: steps.init())
    train = run("train", "the baselines, then the model", steps.train)
    export = run("export", "ONNX and TFLite, fp32 and int8", lambda p: steps.export(train.report, p))
    if export.exit_code == 0:
        run("bench", "speed and memory on this machine", lambda p: steps.bench(export.report, p))
        run("predict", "an image it has not seen", lambda _: steps.predict(export.report))
    reports = {step: record.report for step, record in records.items()}
    skipped = [step for step, record in records.items() if record.skipped]

    def render(console: Console) -> None:
        render_demo(console, folder, reports)

    emit(session, {**reports, "skipped": skipped}, render)
    return max(record.exit_code for record in records.values())
