"""The export explained on one page: a self-contained HTML file without scripts."""

from __future__ import annotations

import os
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING

from edgeml_export.explain.charts import Point, scatter
from edgeml_export.explain.layer_tables import cost_section, decibels_text, error_section, range_section
from edgeml_pages import Bar, Html, bars, code, document, judged, section, size_text, table, tag, yes_no
from edgeml_runtime.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeml_export.hostile import HostileResult
    from edgeml_export.report import ExportReport, VariantReport
    from edgeml_export.search import SearchStep
    from edgeml_export.vnni_check import VnniCheck
    from edgeml_pages import Cell
    from edgeml_runtime.contract import Contract

__all__ = ["explain_html", "write_explanation"]


def explain_html(report: ExportReport, contract: Contract) -> str:
    """Explain what an export did and why.

    Args:
        report: What it came to.
        contract: The contract it was for.

    Returns:
        The text of an HTML file, also well-formed XML; the same arguments give the same text.
    """
    by_layer = (error_section, cost_section, range_section) if report.layers else ()
    parts = [
        _header(report, contract),
        _variants(report, contract),
        _preprocessing(report),
        *(_search(variant, contract) for variant in report.variants if variant.search),
        *(build(report) for build in by_layer),
        _slices(report, contract),
        _hostile(report),
        _without_vnni(report),
        _words(),
    ]
    return document(f"Export of {contract.name} {contract.version}", "\n".join(part for part in parts if part))


