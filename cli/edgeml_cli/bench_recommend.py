"""``edgeml bench --recommend``: which variant, backend and number of threads to use on a device."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from edgeml_cli.session import Session
    from edgeml_devices.emulator.target import BenchTarget
    from edgeml_devices.recommendation import Recommendation
    from edgeml_devices.report import BenchReport
    from edgeml_runtime.progress import Progress

__all__ = ["bench_recommend", "check_options", "file_for", "render_recommendation"]

Report = dict[str, Any]

_HEADINGS = {
    "below_quality": "below the contract's quality",
    "over_budget": "over a budget",
    "not_run": "cannot run",
}


def check_options(
    targets: Sequence[str],
    variants: Sequence[str],
    *,
    store: bool,
    against: Path | None,
    baseline: Path | None,
    sustained: float | None,
) -> None:
    """Refuse what makes no sense beside ``--recommend``.

    Args:
        targets: Where to measure.
        variants: Variants to choose from; none for all.
        store: Whether the choice is to be stored.
        against: The other model, or None.
        baseline: The earlier result, or None.
        sustained: Minutes, or None.

    Raises:
        click.UsageError: It makes none.
    """
    if against is not None or sustained is not None:
        raise click.UsageError("--recommend measures in its own way: leave --against and --sustained out")
    if baseline is not None:
        raise click.UsageError("--baseline compares a bench with an earlier one: leave --recommend out")
    if len(targets) > 1:
        raise click.UsageError("--recommend is for one device: name one --on")
    if store and variants:
        raise click.UsageError("what is stored is the choice among all variants: leave --variant out")


def file_for(model: Path, store_in: Path | None) -> str:
    """Where the recommendation is stored.

    Args:
        model: The bundle.
        store_in: File or folder, or None for beside the bundle.
    """
    from edgeml_runtime.tuned_store import tuned_file

    return tuned_file(model, store_in)


def bench_recommend(
    session: Session,
    model: Path,
    targets: Sequence[str],
    ssh_config: Path | None,
    file: str | None,
    options: Mapping[str, Any],
) -> int:
    """Find the recommendation, print it and store it where that was asked for.

    Args:
        session: How to print.
        model: A bundle.
        targets: Where to measure, at most one.
        ssh_config: ssh configuration in place of the user's, or None.
        file: File to store it in, or None for not at all.
        options: The other arguments of :func:`edgeml_devices.picking.recommend`.

    Returns:
        The exit code.

    Raises:
        EdgemlError: The bundle cannot be measured, the target not be reached, or the file not be written.
    """
    from edgeml_cli.output import emit
    from edgeml_cli.quiet import working

    with working(session) as progress:
        result, report = _recommend(model, targets, ssh_config, options, progress)
        if file is not None and result.decision.chosen is not None:
            from edgeml_devices.recommendation import store

            store(result, file)
            report["stored"] = file
    emit(session, report, partial(render_recommendation, report=report))
    return result.exit_code


def _recommend(
    model: Path, targets: Sequence[str], ssh_config: Path | None, options: Mapping[str, Any], progress: Progress
) -> tuple[Recommendation, Report]:
    from edgeml_devices.picking import recommend

    if not targets:
        result = recommend(model, progress=progress, **options)
        return result, result.to_dict() | {"stored": None}
    from edgeml_devices.emulator.target import timed
    from edgeml_devices.remote import bench_targets

    found: list[Recommendation] = []

    def run(target: BenchTarget, progress: Progress) -> BenchReport:
        found.append(recommend(model, target=timed(target, "a recommendation"), progress=progress, **options))
        return cast("BenchReport", found[0])  # asked for the same: what was lost, the exit code and the JSON form

    both = bench_targets(model, targets, run, config=ssh_config, progress=progress)
    return found[0], both.targets[0].to_dict() | {"stored": None}


def render_recommendation(console: Console, *, report: Report) -> None:
    """What to use, the table of those that were timed, and why the others were not taken.

    Args:
        console: Where to draw.
        report: The JSON form of a recommendation, with ``stored``.
    """
    from rich.markup import escape

    from edgeml_cli.render import budget_table
    from edgeml_cli.render_bench import VERDICT_STYLES

    console.print(f"device: [bold]{escape(report['device'])}[/], {report['provenance']}")
    for reason in report["mismatch"]:
        console.print(f"  [yellow]{escape(reason)}[/]")
    if report["mismatch"]:
        console.print("[dim]so nothing was timed: ask for it on the device itself (--on ssh://user@host)[/]")
        return
    console.print()
    console.print(_headline(report), highlight=False, soft_wrap=True)
    style = VERDICT_STYLES[report["verdict"]]
    console.print(f"verdict: [{style}]{report['verdict']}[/]{_verdict_text(report)}\n", highlight=False)
    _timed(console, report)
    if report["budgets"]:
        console.print(budget_table(report["budgets"]))
    for result in report["budgets"]:
        if result["reason"]:
            console.print(f"[yellow]{result['name']}:[/] {escape(result['reason'])}", highlight=False)
    _excluded(console, report)
    for text in report["notes"]:
        console.print(f"[dim]{escape(text)}[/]", highlight=False)
    if report["lost"] is not None:
        console.print(f"[bold red]lost:[/] {escape(report['lost'])}")
    for path in report.get("left", ()):
        console.print(f"[bold red]could not be removed there:[/] {escape(path)}")
    if report["stored"] is not None:
        console.print(f'stored in {escape(report["stored"])}; Model.load(…, variant="tuned") uses it', highlight=False)


def _headline(report: Report) -> str:
    from rich.markup import escape

    chosen = report["chosen"]
    if chosen is None:
        return "[bold red]none of the ways to run it will do[/]"
    threads = f"{chosen['threads']} thread{'s' if chosen['threads'] > 1 else ''}"
    variant, backend = escape(chosen["variant"]), escape(chosen["backend"])
    call = f'Model.load(path, variant="{variant}", backend="{backend}", threads={chosen["threads"]})'
    return f"use [bold]{variant}[/] on [bold]{backend}[/] with [bold]{threads}[/]\n  [dim]{call}[/]"


def _verdict_text(report: Report) -> str:
    if report["verdict"] == "pass":
        return f", within 5 % of the fastest by {report['ranked_by']}"
    if report["verdict"] == "inconclusive":
        return ", the best guess: noise leaves open whether it is the right one"
    return ""


def _timed(console: Console, report: Report) -> None:
    from rich.markup import escape

    from edgeml_cli.render import milliseconds
    from edgeml_cli.render_table import simple_table

    rows = [row for row in report["candidates"] if row["latency_ms"]["p50"] is not None]
    if not rows:
        return
    table = simple_table("variant", "<backend", "threads", "p50 ms", "p95 ms", report["metric"], "<")
    for row in sorted(rows, key=lambda row: (row["standing"] != "chosen", row["latency_ms"][report["ranked_by"]])):
        bold = ("[bold]", "[/]") if row["standing"] == "chosen" else ("", "")
        table.add_row(
            f"{bold[0]}{escape(row['variant'])}{bold[1]}",
            escape(row["backend"]),
            str(row["threads"]),
            milliseconds(row["latency_ms"]["p50"]),
            milliseconds(row["latency_ms"]["p95"]),
            "–" if row["metric"] is None else f"{row['metric']:.4f}",
            "[bold]chosen[/]" if row["standing"] == "chosen" else escape(_short(row)),
        )
    console.print(table)
    if len(rows) > 1 and report["chosen"] is not None:
        console.print(f"[dim]×: time over that of the chosen one, by {report['ranked_by']}[/]\n", highlight=False)


def _short(row: Report) -> str:
    """Its time over that of the chosen one, in the width of a table, and what became of it where that is no reason."""
    ratio, word = row["ratio"], row["standing"].replace("_", " ")
    if ratio is None:
        return str(word)
    times = f"× {ratio['value']:.2f}"
    return times if row["standing"] == "slower" else f"{times} {word}"


def _excluded(console: Console, report: Report) -> None:
    """Reasons in words: of those as fast, and of those that will not do, each reason once."""
    from rich.markup import escape

    reasons: dict[str, list[str]] = {}
    for row in report["candidates"]:
        if row["standing"] in ("chosen", "slower"):
            continue
        heading = _HEADINGS.get(row["standing"])
        text = f"{heading}: {row['reason']}" if heading else row["reason"]
        threads = f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"
        reasons.setdefault(text, []).append(f"{row['variant']} on {row['backend']}, {threads}")
    for text, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        console.print(f"[yellow]{escape(names[0])}{more}:[/] {escape(text)}", highlight=False)
