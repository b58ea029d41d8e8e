"""Where the figures come from: the machine, the device, the file, and what a reader should know besides."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeml_devices.pages.parts import Part
from edgeml_devices.reports.words import machine_text, obtained
from edgeml_pages import code, folded, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = ["machine_part"]

_CODES = {
    0: "done, nothing said no",
    1: "a budget is exceeded, the bundle does not fit, or it is slower than the other model",
    3: "a target could not be reached or was lost",
    4: "the evidence does not suffice",
}


def machine_part(record: BenchRecord, bench: TargetBench) -> Part:
    """Provenance of everything on the page.

    Args:
        record: What was measured.
        bench: One with a report.
    """
    listed = "".join(f"<dt>{escape(word)}</dt><dd>{html}</dd>" for word, html in _words(record, bench))
    notes = "".join(f"<li>{escape(note)}</li>" for note in bench.values["notes"])
    isa = ", ".join(bench.values["machine"]["isa"])
    return Part(
        name="machine",
        title="Machine and provenance",
        html=(
            f"<dl>{listed}</dl>",
            f"<h3>Notes</h3>\n<ul>{notes}</ul>" if notes else "",
            folded("CPU features of the machine", f"<p>{code(isa).text}</p>"),
        ),
    )


def _words(record: BenchRecord, bench: TargetBench) -> Iterator[tuple[str, str]]:
    values, subject = bench.values, record.subject
    yield "Machine", escape(machine_text(values["machine"]))
    if values.get("target") is not None:
        yield "Target", code(values["target"]).text
    yield "Device", f"{code(values['device']).text}{_mismatch(values)}"
    yield "Provenance", f"{escape(values['provenance'].replace('_', ' '))}. {escape(obtained(bench))}"
    if values["memory_limit_bytes"] is not None:
        yield "Memory", f"measured within {values['memory_limit_bytes'] / 1e6:,.0f} MB, what the device has"
    yield "File", f"{code(values['model']).text}, {size_text(subject.size_bytes)}"
    yield "SHA-256", code(subject.sha256).text
    yield "Measured", f"{record.measured_at:%Y-%m-%d %H:%M:%S} UTC with edgeml {escape(record.toolkit)}"
    yield "Exit code", f"{record.exit_code}: {escape(_CODES.get(record.exit_code, 'an error'))}"


def _mismatch(values: Mapping[str, Any]) -> str:
    if not values["mismatch"]:
        return ", and the machine counts as one"
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in values["mismatch"])
    return f', but the machine <span class="unsure-word">does not count as one</span>:<ul>{listed}</ul>'
