"""How long calls took: the distribution of every variant, and the figures made of it."""

from __future__ import annotations

import math
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_devices.pages.parts import Part
from edgeml_devices.reports.words import emulated_rows, figure_text, interval_text, reasons, way_text
from edgeml_pages import STYLES, Html, Plot, Scale, code, figure, gallery, legend, table, tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeml_devices.reports.record import TargetBench
    from edgeml_pages import Cell

    Times = Mapping[str, NDArray[np.float64]]

__all__ = ["latency_part"]

_SHARES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
_BINS = 60
_SHOWN = 1.25
_CURVE_POINTS = 160


def latency_part(bench: TargetBench) -> Part | None:
    """Distribution, percentiles, cold start and memory of every variant.

    Args:
        bench: One with a report.

    Returns:
        The section, or None for an emulated bench, which times nothing.
    """
    values = bench.values
    if emulated_rows(values):
        return None
    times = {id_: np.maximum(one.all_ns, 1) / 1e6 for id_, one in bench.samples.items()}
    drawn = [_tails(times), *_histograms(values, times)] if times else []
    budgets = {budget["name"] for budget in values["budgets"]}
    missing = [(name, reason) for name, reason in reasons(values) if name not in budgets]
    listed = "".join(f"<li>{code(name).text}: {escape(reason)}</li>" for name, reason in missing)
    return Part(
        name="latency",
        title="Latency",
        html=(
            gallery(*drawn) if drawn else "<p>Nothing was timed.</p>",
            table(
                "Latency, start and memory of every variant",
                _COLUMNS,
                [_row(values, one) for one in (*values["variants"], *values["further"])],
            ),
            f"<ul>{listed}</ul>" if listed else "",
        ),
    )


_COLUMNS = [
    "variant",
    "min ms",
    "p50 ms",
    "95 % interval",
    "p95 ms",
    "95 % interval",
    "p99 ms",
    "95 % interval",
    "calls/s",
    "cold start ms",
    "peak RSS MB",
    "file MB",
    "calls",
    "processes",
    "backend",
    "threads",
]


def _row(values: Mapping[str, Any], variant: Mapping[str, Any]) -> list[Cell]:
    latency, intervals = variant["latency_ms"], variant["intervals"]
    name = variant.get("way", variant["id"])
    remarks = tag("picked").text if name == values["auto_variant"] else ""
    if variant["calls"] is not None and not variant["steady"]:
        remarks += tag("had not settled").text
    percentiles = [
        text
        for key, _ in _SHARES
        for text in (figure_text(latency[key]), interval_text(intervals.get(f"latency_ms_{key}")))
    ]
    ran = variant["calls"] is not None
    return [
        Html(text=code(name).text + remarks),
        figure_text(latency["min"]),
        *percentiles,
        *(figure_text(variant[key]) for key in ("throughput_per_s", "cold_start_ms", "peak_rss_mb", "size_mb")),
        "–" if variant["calls"] is None else f"{variant['calls']:,}",
        str(variant["processes"]) if ran else "–",
        way_text(variant) if ran else "–",
        str(variant["threads"]) if ran else "–",
    ]


def _tails(times: Times) -> str:
    """All variants in one chart: which share of the calls took longer, both axes logarithmic, so that tails show."""
    most = max(len(one) for one in times.values())
    plot = Plot.of(
        partial(_ratios, [end for one in times.values() for end in (one.min(), one.max())]),
        partial(_ratios, [1.0, 1 / most]),
        height=250,
    )
    marks = [plot.level(1 - share, key, "grid") for key, share in _SHARES if 1 - share > 1 / most]
    marks += [plot.line(_tail(one), f"s{number % STYLES + 1}") for number, one in enumerate(times.values())]
    keys = [_key(number, id_) for number, id_ in enumerate(times)]
    chart = plot.svg(
        "Share of the calls that took longer, by variant",
        "Falls from 1 at the fastest call to one call at the slowest. The percentiles stand in the table below.",
        marks,
        x_name="latency, ms",
        y_name="share of calls that took longer",
    )
    return figure("All variants: the further left, the faster; flat ends are rare slow calls", chart, legend(*keys))


def _key(number: int, text: str) -> Html:
    drawn = f'<path class="line s{number % STYLES + 1}" d="M0 4H28"/>'
    stroke = f'<svg class="stroke" viewBox="0 0 28 8" width="28" height="8" aria-hidden="true">{drawn}</svg>'
    return Html(text=f"{stroke} {escape(text)}")


def _ratios(values: Sequence[float], start: float, end: float) -> Scale:
    return Scale.ratios(values, start=start, end=end)


def _tail(times: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Points of the complementary distribution function, as many as can be seen."""
    ordered = np.sort(times)
    n = len(ordered)
    left = np.unique(np.geomspace(n, 1, min(n, _CURVE_POINTS)).round().astype(int))[::-1]
    return [(float(ordered[n - count]), count / n) for count in left]


def _histograms(values: Mapping[str, Any], times: Times) -> list[str]:
    """One chart per variant on a common axis, with its percentiles marked."""
    low = min(float(one.min()) for one in times.values())
    high = max(_SHOWN * _percentile(one, 0.99) for one in times.values())
    named = {one["id"]: one for one in values["variants"]}
    return [_histogram(id_, one, (low, high), named[id_]) for id_, one in times.items()]


def _histogram(id_: str, times: NDArray[np.float64], shown: tuple[float, float], variant: Mapping[str, Any]) -> str:
    along = partial(_ratios, shown)
    across = along(0, 1)
    edges = np.geomspace(across.low, across.high, _BINS + 1)
    heights = np.histogram(times, edges)[0] / len(times) * 100
    plot = Plot.of(along, partial(_linear, [0.0, float(heights.max())]), height=170)
    beyond = int((times > edges[-1]).sum())
    marks = [plot.columns([float(edge) for edge in edges], [float(height) for height in heights])]
    marks += [plot.upright(_percentile(times, share), key, row=row) for row, (key, share) in enumerate(_SHARES)]
    figures = ", ".join(f"{key} {figure_text(_percentile(times, share))} ms" for key, share in _SHARES)
    rest = f"; {beyond:,} of {len(times):,} beyond the axis" if beyond else ""
    chart = plot.svg(
        f"{id_}: distribution of the latency",
        f"{figures}, slowest {figure_text(float(times.max()))} ms.",
        marks,
        x_name="latency, ms",
        y_name="calls, %",
    )
    backend = "failed later" if variant["calls"] is None else way_text(variant)
    return figure(f"{id_}, {backend}: {figures}{rest}", chart)


def _percentile(times: NDArray[np.float64], share: float) -> float:
    """A time that was measured, as in :func:`edgeml_runtime.measure.loop.quantile`."""
    return float(np.quantile(times, share, method="inverted_cdf"))


def _linear(values: Sequence[float], start: float, end: float) -> Scale:
    return Scale.around([value for value in values if math.isfinite(value)], start=start, end=end)
