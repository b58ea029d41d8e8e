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
@click.option(
    "--device",
    metavar="PROFILE",
    default="host",
    show_default=True,
    help="Device to judge for: a profile's name or file.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the backend; the profile's number by default.")
@click.option(
    "--variant", "variants", multiple=True, metavar="ID", help="Only this variant. May be given several times."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="How long to time each variant at least.",
)
@click.option(
    "--time-limit",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=55.0,
    show_default=True,
    help="While a budget is inconclusive, measure on until then.",
)
@click.option(
    "--sustained",
    metavar="MINUTES",
    type=click.FloatRange(min=0, min_open=True),
    help="Measure for this long, and show the latency over time.",
)
@click.option(
    "--against",
    metavar="OTHER",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare the speed with this model, in turns.",
)
@click.option(
    "--on",
    "targets",
    metavar="TARGET",
    multiple=True,
    help="Where: local or ssh://[user@]host[:port][/path/of/python]. May be given several times.",
)
@click.option(
    "--ssh-config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="ssh configuration in place of your own.",
)
@common_options
@click.pass_obj
def command(
    session: Session,
    model: Path,
    device: str,
    threads: int | None,
    variants: tuple[str, ...],
    seconds: float,
    time_limit: float,
    sustained: float | None,
    against: Path | None,
    targets: tuple[str, ...],
    ssh_config: Path | None,
) -> int:
    """Measure speed and memory against the budgets.

    MODEL is a bundle, or a bare .onnx or .tflite file; it is measured on this machine, or where --on says. Figures
    count as measured only when that machine matches the device profile; otherwise the verdict is not_measured and the
    exit code 4. Exits 1 when a budget is exceeded, the bundle does not fit into the device's memory, or it is slower
    than OTHER by more than 5 %, 4 when that cannot be told, and 3 when a target cannot be reached or is lost.
    """
    if targets:
        from edgeml_cli.bench_on import bench_on

        if against is not None:
            raise click.UsageError("--against compares on this machine: leave --on out")
        options = {
            "device": device,
            "variants": variants or None,
            "threads": threads,
            "seconds": seconds,
            "time_limit_s": time_limit,
            "sustained_minutes": sustained,
        }
        return bench_on(session, model, targets, ssh_config, options)
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working
    from edgeml_cli.render import render_bench

    with working(session) as progress:
        from edgeml_devices.against import common_variants, compare_speed
        from edgeml_devices.bench import bench

        if against is not None:
            common_variants(str(model), str(against), variants or None)
        result = bench(
            model,
            device=device,
            variants=variants or None,
            threads=threads,
            seconds=seconds,
            time_limit_s=time_limit,
            sustained_minutes=sustained,
            progress=progress,
        )
        comparison = None
        if against is not None and result.provenance is not None:
            comparison = compare_speed(
                model,
                against,
                variants=variants or None,
                threads=threads or result.profile.threads,
                seconds=seconds,
                time_limit_s=time_limit,
                progress=progress,
            )
    report = result.to_dict() | {"against": None if comparison is None else comparison.to_dict()}

    def render(console: Console) -> None:
        render_bench(console, report)

    emit(session, report, render)
    codes = {result.exit_code, 0 if comparison is None else comparison.exit_code}
    return 1 if 1 in codes else max(codes)
