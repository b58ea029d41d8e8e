"""The views of ``edgeml devices``: all profiles, one with its sources, and what a probe measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["render_list", "render_probe", "render_profile"]

Report = Mapping[str, Any]

# Key of a profile → heading, and how the value is written.
FIGURES = {
    "arch": ("architecture", "text"),
    "cpu": ("cores of type", "text"),
    "cores": ("cores", "text"),
    "boards": ("boards", "list"),
    "isa": ("CPU features", "list"),
    "clock_mhz": ("clock, MHz", "whole"),
    "memory_bytes": ("memory built in", "bytes"),
    "memory_usable_bytes": ("memory usable", "bytes"),
    "memcpy_gb_per_s": ("memcpy, GB/s, one core", "number"),
    "memset_gb_per_s": ("memset, GB/s, one core", "number"),
    "fp32_gmac_per_s": ("fp32, GMAC/s, one core", "number"),
    "int8_gmac_per_s": ("int8, GMAC/s, one core", "number"),
    "threads": ("threads to measure with", "text"),
    "runtimes": ("runtimes", "list"),
    "emulator_cpu": ("CPU model for emulation", "text"),
}
UNITS = {"gb_per_s": "GB/s", "gmac_per_s": "GMAC/s"}


def render_list(console: Console, report: Report) -> None:
    """One line per profile.

    Args:
        console: Where to print.
        report: The JSON form of ``edgeml devices list``.
    """
    table = simple_table("device", "<cores", "MHz", "memory", "<this machine")
    for entry in report["profiles"]:
        profile, fits = entry["profile"], entry["this_machine"]["matches"]
        table.add_row(
            escape(profile["name"]),
            escape(_cores(profile)),
            _text(profile["clock_mhz"], "whole"),
            _text(profile["memory_usable_bytes"] or profile["memory_bytes"], "bytes"),
            "[green]yes[/]" if fits else "[dim]no[/]",
        )
    console.print(table)
    own = [entry for entry in report["profiles"] if entry["file"]]
    for entry in own:
        console.print(f"[dim]{escape(entry['profile']['name'])}: {escape(entry['file'])}[/]", soft_wrap=True)
    console.print("[dim]edgeml devices show NAME says more, and where each figure comes from[/]")


def render_profile(console: Console, report: Report) -> None:
    """Every figure of a profile with its source, and whether this machine counts as the device.

    Args:
        console: Where to print.
        report: The JSON form of ``edgeml devices show``.
    """
    profile = report["profile"]
    console.print(f"[bold]{escape(profile['name'])}[/]: {escape(profile['title'])}")
    if report["file"]:
        console.print(f"[dim]{escape(report['file'])}[/]", soft_wrap=True)
    console.print()
    console.print(_figure_table(profile))
    if profile["references"]:
        console.print(_reference_table(profile["references"]))
    _print_sources(console, profile)
    _print_match(console, report["this_machine"])


def _figure_table(profile: Report) -> Table:
    table = simple_table("figure", "<value")
    for key, (heading, kind) in FIGURES.items():
        if profile[key] not in (None, []):
            table.add_row(heading, escape(_text(profile[key], kind)))
    return table


def _reference_table(references: list[Report]) -> Table:
    table = simple_table("published latency", "<", "<runtime", "threads", "ms", "<")
    for entry in references:
        threads = "–" if entry["threads"] is None else str(entry["threads"])
        table.add_row(
            escape(entry["model"]),
            escape(entry["precision"] or ""),
            escape(entry["runtime"]),
            threads,
            f"{entry['latency_ms']:g}",
            entry["statistic"] or "",
        )
    return table


def _print_sources(console: Console, profile: Report) -> None:
    """Each source once, behind what comes from it."""
    users: dict[str, list[str]] = {}
    for key, (heading, _) in FIGURES.items():
        if key in profile["sources"]:
            users.setdefault(profile["sources"][key], []).append(heading.partition(",")[0])
    for entry in profile["references"]:
        named = users.setdefault(entry["source"], [])
        named += ["published latency"] if "published latency" not in named else []
    console.print("[bold]sources[/]")
    for source, headings in users.items():
        console.print(f"  {', '.join(headings)}: [dim]{escape(source)}[/]", soft_wrap=True)
    console.print()


def _print_match(console: Console, found: Report) -> None:
    if found["matches"]:
        console.print("[green]this machine counts as this device[/]")
        return
    console.print("this machine does not count as this device:")
    for reason in found["reasons"]:
        console.print(f"  [yellow]{escape(reason)}[/]")


def render_probe(console: Console, report: Report) -> None:
    """What was measured and how noisy it was, and how to use the profile.

    Args:
        console: Where to print.
        report: The JSON form of ``edgeml devices probe``.
    """
    profile, file = report["profile"], report["file"]
    console.print(f"[bold]{escape(profile['name'])}[/]: {escape(_cores(profile))}, {_memory(profile)}")
    console.print(f"[dim]{escape(', '.join(profile['isa']) or 'no CPU features known')}[/]\n")
    table = simple_table("measured on one core", "best", "<", "median below it", "<how")
    for entry in report["measured"]:
        quantity, _, unit = entry["name"].partition("_")
        style = "yellow" if entry["noisy"] else "default"
        noise = f"[{style}]{entry['noise']:.1%}[/]"
        table.add_row(quantity, f"{entry['value']:.4g}", UNITS[unit], noise, f"[dim]{escape(entry['how'])}[/]")
    console.print(table)
    if any(entry["noisy"] for entry in report["measured"]):
        console.print("[yellow]The machine was busy or changed its clock: probe again when it is quiet.[/]\n")
    console.print(f"written to {escape(str(file))}", soft_wrap=True)
    console.print(f"budgets for it go under \\[budgets.{escape(profile['name'])}] of edgeml.toml", soft_wrap=True)


def _cores(profile: Report) -> str:
    return f"{profile['cores']} × {(profile['cpu'] or profile['arch']).replace('+', ' + ')}"


def _memory(profile: Report) -> str:
    return f"{_text(profile['memory_usable_bytes'], 'bytes')} of memory"


def _text(value: Any, kind: str) -> str:
    if value is None:
        return "–"
    if kind == "list":
        return ", ".join(value)
    if kind == "bytes":
        return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
    if kind == "whole":
        return f"{value:.0f}"
    return f"{value:g}" if kind == "number" else str(value)
