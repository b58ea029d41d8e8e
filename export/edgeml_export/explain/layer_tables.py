"""The part of the export report that goes layer by layer: error, cost, ranges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeml_export.explain.charts import common_axis, distribution
from edgeml_pages import Bar, Html, bars, code, section, size_text, table, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeml_export.report import ExportReport
    from edgeml_export.sensitivity import LayerLoss
    from edgeml_pages import Cell

__all__ = ["cost_section", "decibels_text", "error_section", "range_section"]


def decibels_text(value: float | None) -> str:
    """A ratio in decibels; ``exact`` where nothing differs, a dash where nothing is known.

    Args:
        value: The ratio; None or infinity where nothing differs.
    """
    if value is None or value == math.inf:
        return "exact"
    return f"{value:.1f}" if math.isfinite(value) else "–"


def error_section(report: ExportReport) -> str:
    """What each layer loses when it alone is quantized.

    Args:
        report: Has measured layers.

    Returns:
        HTML.
    """
    outside = _outside(report)
    worst = max(_error(db) for layer in outside for db in (layer.sqnr_db, layer.output_sqnr_db)) or 1.0
    columns = ["layer", "error", "own SQNR, dB", "own error", "output SQNR, dB", "output error"]
    return section(
        "Error of each layer",
        f"<p>Each layer was quantized alone, as {code(report.measured_as or '').text} quantizes it, on calibration "
        "items. The longer a bar, the more the layer loses.</p>",
        '<p class="legend"><span><span class="key own"></span>of the layer’s own output</span>'
        '<span><span class="key model"></span>of the model’s deciding output</span>'
        '<span><span class="key faint"></span>of a layer in a float scope: what it would lose</span></p>',
        table(
            "Error of each layer when it alone is quantized",
            columns,
            [_error_row(report, layer, worst) for layer in report.layers],
            text_columns=2,
        ),
    )


def _error_row(report: ExportReport, layer: LayerLoss, worst: float) -> list[Cell]:
    own, model = ("faint", "faint") if layer.in_float_scope else ("own", "model")
    drawn = bars(
        f"{_name(layer)}: error of its own output {_error_text(layer.sqnr_db)}, of the model’s output "
        f"{_error_text(layer.output_sqnr_db)}",
        [
            Bar(share=_error(layer.sqnr_db) / worst, style=own),
            Bar(share=_error(layer.output_sqnr_db) / worst, style=model),
        ],
    )
    return [
        Html(text=code(_name(layer)).text + _tags(report, layer)),
        Html(text=drawn),
        decibels_text(layer.sqnr_db),
        _error_text(layer.sqnr_db),
        decibels_text(layer.output_sqnr_db),
        _error_text(layer.output_sqnr_db),
    ]


def cost_section(report: ExportReport) -> str:
    """Operator, MACs, bytes and precision of each layer.

    Args:
        report: Has measured layers.

    Returns:
        HTML.
    """
    total = max(1, sum(layer.macs for layer in report.layers))
    columns = ["layer", "operator", "share of MACs", "MACs", "share", "weights", "float32", "float16", "int8"]
    columns += [", ".join(variant.id for variant in group) for group in report.alike]
    return section(
        "Cost of each layer",
        f"<p>{_count(total)} multiplications with additions (MACs) for one item, in layers with weights; the bytes "
        "that their weights take in each representation, without scales; and the precision in each variant. Where it "
        "is w8, the weights are int8 and the arithmetic is float.</p>",
        table(
            "Operator, MACs, bytes and precision of each layer",
            columns,
            [_cost_row(report, layer, layer.macs / total) for layer in report.layers],
            text_columns=3,
        ),
    )


def _cost_row(report: ExportReport, layer: LayerLoss, share: float) -> list[Cell]:
    drawn = bars(f"{_name(layer)}: {100 * share:.1f} % of the MACs", [Bar(share=share, style="model")])
    return [
        code(_name(layer)),
        layer.operator,
        Html(text=drawn),
        _count(layer.macs),
        f"{100 * share:.1f} %",
        f"{layer.parameters:,}",
        *(size_text(layer.parameters * size) for size in (4, 2, 1)),
        *(report.precision_of(group[0], layer).value for group in report.alike),
    ]


def range_section(report: ExportReport) -> str:
    """How weights and activations of each layer are spread.

    Args:
        report: Has measured layers.

    Returns:
        HTML.
    """
    outside = _outside(report)
    weights = common_axis([layer.weight_range for layer in outside])
    activations = common_axis([layer.activation_range for layer in outside])
    rows: list[list[Cell]] = [
        [
            code(_name(layer)),
            _range_cell(layer, "weights", layer.weight_range, layer.weight_histogram, weights),
            _range_cell(layer, "activations", layer.activation_range, layer.activation_histogram, activations),
        ]
        for layer in report.layers
    ]
    return section(
        "Ranges of weights and activations",
        "<p>Above, how the values are spread over their own range, with square roots as heights so that tails show. "
        "Below, where that range lies on an axis that all layers outside of float scopes share; an arrow leads beyond "
        "it. A few values far from the rest cost all others their resolution.</p>",
        table(
            "Weights and activations of each layer",
            ["layer", f"weights, axis {_ends(weights)}", f"activations, axis {_ends(activations)}"],
            rows,
            text_columns=3,
        ),
    )


def _range_cell(
    layer: LayerLoss, what: str, ends: tuple[float, float], counts: Sequence[int], axis: tuple[float, float]
) -> Html:
    drawn = distribution(f"{_name(layer)}: {what} from {_ends(ends)}", ends, counts, axis)
    return Html(text=f'{drawn}<span class="muted">{_ends(ends)}</span>')


def _outside(report: ExportReport) -> Sequence[LayerLoss]:
    """The layers that are quantized; all of them where none is."""
    return [layer for layer in report.layers if not layer.in_float_scope] or report.layers


def _name(layer: LayerLoss) -> str:
    return layer.path or "the model itself"


def _tags(report: ExportReport, layer: LayerLoss) -> str:
    """Where a layer stays float though others are quantized."""
    if layer.in_float_scope:
        return tag("float scope").text
    kept = [variant.id for variant in report.variants if layer.path in variant.float_layers]
    return "".join(tag(f"float in {name}").text for name in kept)


def _error(sqnr_db: float) -> float:
    """Root mean square of the error over that of the signal, 0 where there is none or nothing is known."""
    return 10 ** (-sqnr_db / 20) if math.isfinite(sqnr_db) else 0.0


def _error_text(sqnr_db: float) -> str:
    return f"{100 * _error(sqnr_db):.2g} %" if math.isfinite(sqnr_db) or sqnr_db > 0 else "–"


def _ends(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}".replace("-", "−")


def _count(number: int) -> str:
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return str(number)
