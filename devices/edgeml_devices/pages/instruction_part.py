"""Instructions under emulation: by class for each variant and profile, by layer, and what golden vectors said."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.classes import CLASS_TITLES
from edgeml_devices.pages.counted import by_format, counted_benches, counted_variants, rest_of
from edgeml_devices.pages.instruction_chart import REST, class_legend, layer_figure, ratio_text, variants_figure
from edgeml_devices.pages.parts import Part
from edgeml_devices.reports.words import emulated_rows, golden_text, int8_dot_text, reasons
from edgeml_pages import Html, code, folded, gallery, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeml_devices.emulator.classes import ClassCounts
    from edgeml_devices.pages.counted import CountedBench, CountedVariant
    from edgeml_devices.reports.record import BenchRecord, TargetBench
    from edgeml_pages import Cell

__all__ = ["instruction_part"]

_EXPLAINED = (
    "Instructions that one inference takes on the emulated CPU, the call into the runtime included; the middle one of "
    "all counted inferences. A count does not depend on the machine that emulates. It is not a time: instructions "
    "differ in what they cost, and caches and memory are not emulated. k: thousand, M: million."
)
_LAYERS = (
    "From the top in the order of execution; all bars of a format have one scale. Backends fuse layers, in int8 other "
    "ones than in floats, so that the lists differ. Pick a layer to see its numbers."
)
_CLASSES = list(CLASS_TITLES.values())


def instruction_part(record: BenchRecord, bench: TargetBench) -> Part | None:
    """What was found under emulation.

    Args:
        record: Holds other profiles to compare with.
        bench: One with a report.

    Returns:
        The section, or None where nothing was emulated.
    """
    rows = emulated_rows(bench.values)
    if not rows:
        return None
    warnings = "".join(f"<li>{escape(row['emulated']['warning'])}</li>" for row in rows if row["emulated"]["warning"])
    missing = "".join(f"<li>{code(name).text}: {escape(reason)}</li>" for name, reason in _missing(bench.values))
    number = record.benches.index(bench) + 1
    return Part(
        name="instructions",
        title="Instructions",
        html=(
            f"<p>{escape(_EXPLAINED)}</p>",
            f'<h3 class="unsure-word">Warnings</h3>\n<ul>{warnings}</ul>' if warnings else "",
            *_by_class(counted_benches(record, bench)),
            *_by_layer(counted_variants(bench.values), number),
            "<h3>Golden vectors</h3>",
            _golden(rows),
            f"<h3>Not emulated</h3>\n<ul>{missing}</ul>" if missing else "",
            *_left_out(record),
        ),
    )


def _missing(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Why variants did not run; failures of golden vectors stand in their table."""
    idle = {row.get("way") or row["id"] for row in (*values["variants"], *values["further"]) if row["emulated"] is None}
    return [(name, reason) for name, reason in reasons(values) if name in idle]


def _left_out(record: BenchRecord) -> Iterator[str]:
    if record.history is not None and record.history.left_out:
        listed = "".join(f"<li>{escape(text)}</li>" for text in record.history.left_out)
        yield f"<p>Earlier results that were left out:</p>\n<ul>{listed}</ul>"


def _by_class(benches: Sequence[CountedBench]) -> Iterator[str]:
    every = [one for bench in benches for one in bench.variants]
    if not every:
        yield "<p>Nothing was counted.</p>"
        return
    most = max(one.counts.total for one in every)
    yield "<h3>By class</h3>"
    yield class_legend(one.counts for one in every)
    yield gallery(*(variants_figure(bench, most) for bench in benches))
    columns = ["profile, CPU", "variant", "÷ fp32", "in all", *_CLASSES]
    rows = [row for bench in benches for row in _class_rows(bench)]
    yield folded("The same as numbers", table("Instructions of one inference by class", columns, rows, text_columns=3))


def _class_rows(bench: CountedBench) -> Iterator[list[Cell]]:
    for group in by_format(bench.variants):
        for one in group:
            name = f"{bench.device}, {bench.cpu}"
            yield [name, code(one.name), ratio_text(one, group) or "–", *_numbers(one.counts)]


def _numbers(counts: ClassCounts) -> list[str]:
    return [f"{count:,}" for count in (counts.total, *counts.values())]


def _by_layer(variants: Sequence[CountedVariant], number: int) -> Iterator[str]:
    if not variants:
        return
    yield "<h3>By layer</h3>"
    yield f"<p>{escape(_LAYERS)}</p>"
    yield class_legend(one.counts for one in variants)
    for group in by_format(variants):
        told = [one for one in group if one.layers]
        if told:
            yield _panels(told, number)
        for one in group:
            if not one.layers:
                yield f"<p>{code(one.name).text}: {escape(one.layers_reason or 'no layers were told apart')}</p>"
        yield from (_layer_table(one) for one in told)


def _panels(group: Sequence[CountedVariant], number: int) -> str:
    most = max(counts.total for one in group for counts in (*(each.counts for each in one.layers), rest_of(one)))
    drawn = [layer_figure(one, most, f"layers-{number}-{one.name}") for one in group]
    return '<div class="pairs">\n' + "\n".join(drawn) + "\n</div>"


def _layer_table(variant: CountedVariant) -> str:
    rows: list[list[Cell]] = [
        [f"{place} {one.type}", *_numbers(one.counts), Html(text=f'<code class="whole">{escape(one.name)}</code>')]
        for place, one in enumerate(variant.layers, start=1)
    ]
    rows.append([REST, *_numbers(rest_of(variant)), ""])
    columns = ["layer", "in all", *_CLASSES, "name"]
    listed = table(f"Instructions of {variant.name} by layer", columns, rows)
    return folded(f"{variant.name} as numbers", listed)


def _golden(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = [
        "variant",
        "devices get",
        "golden vectors",
        "counted with",
        "golden vectors",
        "int8 dot products",
        "inferences",
    ]
    drawn: list[list[Cell]] = []
    for row in rows:
        found = row["emulated"]
        newest, counting = found["newest"], found["counting"]
        cells: list[Cell] = [_version(newest), _result(newest), _version(counting), _result(counting)]
        counted = f"{len(found['calls']):,}" if found["calls"] else "–"
        drawn.append([code(row.get("way") or row["id"]), *cells, int8_dot_text(found["counts"]), counted])
    return table("Golden vectors on every version of the backend", columns, drawn, text_columns=6)


def _version(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "–"
    return f"{run['backend']} {run['version'] or ''}".rstrip() + f" (QEMU {run['qemu']})"


def _result(run: Mapping[str, Any] | None) -> Html:
    said = escape(golden_text(run))
    if run is None or (run["passed"] and not run["cases"]):
        return Html(text=said)
    return Html(
        text=f'<span class="good-word">✓ {said}</span>' if run["passed"] else f'<span class="bad-word">✗ {said}</span>'
    )
