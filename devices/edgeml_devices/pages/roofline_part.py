"""Every variant by its operators: the roofline, and a table of times, arithmetic and precision."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.pages.parts import Part
from edgeml_devices.pages.roofline_chart import roofline_svg
from edgeml_devices.reports.words import figure_text
from edgeml_pages import Html, code, figure, folded, gallery, legend, table, tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeml_devices.reports.record import TargetBench
    from edgeml_pages import Cell

__all__ = ["roofline_part"]

_EXPLAINED = (
    "Times are those of the backend's own profiler, which makes runs slower; nothing is scaled. The profiler counts "
    "whole microseconds and rounds down, so rates are lower bounds. A dot is an operator: how much it computes with a "
    "byte, and how fast. It cannot lie above the flat line, the machine's rate of multiply-accumulates, nor, where its "
    "data come from the memory, above the sloping one. Small tensors lie in the caches and may pass that. Both lines "
    "were measured on the same machine just before and after, with the same number of threads."
)
_COLUMNS = ["operator", "precision", "µs", "share", "MACs", "bytes", "GMAC/s at least", "of roof", "bound by"]
_OPEN_ROWS = 14


def roofline_part(bench: TargetBench) -> Part | None:
    """The operators of every variant that was profiled.

    Args:
        bench: One with a report.

    Returns:
        The section, or None where nothing was to be profiled.
    """
    profiles, roofline = bench.values.get("operators"), bench.values.get("roofline")
    if not profiles:
        return None
    models = {} if roofline is None else {one["variant"]: one for one in roofline["models"]}
    drawn = [
        figure(_caption(profile, models[profile["variant"]]), roofline_svg(roofline or {}, profile["variant"]))
        for profile in profiles
        if models.get(profile["variant"], {}).get("points")
    ]
    return Part(
        name="operators",
        title="By operator",
        html=(
            f"<p>{escape(_EXPLAINED)}</p>",
            legend("filled: bound by arithmetic", "hollow: bound by bandwidth", "words: the longest operators"),
            gallery(*drawn) if drawn else "",
            f"<p>{escape(_roof_text(roofline))}</p>" if roofline is not None else "",
            *(part for profile in profiles for part in _profile(profile, models.get(profile["variant"]))),
        ),
    )


def _caption(profile: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    if model["of_roof"] is None:
        return f"{profile['variant']}: {len(model['points'])} operators"
    return (
        f"{profile['variant']}: {model['of_roof']:.0%} of the roof, mostly bound by {model['bound']}; a run without "
        f"profiler {1e3 * model['plain_ms']:,.1f} µs, at the roof {1e3 * model['least_ms']:,.1f} µs"
    )


def _roof_text(roofline: Mapping[str, Any]) -> str:
    peaks = ", ".join(f"{figure_text(rate)} GMAC/s in {name}" for name, rate in roofline["peaks_gmac_per_s"].items())
    threads = "one thread" if roofline["threads"] == 1 else f"{roofline['threads']} threads"
    doubt = ""
    if roofline["too_low"]:
        doubt = " An operator is faster than that: the true roof is higher, so measure again on a quiet machine."
    elif roofline["noisy"]:
        doubt = " The machine was busy meanwhile, so the true roof may be higher."
    return f"The roof on {threads}: {peaks}; {figure_text(roofline['bandwidth_gb_per_s'])} GB/s.{doubt}"


def _profile(profile: Mapping[str, Any], model: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"<h3>{code(profile['variant']).text}</h3>"
    if profile["reason"] is not None:
        yield f"<p>Not profiled: {escape(profile['reason'])}</p>"
        return
    plain, profiled, operators = (1e3 * profile[key] for key in ("plain_ms", "profiled_ms", "operators_ms"))
    yield (
        f"<p>{escape(profile['profiler'])}, {profile['runs']} runs: operators together {operators:,.1f} µs, a run with "
        f"the profiler {profiled:,.1f} µs, without {plain:,.1f} µs. {escape('. '.join(profile['notes']))}</p>"
    )
    points = {} if model is None else {point["name"]: point for point in model["points"]}
    rows = [_row(row, points.get(row["name"]), profile["resolution_us"]) for row in profile["rows"]]
    listed = table(f"Operators of {profile['variant']} in the order of execution", _COLUMNS, rows, text_columns=2)
    yield listed if len(rows) <= _OPEN_ROWS else folded(f"{len(rows)} operators", listed)


def _row(row: Mapping[str, Any], point: Mapping[str, Any] | None, resolution_us: float) -> list[Cell]:
    time_us = 1e3 * row["time_ms"]
    calls = tag(f"{row['calls']} calls").text if row["calls"] > 1 else ""
    return [
        Html(text=code(row["type"]).text + calls),
        row["precision"] or "–",
        f"< {resolution_us:g}" if time_us < resolution_us / 2 else f"{time_us:,.1f}",
        f"{row['share']:.1%}",
        "?" if row["macs"] is None else f"{row['macs']:,}",
        "?" if row["bytes"] is None else f"{row['bytes']:,}",
        "–" if row["gmac_per_s"] is None else figure_text(row["gmac_per_s"]),
        "–" if point is None else f"{point['of_roof']:.0%}",
        "–" if point is None else point["bound"],
    ]
