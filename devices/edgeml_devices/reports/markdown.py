"""A bench as Markdown, for a comment on a pull request or a job's summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeml_devices.reports.words import (
    budget_interval,
    conditions_text,
    emulated_rows,
    figure_text,
    golden_runs_text,
    headline,
    int8_dot_text,
    interval_text,
    limit_text,
    obtained,
    reasons,
    way_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = ["MAX_CHARACTERS", "markdown_text"]

MAX_CHARACTERS = 65_536
"""What a comment on GitHub may hold; a job's summary may have 1 MiB and a comment on GitLab 10⁶ characters."""

_CUT = "\n*Cut to what a comment may hold; the JSON report has the rest.*\n"
_SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "❔", "not_measured": "⬜"}
_HEADS = {"pass": "✅", "fail": "❌", "undecided": "❔", "lost": "❌"}
# What Markdown, HTML and GitHub's references (@name, #1) would read as more than text.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~#@&$]|(?<!\w)_|_(?!\w)")


def markdown_text(record: BenchRecord) -> str:
    """The whole text: the verdict, tables of budgets, variants and ratios, and the details folded.

    Args:
        record: What was measured.

    Returns:
        GitHub Flavored Markdown, at most ``MAX_CHARACTERS`` long: where it would be longer, details are left out first,
        then rows of tables.
    """
    word, sentence = headline(record)
    pieces = [f"### {_HEADS[word]} {_plain(sentence)}\n"]
    for bench in record.benches:
        pieces += _bench_pieces(bench, alone=len(record.benches) == 1)
    details = [_details(record, bench) for bench in record.benches if bench.measured]
    return _fitted(pieces, details)


def _bench_pieces(bench: TargetBench, *, alone: bool) -> Iterable[str]:
    """Lines that may be cut one after the other from the end."""
    values = bench.values
    if not alone:
        yield f"\n#### {_plain(bench.place)}\n"
    if values.get("lost") is not None:
        yield f"\n**Lost:** {_plain(values['lost'])}\n"
    if not bench.measured:
        return
    yield f"\n{_plain(obtained(bench))}\n"
    yield from _budget_lines(values)
    yield from _emulated_lines(values) if emulated_rows(values) else _variant_lines(values)
    yield from _ratio_lines(values)
    yield from _baseline_lines(values)


def _budget_lines(values: Mapping[str, Any]) -> Iterable[str]:
    if not values["budgets"]:
        return
    yield from _head(["budget", "variant", "limit", "value", "95 % interval", "verdict"], text_columns=2)
    for budget in values["budgets"]:
        yield _row(
            [
                _code(budget["name"]),
                _code(budget.get("way") or budget["variant"]),
                limit_text(budget),
                figure_text(budget["value"]),
                interval_text(budget_interval(values, budget)),
                f"{_SIGNS[budget['verdict']]} {budget['verdict'].replace('_', ' ')}",
            ]
        )


def _variant_lines(values: Mapping[str, Any]) -> Iterable[str]:
    columns = ["variant", "p50 ms", "p95 ms", "p99 ms", "calls/s", "start ms", "RSS MB", "file MB", "backend"]
    yield from _head(columns, text_columns=1)
    for variant in (*values["variants"], *values["further"]):
        latency = variant["latency_ms"]
        ran = variant["calls"] is not None
        name = variant.get("way", variant["id"])
        picked = " (picked)" if name == values["auto_variant"] else ""
        yield _row(
            [
                _code(name) + picked,
                *(figure_text(latency[key]) for key in ("p50", "p95", "p99")),
                figure_text(variant["throughput_per_s"]),
                figure_text(variant["cold_start_ms"]),
                figure_text(variant["peak_rss_mb"]),
                figure_text(variant["size_mb"]),
                f"{way_text(variant)}, threads {variant['threads']}" if ran else "–",
            ]
        )


def _emulated_lines(values: Mapping[str, Any]) -> Iterable[str]:
    """Instructions in place of times, and what golden vectors say."""
    columns = ["variant", "instructions", "int8 dot products", "golden vectors", "counted with", "file MB"]
    yield from _head(columns, text_columns=1)
    for row in (*values["variants"], *values["further"]):
        name = row.get("way", row["id"])
        picked = " (picked)" if name == values["auto_variant"] else ""
        cells = ["–"] * 4 if row["emulated"] is None else _emulated_cells(row)
        yield _row([_code(name) + picked, *cells, figure_text(row["size_mb"])])
    for warning in (row["emulated"]["warning"] for row in emulated_rows(values)):
        if warning:
            yield f"\n⚠️ {_plain(warning)}\n"