def write_explanation(path: Path, text: str) -> None:
    """Write the page, whole or not at all.

    Args:
        path: Where; what lies there is replaced, its folder exists.
        text: What :func:`explain_html` gave.

    Raises:
        StorageError: The disk is full, or the folder is missing or not writable.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        raise StorageError(
            f"{path}: the export report cannot be written: {error.strerror or error}; make room, or name another place "
            "with --report"
        ) from error


def _header(report: ExportReport, contract: Contract) -> str:
    shipped = sum(variant.shipped for variant in report.variants)
    result = (
        f"{escape(report.bundle.name)}, {size_text(report.bundle_bytes)}: {shipped} of {len(report.variants)} "
        "variants shipped."
        if report.ok
        else '<span class="bad-word">No bundle was written</span>: a variant that the contract requires is not fit to '
        "ship, or none is."
    )
    return (
        f"<header>\n<h1>Export of {escape(contract.name)} {contract.version}</h1>\n"
        f'<p class="muted">{escape(contract.description)}</p>\n<p>{result}</p>\n</header>'
    )


def _variants(report: ExportReport, contract: Contract) -> str:
    columns = ["variant", "shipped", "size", "file", "weights", _metric(contract), "95 % interval", "loss", "allowed"]
    columns += ["worst slice", "SQNR, dB", "difference ÷ std", "same decision", "int8, float"]
    largest = max(variant.bytes for variant in report.variants)
    reasons = "".join(
        f"<li>{code(variant.id).text} is not shipped: {escape(variant.reason or '')}</li>"
        for variant in report.variants
        if not variant.shipped
    )
    return section(
        "Variants",
        f"<p>Every variant was run over the {report.variants[0].paired_loss.n} test items, as the bytes that ship, "
        "through the backend that a device uses. Losses are paired: against PyTorch, over the same items.</p>",
        table(
            "Size, metric, loss and parity of every variant",
            columns,
            [_variant_row(variant, variant.bytes / largest) for variant in report.variants],
            text_columns=3,
        ),
        f"<ul>{reasons}</ul>" if reasons else "",
    )


def _variant_row(variant: VariantReport, size: float) -> list[Cell]:
    interval, counts, worst = variant.metric.interval, variant.inventory.operators, variant.worst_slice
    agreement, loss = variant.parity.argmax_agreement, variant.paired_loss
    drawn = bars(f"{variant.id}: {size_text(variant.bytes)}", [Bar(share=size, style="model")])
    return [
        code(variant.id),
        yes_no(variant.shipped),
        Html(text=f'<div class="narrow">{drawn}</div>'),
        size_text(variant.bytes),
        size_text(variant.weight_bytes),
        f"{variant.metric.value:.4f}",
        f"{interval.low:.3f} – {interval.high:.3f}",
        judged(f"{loss.drop:.4f}", loss.within),
        f"{loss.allowed_drop:.4f}",
        "–" if worst is None else judged(f"{worst.loss.drop:.4f}", worst.within),
        decibels_text(variant.parity.sqnr_db),
        f"{variant.parity.max_abs_of_std:.1e}",
        "–" if agreement is None else f"{100 * agreement:.1f} %",
        f"{counts.int8}, {counts.float_inside + counts.float_outside}",
    ]


def _preprocessing(report: ExportReport) -> str:
    if not report.foldings:
        return ""
    rows: list[list[Cell]] = [
        [code(item.input), item.folded, Html(text=", ".join(code(name).text for name in item.remaining) or "nothing")]
        for item in report.foldings
    ]
    columns = ["input", "folded", "operators left before the first layer"]
    return section(
        "Preprocessing",
        "<p>What became of the steps between each raw input and the first layer. Operators that are left touch every "
        "value of the input at every call: they are what the preprocessing costs.</p>",
        table("Inputs and their preprocessing", columns, rows, text_columns=3),
    )


def _search(variant: VariantReport, contract: Contract) -> str:
    steps, chosen = variant.search, variant.float_layers
    overall = steps[0].loss.overall
    found = any(step.loss.within for step in steps)
    columns = ["attempt", "layers in float", "slices that lose too much", "loss", "items lost, gained", "keeps it"]
    rows = [_step_row(number, step) for number, step in enumerate(steps, start=1)]
    listed = table(f"Attempts of {variant.id}", columns, rows, text_columns=3)
    many = len(steps) > 1
    return section(
        f"Search of {variant.id}",
        f"<p>{_search_result(chosen, found=found)} Judged by the {overall.n} validation items, on which a loss of "
        f"{overall.allowed_drop:.4f} is allowed; the test split was not looked at.</p>",
        _search_chart(variant, contract, found=found) if many else listed,
        f"<details><summary>All {len(steps)} attempts</summary>\n{listed}</details>" if many else "",
    )


def _search_chart(variant: VariantReport, contract: Contract, *, found: bool) -> str:
    steps, overall = variant.search, variant.search[0].loss.overall
    chart = scatter(
        f"{variant.id}: loss on validation items against layers in float",
        f"{len(steps)} attempts. With everything quantized the loss is {overall.drop:.4f}; "
        f"{overall.allowed_drop:.4f} is allowed.",
        [_point(step, chosen=found and step.float_layers == variant.float_layers) for step in steps],
        limit=overall.allowed_drop,
        x_name="layers in float",
        y_name=f"loss of {_metric(contract)}",
    )
    return (
        f'{chart}\n<p class="legend"><span>filled: keeps the contract’s promise, on every slice too</span>'
        "<span>hollow: does not</span><span>ringed: chosen</span></p>"
    )


def _search_result(chosen: Sequence[str], *, found: bool) -> str:
    if not found:
        return '<span class="bad-word">No form keeps the promise</span>, so the variant is not shipped.'
    if not chosen:
        return "With everything quantized the promise is kept, so nothing stays in float."
    kept = ", ".join(code(path).text for path in chosen)
    return f"{len(chosen)} layer{'s stay' if len(chosen) > 1 else ' stays'} in float: {kept}."


def _point(step: SearchStep, *, chosen: bool) -> Point:
    count, drop = len(step.float_layers), step.loss.overall.drop
    text = f"{count} in float, loss {drop:.4f}"
    return Point(x=count, y=drop, good=step.loss.within, chosen=chosen, title=text)


def _step_row(number: int, step: SearchStep) -> list[Cell]:
    overall = step.loss.overall
    return [
        str(number),
        Html(text=", ".join(code(path).text for path in step.float_layers) or "none"),
        ", ".join(loss.name for loss in step.loss.slices if not loss.within) or "none",
        f"{overall.drop:.4f}",
        f"{overall.lost}, {overall.gained}",
        yes_no(step.loss.within),
    ]


def _slices(report: ExportReport, contract: Contract) -> str:
    first, rules = report.variants[0].slice_losses, contract.export
    if not first:
        return ""
    rows: list[list[Cell]] = []
    for index, loss in enumerate(first):
        name = code(loss.name).text + (tag("too few to judge").text if loss.too_small else "")
        found = (variant.slice_losses[index] for variant in report.variants)
        rows.append(
            [
                Html(text=name),
                str(loss.loss.n),
                *(judged(f"{item.loss.drop:.4f}", item.within) for item in found),
            ]
        )
    return section(
        "Slices",
        f"<p>Loss on each slice of the test set. {rules.max_slice_drop:g} (<code>export.max_slice_drop</code>) or "
        f"{rules.max_slice_drop_items} items (<code>export.max_slice_drop_items</code>) are allowed, whichever is more "
        "(a slice that is too small never decides).</p>",
        table("Loss on every slice", ["slice", "items", *_ids(report)], rows),
    )


def _hostile(report: ExportReport) -> str:
    rows: list[list[Cell]] = [
        [results[0].case, *(_hostile_cell(result) for result in results)]
        for results in zip(*(variant.hostile for variant in report.variants), strict=True)
    ]
    return section(
        "Hostile inputs",
        "<p>Inputs that no test set holds and every device meets. Shown is the largest difference from PyTorch’s "
        "output, in its unit. fp32 variants must agree there too; integers saturate at extremes, so that quantized "
        "ones only have to stay finite.</p>",
        table("Difference from PyTorch on hostile inputs", ["input", *_ids(report)], rows),
    )


def _hostile_cell(result: HostileResult) -> Html:
    other = tag("other decision").text if result.same_decision is False else ""
    return Html(text=judged(f"{result.max_abs:.1e}", result.within).text + other)


def _without_vnni(report: ExportReport) -> str:
    rows = [
        _vnni_row(variant.id, variant.without_vnni) for variant in report.variants if variant.without_vnni is not None
    ]
    if not rows:
        return ""
    return section(
        "Without VNNI",
        "<p>x86 CPUs without VNNI add pairs of 8-bit products in saturating 16 bits. The bytes that ship were run on "
        "an emulated one (Haswell), over golden vectors and hostile inputs.</p>",
        table("Answers without VNNI", ["variant", "checked", "items", "difference", "allowed"], rows, text_columns=2),
    )


def _vnni_row(name: str, check: VnniCheck) -> list[Cell]:
    if not check.checked:
        return [code(name), "no: install qemu-user", "–", "–", "–"]
    difference = judged(f"{check.max_abs:.1e}", check.fault is None)
    return [code(name), "yes", str(check.items), difference, f"{check.tolerance:.1e}"]


def _words() -> str:
    words = {
        "loss": "How much worse the contract’s metric is than PyTorch’s over the same items; negative where better.",
        "SQNR": "Signal-to-quantization-noise ratio, 10 · log₁₀(Σ x² / Σ (x − x̂)²), in decibels. The error of a layer "
        "is the same as a share of the signal: 20 dB are 10 %, 40 dB are 1 %.",
        "difference ÷ std": "Largest difference from PyTorch’s deciding output over the test split, divided by the "
        "standard deviation of that output.",
        "int8, float": "Convolutions and matrix products of the file, ONNX after ONNX Runtime’s own optimization; "
        "those in float scopes are among the float ones.",
    }
    listed = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in words.items())
    return section("Words", f"<dl>{listed}</dl>")


def _metric(contract: Contract) -> str:
    return contract.metric.primary.value.replace("_", " ")


def _ids(report: ExportReport) -> list[str]:
    return [variant.id for variant in report.variants]
