"""The view of ``edgeml export``: every variant with what it keeps and costs, and the layers where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from edgeml_cli.render import size_text, value_text
from edgeml_cli.render_table import simple_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

__all__ = ["render_export", "render_layers"]

Report = Mapping[str, Any]

COLUMN_GAP = 2


def render_export(console: Console, report: Report) -> None:
    """Every variant with size, metric, loss and parity; why one was left out; where the bundle lies.

    Args:
        console: Where to print.
        report: The JSON form of an export.
    """
    for text in _choice_remarks(report.get("choice")):
        console.print(f"[yellow]{escape(text)}[/]")
    console.print(_variant_table(report["variants"]))
    console.print(_remarks(report))
    for note in report.get("notes", ()):
        console.print(f"[yellow]{escape(note)}[/]")
    reference = escape(report.get("reference", "PyTorch"))
    console.print("\n[dim]loss: of the metric, over the same items; slice: the loss on the worst one[/]")
    console.print("[dim]SQNR: of the deciding output, in dB; operators: convolutions and matrix products[/]")
    console.print(f"[dim]loss and SQNR: against {reference}[/]\n")
    if report["bundle"] is None:
        console.print("[bold red]no bundle:[/] a variant that the contract requires has failed, or none is fit to ship")
    else:
        console.print(f"[bold]{escape(report['bundle'])}[/], {size_text(report['bundle_bytes'])}", soft_wrap=True)


def _choice_remarks(choice: Report | None) -> Iterator[str]:
    """What the options of the command changed beside the variants themselves."""
    if choice is None:
        return
    if choice["missing"]:
        yield f"skipped, because the format lacks it: {', '.join(choice['missing'])}"
    if choice["no_longer_required"]:
        yield f"required by the contract, not exported this time: {', '.join(choice['no_longer_required'])}"
    if choice["dropped_budgets"]:
        yield f"budgets of variants that are not exported this time: {', '.join(choice['dropped_budgets'])}"


def _variant_table(variants: list[Report]) -> Table:
    name = "metric" if variants[0]["metric"] is None else variants[0]["metric"]["name"].replace("_", " ")
    table = simple_table("variant", "file", "weights", name, "loss", "slice", "SQNR", "<")
    for variant in variants:
        metric, loss, worst = (variant.get(key) for key in ("metric", "paired_loss", "worst_slice"))
        sqnr_db = variant["parity"]["sqnr_db"]
        table.add_row(
            variant["id"],
            size_text(variant["bytes"]),
            size_text(variant["weight_bytes"]),
            "–" if metric is None else value_text(metric["value"]),
            "–" if loss is None else value_text(loss["drop"]),
            "–" if worst is None else value_text(worst["drop"]),
            "exact" if sqnr_db is None else f"{sqnr_db:.1f}",
            "[green]✓[/]" if variant["shipped"] else "[bold red]✗[/]",
        )
    return table


def _remarks(report: Report) -> Table:
    """What is worth knowing of variants and inputs beside the figures."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for variant in report["variants"]:
        if not variant["shipped"]:
            table.add_row(f"[red]{variant['id']}[/]", f"[red]is not shipped:[/] {escape(variant['reason'])}")
        if remarks := "; ".join(_variant_remarks(variant)):
            table.add_row(variant["id"], escape(remarks))
    for folding in report["preprocessing"]:
        left = ", ".join(folding["remaining"]) or "nothing"
        text = f"preprocessing: {folding['folded']}; left before the first layer: {left}"
        table.add_row(escape(folding["input"]), escape(text))
    return table


def _variant_remarks(variant: Report) -> Iterator[str]:
    if alarms := variant.get("alarms"):
        per_day = alarms["false_alarms_per_day"]
        yield f"finds {alarms['found']} of {alarms['events']} events, {per_day:.2f} false alarms a day"
    counts = variant["operators"]
    if counts["int8"]:
        yield f"{counts['int8']} operators in int8, {counts['float_inside']} kept in float"
        if counts["float_outside"]:
            yield f"{counts['float_outside']} in float though no scope says so"
    if (found := _search_remark(variant)) is not None:
        yield found
    check = variant["without_vnni"]
    if check is not None and not check["checked"]:
        yield "not checked on an x86 without VNNI: apt-get install qemu-user"
    elif check is not None and check["max_abs"] <= check["tolerance"]:
        yield f"as good on an x86 without VNNI (emulated, {check['items']} items)"


def _search_remark(variant: Report) -> str | None:
    """What the search came to; where it came to nothing, the reason says so."""
    steps, kept = variant["search"], variant["float_layers"]
    if not any(step["validation_loss"]["within"] for step in steps):
        return None
    tried = f"{len(steps)} tried on {steps[0]['validation_loss']['n']} validation items"
    return f"the search keeps {', '.join(kept) or 'nothing'} in float ({tried})"


def render_layers(console: Console, report: Report) -> None:
    """Error, cost and precision of every layer.

    Args:
        console: Where to print.
        report: The JSON form of an export with ``layers``.
    """
    if not report["layers"]:
        console.print("[yellow]no layers to explain:[/] no variant has calibrated activations (int8, int16x8)\n")
        return
    console.print(_error_table(report["layers"]))
    console.print(f"[dim]dB: SQNR when the layer alone is quantized as in {report['measured_as']}[/]")
    console.print("[dim]own: of its own output; model: of the model's output; (in brackets):[/]")
    console.print("[dim]what it would be, were the layer not in float (export.float_scopes)[/]")
    for groups in _fitting(report["alike"], [_name(layer) for layer in report["layers"]], console.width):
        console.print(_precision_table(report["layers"], groups))


def _error_table(layers: list[Report]) -> Table:
    table = simple_table("layer", "<operator", "MACs", "fp32", "int8", "own dB", "model dB")
    table.columns[0].no_wrap = False
    for layer in layers:
        table.add_row(
            _name(layer),
            layer["operator"],
            _count(layer["macs"]),
            size_text(layer["weight_bytes"]["fp32"]),
            size_text(layer["weight_bytes"]["int8"]),
            *(_decibels(layer[key], in_brackets=layer["in_float_scope"]) for key in ("sqnr_db", "output_sqnr_db")),
        )
    return table


def _count(number: int) -> str:
    if number < 1000:
        return str(number)
    return f"{number / 1e3:.1f} k" if number < 1e6 else f"{number / 1e6:.2f} M"


def _decibels(value: float | None, *, in_brackets: bool) -> str:
    text = "–" if value is None else f"{value:.1f}"
    return f"[dim]({text})[/]" if in_brackets else text


def _fitting(groups: list[list[str]], names: list[str], width: int) -> Iterator[list[list[str]]]:
    """Groups of variants, as many at a time as fit beside the names of the layers."""
    room = width - max(map(len, names)) - COLUMN_GAP
    chosen: list[list[str]] = []
    for group in groups:
        needed = sum(max(map(len, one)) + COLUMN_GAP for one in (*chosen, group))
        if chosen and needed > room:
            yield chosen
            chosen = []
        chosen.append(group)
    yield chosen


def _precision_table(layers: list[Report], groups: list[list[str]]) -> Table:
    """One column for all variants that compute every layer alike."""
    table = simple_table("layer", *("<" + "\n".join(group) for group in groups))
    table.columns[0].no_wrap = False
    for layer in layers:
        table.add_row(_name(layer), *(layer["precisions"][group[0]] for group in groups))
    return table


def _name(layer: Report) -> str:
    return escape(layer["path"] or "the model itself")
