"""What every report says in the same words: verdicts, figures, the machine, what was measured how."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

from edgeml_devices.report import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = [
    "COMPARING_RUNS",
    "answers",
    "budget_interval",
    "conditions_text",
    "count_text",
    "emulated_rows",
    "figure_text",
    "golden_runs_text",
    "golden_text",
    "headline",
    "int8_dot_text",
    "interval_text",
    "limit_text",
    "machine_text",
    "obtained",
    "over_limit",
    "reasons",
    "share_text",
    "summary",
    "way_text",
]

COMPARING_RUNS = (
    "Times of different runs also differ by what each machine did in between: clock, temperature, other work, versions "
    "of system and backend. A step that stays over several runs is worth looking into; a single one proves nothing. No "
    "verdict comes from here. To compare two models, measure them in turns within one run: edgeml bench --against."
)

_LOWER_LIMITS = {"throughput_per_s"}
_UNITS = {
    "latency_ms_p50": "ms",
    "latency_ms_p95": "ms",
    "latency_ms_p99": "ms",
    "throughput_per_s": "per s",
    "cold_start_ms": "ms",
    "peak_rss_mb": "MB",
    "bundle_mb": "MB",
}
_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED, Verdict.PASS)
_SAID = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_MEASURED: "not measured",
}
_ENDS = {
    0: "pass",
    1: "fail",
    3: "lost",
    4: "undecided",
}


def figure_text(value: float | None) -> str:
    """A figure to four digits, with separators where it is large; a dash where there is none.

    Args:
        value: The figure, or None.
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def count_text(count: int) -> str:
    """A number of instructions in thousands or millions, such as ``138.7 k``.

    Args:
        count: The number.
    """
    if count < 1000:
        return f"{count:,}"
    return f"{count / 1e3:,.1f} k" if count < 999_950 else f"{count / 1e6:,.2f} M"


