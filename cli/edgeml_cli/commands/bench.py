"""``edgeml bench``: latency, cold start and memory against the contract's budgets."""

from __future__ import annotations

from pathlib import Path

import click

from edgeml_cli.session import Session, common_options
from edgeml_cli.terminated import interrupted_by_sigterm

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
@click.option("--backend", metavar="NAME", help="What runs it, such as openvino; the manifest's own by default.")
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
    "--baseline",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare with an earlier result: the JSON of a bench of this model.",
)
@click.option(
    "--on",
    "targets",
    metavar="TARGET",
    multiple=True,
    help="Where: local, emulator[://CPU], ssh://[user@]host[:port][/path/of/python] or adb://serial[/path/of/python]. "
    "May be given several times.",
)
@click.option(
    "--runner",
    "runners",
    metavar="PATH",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Without Python on the adb device: its build of benchmark_model or onnxruntime_perf_test.",
)
@click.option(
    "--ssh-config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="ssh configuration in place of your own.",
)
@click.option("--profile", is_flag=True, help="Tell the time of every operator, and how near it is to the roof.")
@click.option("--recommend", is_flag=True, help="Name the variant, backend and threads to use on the device.")
@click.option("--store", is_flag=True, help="Remember the recommendation in MODEL.tuned.json, for Model.load.")
@click.option(
    "--store-in",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Remember it in this file, or in MODEL.tuned.json in this folder.",
)
@click.option(
    "--report",
    "reports",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Write a report: .json, .xml (JUnit), .md or .html. May be given several times.",
)
@click.option(
    "--history",
    metavar="PATH",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Draw earlier .json reports on the .html one: a file or a folder. May be given several times.",
)
@common_options
@click.pass_obj
@interrupted_by_sigterm
def command(
    session: Session,
    model: Path,
    device: str,
    threads: int | None,
    backend: str | None,
    variants: tuple[str, ...],
    seconds: float,
    time_limit: float,
    sustained: float | None,
    against: Path | None,
    baseline: Path | None,
    targets: tuple[str, ...],
    runners: tuple[Path, ...],
    ssh_config: Path | None,
    profile: bool,
    recommend: bool,
    store: bool,
    store_in: Path | None,
    reports: tuple[Path, ...],
    history: tuple[Path, ...],
) -> int:
    """Measure speed and memory against the budgets.

    MODEL is a bundle, or a bare .onnx or .tflite file; it is measured on this machine, or where --on says; under
    emulation (--on emulator) golden vectors are tested and instructions counted, and nothing is timed. Figures
    count as measured only when that machine matches the device profile; otherwise the verdict is not_measured and the
    exit code 4. Exits 1 when a budget is exceeded, the bundle does not fit into the device's memory, or it is slower
    than OTHER by more than 5 % or clearly worse than in FILE, 4 when that cannot be told, and 3 when a target cannot be
    reached or is lost.

    With --recommend every variant is tried on every backend and number of threads that the device has. Exits 1 when
    none keeps quality and budgets, and 4 when noise leaves open which one is the right one.
    """
    if runners and (recommend or not targets):
        raise click.UsageError("--runner measures bare models over adb: name --on adb://serial, and no --recommend")
    if runners and profile:
        raise click.UsageError("--profile needs a Python on the device, and --runner measures without: leave one out")
    if recommend:
        from edgeml_cli.bench_recommend import bench_recommend, check_options, file_for

        if reports or history:
            raise click.UsageError("--report and --history are about a bench: leave --recommend out")
        if profile:
            raise click.UsageError("--profile looks into the variants of a bench: leave --recommend out")
        stored = store or store_in is not None
        check_options(targets, variants, store=stored, against=against, baseline=baseline, sustained=sustained)
        choice = {"device": device, "variants": variants or None, "threads": threads, "backend": backend}
        timing = {"seconds": seconds, "time_limit_s": time_limit}
        file = file_for(model, store_in) if stored else None
        return bench_recommend(session, model, targets, ssh_config, file, choice | timing)
    if store or store_in is not None:
        raise click.UsageError("--store remembers a recommendation: add --recommend")
    from edgeml_cli.bench_reports import ask_for_reports

    wanted = ask_for_reports(reports, history)
    options = {
        "device": device,
        "variants": variants or None,
        "threads": threads,
        "backend": backend,
        "seconds": seconds,
        "time_limit_s": time_limit,
        "sustained_minutes": sustained,
    }
    if not targets:
        from edgeml_cli.bench_here import bench_here

        return bench_here(session, model, options, against=against, baseline=baseline, profile=profile, reports=wanted)
    from edgeml_cli.bench_on import bench_on

    if against is not None:
        raise click.UsageError("--against compares on this machine: leave --on out")
    return bench_on(
        session,
        model,
        targets,
        options,
        ssh_config=ssh_config,
        runners=runners,
        profile=profile,
        baseline=baseline,
        reports=wanted,
    )
