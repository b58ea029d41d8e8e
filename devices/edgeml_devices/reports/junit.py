"""A bench as JUnit XML, which CI systems show test by test.

The format has no specification; what is written here is what all readers of it agree on, and is valid under the schema
of Jenkins (junit-10.xsd of its xunit plug-in). Which element stands for which verdict follows from what CI systems do
with them: a ``failure`` and an ``error`` both turn a run red (Jenkins: unstable; GitLab: failed), ``skipped`` does not,
and is counted apart. What is undecided is no fault of the model, so it is ``skipped``; exit code 4 says so aloud.
GitLab shows the text of an element and not its ``message``, Jenkins both: so both say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from edgeml_devices.report import Verdict
from edgeml_devices.reports.words import (
    budget_interval,
    emulated_rows,
    figure_text,
    golden_runs_text,
    interval_text,
    limit_text,
    machine_text,
    obtained,
)
from edgeml_pages import xml_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from edgeml_devices.reports.record import BenchRecord, TargetBench

__all__ = ["junit_text"]

_ELEMENTS = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "skipped", Verdict.NOT_MEASURED: "skipped"}


def junit_text(record: BenchRecord) -> str:
    """The whole file.

    One ``testsuite`` per target; in it one ``testcase`` per budget, per ratio to another model and per figure beside an
    earlier result, one for the golden vectors of each variant that was emulated, one for the device's memory where that
    was applied, and one for the target where it was lost or nothing was measured there.

    Args:
        record: What was measured.

    Returns:
        XML.
    """
    root = ET.Element("testsuites", name=xml_text(f"edgeml bench {record.subject.title}"))
    for bench in record.benches:
        root.append(_suite(record, bench))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(record: BenchRecord, bench: TargetBench) -> ET.Element:
    cases = list(_cases(record, bench))
    suite = ET.Element("testsuite", name=xml_text(f"{record.subject.title} for {bench.place}"))
    suite.set("tests", str(len(cases)))
    for key, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(kind) is not None for case in cases)))
    suite.set("timestamp", record.measured_at.strftime("%Y-%m-%dT%H:%M:%S"))
    if bench.measured:
        properties = ET.SubElement(suite, "properties")
        for name, value in _properties(record, bench):
            ET.SubElement(properties, "property", name=name, value=xml_text(value))
    suite.extend(cases)
    if bench.measured and bench.values["notes"]:
        ET.SubElement(suite, "system-out").text = xml_text("\n".join(bench.values["notes"]))
    return suite


def _properties(record: BenchRecord, bench: TargetBench) -> Iterator[tuple[str, str]]:
    yield "model", bench.values["model"]
    yield "sha256", record.subject.sha256
    yield "device", bench.values["device"]
    yield "provenance", bench.values["provenance"]
    yield "machine", machine_text(bench.values["machine"])
    yield "toolkit", record.toolkit


def _cases(record: BenchRecord, bench: TargetBench) -> Iterator[ET.Element]:
    values, group = bench.values, _group(record, bench)
    if values.get("lost") is not None:
        yield _case(group, "target", "error", values["lost"])
    if not bench.measured:
        return
    for budget in values["budgets"]:
        verdict = Verdict(budget["verdict"])
        way = budget.get("way") or budget["variant"] or "no variant"
        name = budget["name"] if budget["name"] == "bundle_mb" else f"{budget['name']} of {way}"
        yield _case(group, name, _ELEMENTS.get(verdict), _budget_text(values, budget))
    against = values.get("against")
    yield from () if against is None else _ratio_cases(group, against)
    yield from _baseline_cases(group, values)
    yield from _golden_cases(group, values)
    yield from _memory_case(group, values)
    if emulated_rows(values):
        return
    if not values["budgets"] and against is None and values.get("baseline") is None:
        yield _measured_case(group, bench)


def _ratio_cases(group: str, against: Mapping[str, Any]) -> Iterator[ET.Element]:
    for ratio in against["ratios"]:
        text = (
            f"{ratio['verdict']}: time ÷ that of {against['other']} is {ratio['ratio']:.3f}, 95 % interval "
            f"{interval_text(ratio)}; up to {1 + against['tolerance']:.2f} passes"
        )
        yield _case(group, f"speed ratio of {ratio['variant']}", _ELEMENTS.get(Verdict(ratio["verdict"])), text)


def _baseline_cases(group: str, values: Mapping[str, Any]) -> Iterator[ET.Element]:
    """A case for each figure that was held against an earlier result, or one that says why there are none."""
    baseline = values.get("baseline")
    if baseline is None:
        return
    if not baseline["figures"]:
        yield _case(group, "beside the earlier result", "skipped", baseline["reason"] or "no figure is in both")
    for figure in baseline["figures"]:
        found = "" if figure["ratio"] is None else f"{figure['ratio']:.3f} times as bad as then, "
        interval = "" if figure["ratio"] is None else f"interval {interval_text(figure)}, "
        text = f"{figure['verdict']}: {found}{interval}up to {figure['allowed']:.2f} passes"
        text += f"; {figure['reason']}" if figure["reason"] else ""
        name = f"{figure['name']} of {figure['variant'] or 'the file'} beside the earlier result"
        yield _case(group, name, _ELEMENTS.get(Verdict(figure["verdict"])), text)


def _golden_cases(group: str, values: Mapping[str, Any]) -> Iterator[ET.Element]:
    """Golden vectors decide under emulation: where they fail on any version, the variant does."""
    for row in emulated_rows(values):
        found = row["emulated"]
        text = golden_runs_text(found) + (f"; {found['warning']}" if found["warning"] else "")
        name = f"golden vectors of {row.get('way') or row['id']}"
        yield _case(group, name, None if found["passed"] else "failure", text)


def _memory_case(group: str, values: Mapping[str, Any]) -> Iterator[ET.Element]:
    """Whether the bundle fits, by the rule of the exit code: the variant that is picked does, and any one does."""
    too_big = [one for one in values["variants"] if not one["fits"]]
    if values["memory_limit_bytes"] is None and not too_big:
        return
    failed = len(too_big) == len(values["variants"]) or values["auto_variant"] in {one["id"] for one in too_big}
    text = "; ".join(f"{one['id']}: {one['reason']}" for one in too_big)
    yield _case(group, "fits into the memory", "failure" if failed else None, text)


def _measured_case(group: str, bench: TargetBench) -> ET.Element:
    """Without budgets: whether anything was measured at all. A suite without cases looks like one that is broken."""
    values = bench.values
    if any(one["calls"] for one in values["variants"]):
        return _case(group, "measured", None, "")
    failures = "; ".join(f"{one['id']}: {one['reason']}" for one in values["variants"] if one["reason"])
    text = obtained(bench) if values["provenance"] == "not_measured" else f"nothing ran here: {failures}"
    return _case(group, "measured", "skipped", text)


def _budget_text(values: Mapping[str, Any], budget: Mapping[str, Any]) -> str:
    ends = budget_interval(values, budget)
    measured = "" if budget["value"] is None else f"found {figure_text(budget['value'])}, "
    interval = "" if ends is None else f"95 % interval {interval_text(ends)}, "
    text = f"{budget['verdict']}: {measured}{interval}expected {limit_text(budget)}"
    return f"{text}; {budget['reason']}" if budget["reason"] else text


def _group(record: BenchRecord, bench: TargetBench) -> str:
    """``classname``: readers take what is before its last dot for a package, so that other dots become dashes."""
    target = bench.values.get("target")
    parts = [record.subject.name, bench.values.get("device", "bench"), *([] if target is None else [target])]
    return ".".join(part.replace(".", "-") for part in parts)


def _case(group: str, name: str, kind: str | None, text: str) -> ET.Element:
    case = ET.Element("testcase", classname=xml_text(group), name=xml_text(name))
    text = xml_text(text)
    if kind is not None:
        ET.SubElement(case, kind, message=text, type=f"edgeml.{kind}").text = text
    elif text:
        ET.SubElement(case, "system-out").text = text
    return case