def _emulated_cells(row: Mapping[str, Any]) -> list[str]:
    found = row["emulated"]
    counted = found["counts"] is not None
    return [
        figure_text(row["instructions"]),
        int8_dot_text(found["counts"]),
        f"{_SIGNS['pass' if found['passed'] else 'fail']} {_plain(golden_runs_text(found))}",
        _plain(f"{row['backend']} {row['backend_version']}") if counted else "–",
    ]


def _ratio_lines(values: Mapping[str, Any]) -> Iterable[str]:
    against = values.get("against")
    if against is None:
        return
    allowed = f"up to {1 + against['tolerance']:.2f} passes"
    yield f"\nTime ÷ that of {_code(against['other'])}, in turns in one run; {allowed}:\n"
    yield from _head(["variant", "ratio", "95 % interval", "processes", "verdict"], text_columns=1)
    for ratio in against["ratios"]:
        yield _row(
            [
                _code(ratio["variant"]),
                f"{ratio['ratio']:.3f}",
                interval_text(ratio),
                str(ratio["processes"]),
                f"{_SIGNS[ratio['verdict']]} {ratio['verdict']}",
            ]
        )
    if against["left_out"]:
        yield f"\nNot in the other one: {', '.join(_code(name) for name in against['left_out'])}.\n"


def _baseline_lines(values: Mapping[str, Any]) -> Iterable[str]:
    """What got worse or cannot be told; that the rest passed is one sentence."""
    baseline = values.get("baseline")
    if baseline is None:
        return
    if baseline["reason"]:
        yield f"\nNot compared with {_code(baseline['file'])}: {_plain(baseline['reason'])}\n"
        return
    disturbed = (f"{said} {when}" for when in ("then", "now") if (said := baseline[f"disturbed_{when}"]) is not None)
    worth = [*baseline["differences"], *disturbed]
    said = f" ({_plain('; '.join(worth))})" if worth else ""
    open_rows = [row for row in baseline["figures"] if row["verdict"] != "pass"]
    count = len(baseline["figures"])
    passed = f"{count - len(open_rows)} of {count} figures are no worse than allowed"
    yield f"\nBeside the earlier result {_code(baseline['file'])} of {baseline['measured_at']}{said}, {passed}.\n"
    if open_rows:
        yield from _head(["variant", "figure", "then", "now", "ratio", "interval", "verdict"], text_columns=2)
    for row in open_rows:
        yield _row(
            [
                _code(row["variant"] or "the file"),
                _code(row["name"]),
                figure_text(row["then"]),
                figure_text(row["now"]),
                figure_text(row["ratio"]),
                interval_text(row),
                f"{_SIGNS[row['verdict']]} {row['verdict'].replace('_', ' ')}",
            ]
        )


def _details(record: BenchRecord, bench: TargetBench) -> str:
    values = bench.values
    lines = [conditions_text(values), *(f"{name}: {reason}" for name, reason in reasons(values)), *values["notes"]]
    lines += [
        f"File: {values['model']}, SHA-256 {record.subject.sha256}.",
        f"Measured {record.measured_at:%Y-%m-%d %H:%M} UTC with edgeml {record.toolkit}.",
    ]
    listed = "\n".join(f"- {_plain(line)}" for line in lines if line)
    return f"\n<details><summary>How it was measured: {_plain(bench.place)}</summary>\n\n{listed}\n\n</details>\n"


def _fitted(pieces: Sequence[str], details: Sequence[str]) -> str:
    text, room = "", MAX_CHARACTERS - len(_CUT)
    for piece in pieces:
        if len(text) + len(piece) > room:
            return text + _CUT
        text += piece
    for number, piece in enumerate(details):
        last = number == len(details) - 1
        if len(text) + len(piece) > (MAX_CHARACTERS if last else room):
            return text + _CUT
        text += piece
    return text


def _head(columns: Sequence[str], *, text_columns: int) -> Iterable[str]:
    yield f"\n{_row(columns)}"
    yield _row(["---" if index < text_columns else "---:" for index in range(len(columns))])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _code(name: str | None) -> str:
    """A name in a code span, which has no escapes: what would end it or the table's cell is replaced."""
    if name is None:
        return "–"
    text = name.replace("`", "′").replace("|", "¦").replace("\n", " ")
    return f"`{text}`"


def _plain(text: str) -> str:
    """Text that says what it says, in one line: everything special as a character reference."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found.group())};", " ".join(text.split()))
