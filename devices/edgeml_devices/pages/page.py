"""The page of a bench: what came out, and every figure behind it. One HTML file without scripts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeml_devices.pages.baseline_part import baseline_part
from edgeml_devices.pages.budget_part import budget_part, ratio_part
from edgeml_devices.pages.instruction_part import instruction_part
from edgeml_devices.pages.latency_part import latency_part
from edgeml_devices.pages.machine_part import machine_part
from edgeml_devices.pages.roofline_part import roofline_part
from edgeml_devices.pages.run_part import history_part
from edgeml_devices.pages.time_part import conditions_part, curve_part
from edgeml_devices.pages.trade_part import trade_part
from edgeml_devices.reports.words import emulated_rows, headline, obtained
from edgeml_pages import document, section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeml_devices.pages.parts import Part
    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = ["bench_page"]

_SIDES = {"pass": "good-side", "fail": "bad-side", "lost": "bad-side", "undecided": "unsure-side"}
_TIMED = {
    "p50, p95, p99": "The time that 50, 95 or 99 % of all calls did not exceed; always one that was measured.",
    "95 % interval": "What the figure may be in truth, given how calls and processes differed. It is the widest of "
    "several that assume no distribution, and never narrower than 2 % to either side.",
    "cold start": "Import, load and first prediction in a fresh process.",
    "peak RSS": "Largest resident memory of such a process.",
}
_EMULATED = {
    "emulated": "Run on another CPU by QEMU in user mode: the device's instructions, backend and model, not its speed.",
    "golden vectors": "Inputs in the bundle with the outputs that were there at export; each output has to be within a "
    "tolerance.",
    "int8 dot product, matrix product": "Instructions that multiply and add many bytes at once, made for networks in "
    "int8. Older CPUs have none.",
    "widening multiply": "Products of small integers into wider ones, by which int8 is computed without those.",
}
_JUDGED = {
    "pass, fail": "The whole interval is on one side of the limit.",
    "inconclusive": "The limit lies within the interval, there were too few calls for one, or the machine was busy.",
    "not measured": "No figure that the budget accepts: the machine is not the device, or the variant did not run.",
}


def bench_page(record: BenchRecord) -> str:
    """Show a bench.

    Args:
        record: What was measured.

    Returns:
        The text of an HTML file, also well-formed XML; the same record gives the same text.
    """
    parts = [part for bench in record.benches for part in _parts(record, bench)]
    word, sentence = headline(record)
    title = f"Bench of {record.subject.title}"
    links = "".join(f'<li><a href="#{escape(part.name)}">{escape(part.title)}</a></li>' for part in parts)
    body = [
        "<header>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">Measured {record.measured_at:%Y-%m-%d %H:%M} UTC with edgeml {escape(record.toolkit)}.</p>',
        f'<p class="headline {_SIDES[word]}">{escape(sentence)}</p>',
        *(f"<p>{escape(_place(record, bench) + _how(bench))}</p>" for bench in record.benches),
        "</header>",
        f'<nav aria-label="Sections of this page"><ul>{links}</ul></nav>',
        *(section(part.title, *part.html, name=part.name) for part in parts),
        _words(record),
    ]
    return document(title, "\n".join(body))


def _place(record: BenchRecord, bench: TargetBench) -> str:
    return f"{bench.place}: " if len(record.benches) > 1 else ""


def _how(bench: TargetBench) -> str:
    lost = bench.values.get("lost")
    parts = [obtained(bench)] if bench.measured else []
    return " ".join([*parts, *([] if lost is None else [f"Lost before the end: {lost}"])])


def _parts(record: BenchRecord, bench: TargetBench) -> Iterator[Part]:
    """The sections of one target; where there are several, their titles say which one it is."""
    if not bench.measured:
        return
    found = (
        budget_part(bench),
        ratio_part(bench),
        baseline_part(bench),
        instruction_part(record, bench),
        latency_part(bench),
        trade_part(record, bench),
        roofline_part(bench),
        curve_part(bench),
        conditions_part(bench),
        history_part(record, bench),
        machine_part(record, bench),
    )
    several, number = len(record.benches) > 1, record.benches.index(bench) + 1
    for part in found:
        if part is not None:
            yield part.within(bench.place, number) if several else part


def _words(record: BenchRecord) -> str:
    emulated = {bool(emulated_rows(bench.values)) for bench in record.benches if bench.measured}
    words = (_EMULATED if True in emulated else {}) | ({} if emulated == {True} else _TIMED) | _JUDGED
    listed = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in words.items())
    return section("Words", f"<dl>{listed}</dl>")