def emulated_rows(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The variants, and further ways to run them, that ran under emulation; empty where the bench was no such one.

    Args:
        values: The JSON form of a bench.
    """
    rows = (*values["variants"], *values["further"])
    return [row for row in rows if row.get("emulated") is not None]


def golden_text(run: Mapping[str, Any] | None) -> str:
    """What golden vectors said on one version of a backend; a dash where it was not started.

    Args:
        run: The JSON form of the run, or None.
    """
    if run is None:
        return "–"
    if not run["passed"]:
        return f"failed: {run['failure']}"
    return f"{run['cases']} passed" if run["cases"] else "ran; there are none"


def golden_runs_text(found: Mapping[str, Any]) -> str:
    """What golden vectors said on every version that ran.

    Args:
        found: The JSON form of an emulated variant.
    """
    runs = [run for run in (found["newest"], found["counting"]) if run is not None]
    return "; ".join(f"{run['backend']} {run['version'] or ''}".rstrip() + f": {golden_text(run)}" for run in runs)


def int8_dot_text(counts: Mapping[str, int] | None) -> str:
    """Whether dot products of bytes were used, and matrix products; a dash where nothing was counted.

    Args:
        counts: Instructions by class, or None.
    """
    if counts is None:
        return "–"
    return ("yes" if counts["int8_dot"] else "no") + ("; matrix products: yes" if counts["int8_matrix"] else "")


def interval_text(ends: Mapping[str, float | None] | None) -> str:
    """An interval as ``low – high``; a dash where it has no ends.

    Args:
        ends: ``low`` and ``high``, or None.
    """
    if ends is None or (ends["low"] is None and ends["high"] is None):
        return "–"
    low = "−∞" if ends["low"] is None else figure_text(ends["low"])
    return f"{low} – {'∞' if ends['high'] is None else figure_text(ends['high'])}"


def share_text(share: float | None) -> str:
    """A share as a percentage; a dash where it is not known."""
    return "–" if share is None else f"{share:.0%}".replace("%", " %")


def budget_interval(values: Mapping[str, Any], budget: Mapping[str, Any]) -> Mapping[str, float | None] | None:
    """The 95 % interval that a budget was judged by, or None where there is none.

    Args:
        values: The JSON form of a bench.
        budget: One of its budgets.
    """
    way = budget.get("way")
    if way is None:
        rows = (one for one in values["variants"] if one["id"] == budget["variant"])
    else:
        rows = (one for one in values["further"] if one["way"] == way)
    ends: Mapping[str, float | None] | None = next((row["intervals"].get(budget["name"]) for row in rows), None)
    return ends


def limit_text(budget: Mapping[str, Any]) -> str:
    """A budget's limit with its direction and unit, such as ``≤ 2 ms``.

    Args:
        budget: The JSON form of a budget's result.
    """
    sign = "≥" if budget["name"] in _LOWER_LIMITS else "≤"
    limit = f"{budget['limit']:,.0f}" if budget["name"] == "instructions" else f"{budget['limit']:,g}"
    return f"{sign} {limit} {_UNITS.get(budget['name'], '')}".rstrip()


def over_limit(budget: Mapping[str, Any]) -> bool:
    """Whether the figure alone is on the wrong side of the limit, whatever the verdict is."""
    value = budget["value"]
    if value is None:
        return False
    return bool(value < budget["limit"] if budget["name"] in _LOWER_LIMITS else value > budget["limit"])


def answers(record: BenchRecord) -> Counter[Verdict]:
    """How often each verdict was given: for budgets, and for ratios to another model."""
    found: Counter[Verdict] = Counter()
    for bench in record.benches:
        against = bench.values.get("against") or {"ratios": ()}
        for row in (*bench.values.get("budgets", ()), *against["ratios"]):
            found[Verdict(row["verdict"])] += 1
    return found


def headline(record: BenchRecord) -> tuple[str, str]:
    """What came out, in a word and a sentence.

    Args:
        record: What was measured.

    Returns:
        ``pass``, ``fail``, ``undecided`` or ``lost``, and the sentence.
    """
    places = [bench.place for bench in record.benches]
    where = ", ".join(dict.fromkeys(places)) if len(places) <= 3 else f"{len(places)} targets"
    word = _ENDS.get(record.exit_code, "undecided")
    return word, f"{record.subject.title} for {where}: {summary(record)}"


def summary(record: BenchRecord) -> str:
    """Verdicts counted, and what else decided the exit code."""
    counts = answers(record)
    parts = [f"{counts[verdict]} {_SAID[verdict]}" for verdict in _ORDER if counts[verdict]]
    text = f"{', '.join(parts)}." if parts else "no budgets were checked."
    if besides := _besides(record):
        text += f" Beside the earlier result: {besides}."
    lost = sum(bench.values.get("lost") is not None for bench in record.benches)
    if lost:
        text += f" {lost} target{'s were' if lost > 1 else ' was'} lost before the end."
    too_big = [one["id"] for bench in record.benches for one in bench.values.get("variants", ()) if not one["fits"]]
    if too_big:
        text += f" Not within the device’s memory: {', '.join(dict.fromkeys(too_big))}."
    if wrong := _golden_failed(record):
        text += f" Golden vectors failed: {', '.join(wrong)}."
    if any(bench.values.get("mismatch") for bench in record.benches):
        text += " The machine is not the device, so nothing was timed for it."
    return text


def _golden_failed(record: BenchRecord) -> list[str]:
    """Variants whose golden vectors failed under emulation."""
    rows = (row for bench in record.benches if bench.measured for row in emulated_rows(bench.values))
    return list(dict.fromkeys(row.get("way") or row["id"] for row in rows if not row["emulated"]["passed"]))


def way_text(variant: Mapping[str, Any]) -> str:
    """What a variant ran on: the backend with its release, or the native program.

    Args:
        variant: Its JSON form.
    """
    backend = f"{variant['backend'] or 'unknown'} {variant['backend_version'] or ''}".rstrip()
    return variant["runner"] or backend


def _besides(record: BenchRecord) -> str:
    """Verdicts about an earlier result, counted."""
    found: Counter[Verdict] = Counter()
    for bench in record.benches:
        found.update(Verdict(row["verdict"]) for row in (bench.values.get("baseline") or {"figures": ()})["figures"])
    return ", ".join(f"{found[verdict]} {_SAID[verdict]}" for verdict in _ORDER if found[verdict])


def obtained(bench: TargetBench) -> str:
    """How the figures came about: a sentence that belongs beside every one of them.

    Args:
        bench: One with a report.
    """
    values = bench.values
    if rows := emulated_rows(values):
        return _emulated(values, sum(len(row["emulated"]["calls"]) for row in rows))
    if values["provenance"] == "not_measured":
        reasons_given = "; ".join(values["mismatch"])
        return f"Nothing was timed: this machine does not count as {values['device']} ({reasons_given})."
    calls = sum(one["calls"] or 0 for one in values["variants"])
    text = f"{values['provenance'].capitalize()} on {machine_text(values['machine'])}: {calls:,} timed calls in all"
    processes = len(values["conditions"])
    turns = ", the variants in turns" if len(values["variants"]) > 1 else ""
    return f"{text}, in {processes} process{'es' if processes != 1 else ''}{turns}."


def _emulated(values: Mapping[str, Any], calls: int) -> str:
    machine = values["machine"]
    other = f" It does not count as {values['device']}: {'; '.join(values['mismatch'])}." if values["mismatch"] else ""
    return (
        f"Emulated: {machine['cpu']} ({machine['arch']}) under QEMU; {calls:,} inferences counted in all, on one "
        f"thread, and none timed.{other}"
    )


def machine_text(machine: Mapping[str, Any]) -> str:
    """A machine in one line.

    Args:
        machine: Its JSON form.
    """
    board = f"{machine['board']}, " if machine["board"] else ""
    clock = f", {machine['clock_mhz']:,.0f} MHz" if machine["clock_mhz"] else ""
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    return f"{board}{machine['cpu']} ({machine['arch']}), {cores}{clock}, {machine['memory_bytes'] / 1e9:.1f} GB"


def conditions_text(values: Mapping[str, Any]) -> str:
    """What the machine did besides while it measured; empty where nothing was measured.

    Args:
        values: The JSON form of a bench.
    """
    conditions: Sequence[Mapping[str, Any]] = values["conditions"]
    if not conditions:
        return ""
    parts = []
    if shares := _known(conditions, "other_share"):
        parts.append(f"other work took {share_text(median(shares))} of the cores")
    if clocks := _known(conditions, "clock_mhz"):
        parts.append(f"clock {min(clocks):,.0f} – {max(clocks):,.0f} MHz")
    if governors := sorted(set(_known(conditions, "governor"))):
        parts.append(f"governor {', '.join(governors)}")
    if temperatures := _known(conditions, "temperature_c"):
        parts.append(f"at most {max(temperatures):.0f} °C")
    if throttled := _known(conditions, "throttled"):
        parts.append("clock held down" if any(throttled) else "clock not held down")
    if values["memory_limit_bytes"] is not None:
        parts.append(f"within {values['memory_limit_bytes'] / 1e6:,.0f} MB of memory")
    return f"Meanwhile: {', '.join(parts)}." if parts else "The system says nothing about clock, heat and other work."


def _known(conditions: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return [one[key] for one in conditions if one[key] is not None]


def reasons(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a verdict or a missing figure is due to, by budget or variant; each reason once.

    Where the machine is not the device, that is the reason of all variants, and said elsewhere.

    Args:
        values: The JSON form of a bench.
    """
    found: dict[tuple[str, str], None] = {}
    variants = () if values["mismatch"] else (*values["variants"], *values["further"])
    for row in (*variants, *values["budgets"]):
        if row["reason"]:
            found.setdefault((_name(row), row["reason"]))
        for name, reason in row.get("unmeasured", {}).items():
            found.setdefault((f"{name} of {row['id']}", reason))
    return list(found)


def _name(row: Mapping[str, Any]) -> str:
    """What a variant, a further way or a budget is called."""
    name: str = row["name"] if "name" in row else row.get("way") or row["id"]
    return name
