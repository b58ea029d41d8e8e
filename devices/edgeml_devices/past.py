"""Benches as facts to compare: read from the JSON that an earlier one left, or taken from the one at hand."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edgeml_devices.conditions import Conditions
from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.intervals import Figure
from edgeml_runtime.contract import BudgetName
from edgeml_runtime.errors import InputError
from edgeml_runtime.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeml_devices.model_file import ModelFile

__all__ = ["BenchFacts", "VariantFacts", "bench_facts", "check_model", "read_benches"]

_MOST_BYTES = 256_000_000
"""A report with 10⁶ samples takes about 8 MB."""

_WRITTEN_BY = "what edgeml bench --json prints, or edgeml bench --report FILE.json writes"
_LATENCIES = {
    BudgetName.LATENCY_MS_P50: "p50",
    BudgetName.LATENCY_MS_P95: "p95",
    BudgetName.LATENCY_MS_P99: "p99",
}
_OTHERS = (
    BudgetName.THROUGHPUT_PER_S,
    BudgetName.COLD_START_MS,
    BudgetName.PEAK_RSS_MB,
    BudgetName.INSTRUCTIONS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts:
    """One variant in one bench.

    Attributes:
        name: The variant's id; for a further way to run it the way as text.
        backend: What ran it, or None where it did not run.
        backend_version: Release of that backend, or None where that is not known.
        threads: Threads the backend was given.
        runner: The native program that ran the bare model in place of the runtime, or None.
        sustained: Whether it was measured without a break until the machine was hot.
        figures: What was measured; empty where it did not run.
        counts: Instructions of one inference by class, or None where they were not counted.
    """

    name: str
    backend: str | None
    backend_version: str | None
    threads: int | None
    runner: str | None
    sustained: bool
    figures: Mapping[BudgetName, Figure] = field(default_factory=dict)
    counts: ClassCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFacts:
    """One bench on one machine.

    Attributes:
        name: The model's name, or None where the file does not state it.
        version: The model's version, likewise.
        size_bytes: Size of the benched file, likewise.
        measured_at: When, in UTC.
        target: Where, as ``--on`` names it; None without ``--on``.
        machine: The machine.
        python: Release of the Python that measured, or None where that is not known.
        memory_limit_bytes: The memory the measuring processes could use, where a device's was applied, or None.
        conditions: The machine during each batch.
        variants: In the order of the file, further ways last.
        device: The device profile it was made for, or None where the file does not state it.
    """

    name: str | None
    version: str | None
    size_bytes: int | None
    measured_at: datetime
    target: str | None
    machine: Machine
    python: str | None
    memory_limit_bytes: int | None
    conditions: tuple[Conditions, ...]
    variants: tuple[VariantFacts, ...]
    device: str | None = None


def bench_facts(values: Mapping[str, Any], *, measured_at: datetime) -> BenchFacts:
    """Read the JSON form of a bench on one machine.

    Args:
        values: What :meth:`edgeml_devices.report.BenchReport.to_dict` gives.
        measured_at: When it was made, where it does not say so.

    Returns:
        The facts.

    Raises:
        KeyError: A key is missing.
        TypeError: A value is of another type than expected.
        ValueError: A value cannot be read.
        AttributeError: Likewise.
    """
    subject = values.get("subject") or {}
    stated = values.get("measured_at")
    when = measured_at if stated is None else datetime.fromisoformat(stated)
    rows = [*values["variants"], *values.get("further", ())]
    return BenchFacts(
        name=subject.get("name"),
        version=subject.get("version"),
        size_bytes=subject.get("size_bytes"),
        measured_at=when if when.tzinfo is not None else when.replace(tzinfo=UTC),
        target=values.get("target"),
        machine=Machine.from_dict(values["machine"]),
        python=values.get("python"),
        memory_limit_bytes=values["memory_limit_bytes"],
        conditions=tuple(Conditions(**one) for one in values["conditions"]),
        variants=tuple(_variant(row) for row in rows),
        device=values.get("device"),
    )


def _variant(row: Mapping[str, Any]) -> VariantFacts:
    values = {name: row["latency_ms"][key] for name, key in _LATENCIES.items()}
    values |= {name: row[name.value] for name in _OTHERS if name.value in row}
    return VariantFacts(
        name=row.get("way") or row["id"],
        backend=row["backend"],
        backend_version=row["backend_version"],
        threads=row["threads"],
        runner=row.get("runner"),
        sustained=bool(row["curve"]),
        figures={
            name: _figure(float(value), row["intervals"].get(name.value), row["calls"] or 0)
            for name, value in values.items()
            if value is not None
        },
        counts=_counts(row),
    )


def _counts(row: Mapping[str, Any]) -> ClassCounts | None:
    stated = (row.get("emulated") or {}).get("counts")
    return None if stated is None else ClassCounts.from_dict(stated)


def _figure(value: float, ends: Mapping[str, float | None] | None, calls: int) -> Figure:
    low, high = (None, None) if ends is None else (ends["low"], ends["high"])
    return Figure(
        value=value,
        low=-math.inf if low is None else float(low),
        high=math.inf if high is None else float(high),
        n=calls,
    )


def read_benches(path: Path) -> tuple[BenchFacts, ...]:
    """Read an earlier result.

    Args:
        path: A file with the JSON of ``edgeml bench --json``, or a JSON report; it may hold several targets.

    Returns:
        One bench per target that was measured, at least one.

    Raises:
        InputError: The file cannot be read, is no JSON, no result of a bench, or one without figures.
    """
    try:
        stat = path.stat()
        if stat.st_size > _MOST_BYTES:
            raise InputError(f"{path}: has {stat.st_size:,} bytes; a result of at most {_MOST_BYTES:,} is read")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected {_WRITTEN_BY}; found no JSON ({error})") from error
    found = _found(values)
    if found is not None:
        raise InputError(f"{path}: expected {_WRITTEN_BY}; found {found}")
    changed = datetime.fromtimestamp(stat.st_mtime, UTC)
    about = {key: values[key] for key in ("subject", "measured_at") if key in values}
    rows = [about | row for row in values["targets"]] if "targets" in values else [values]
    try:
        benches = tuple(bench_facts(row, measured_at=changed) for row in rows if "device" in row)
    except KeyError as error:
        raise InputError(f"{path}: expected {_WRITTEN_BY}; found one without the key {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: expected {_WRITTEN_BY}; found another form ({error})") from error
    if not any(variant.figures for bench in benches for variant in bench.variants):
        raise InputError(
            f"{path}: holds no figures to compare with: nothing was measured in that bench; name one that ran on the "
            "device"
        )
    return benches


def _found(values: object) -> str | None:
    """What else than the result of a bench a JSON value is, or None where it may be one."""
    if not isinstance(values, dict):
        return f"a JSON {type(values).__name__}"
    if "error" in values:
        error = values["error"]
        message = error.get("message") if isinstance(error, dict) else error
        return f"the error of a command that failed: {message}"
    rows = values.get("targets", [values])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "targets that are no JSON objects"
    if not any("variants" in row and "machine" in row for row in rows):
        return f"a JSON object with {', '.join(map(str, list(values)[:6])) or 'no keys'}"
    return None


def check_model(benches: Sequence[BenchFacts], model: ModelFile, *, source: str) -> None:
    """Refuse an earlier result that is not about this model.

    Args:
        benches: What the result holds.
        model: The file that is benched.
        source: Where the result was read from, for the message.

    Raises:
        InputError: It is about a model of another name, or has none of the variants.
    """
    name = benches[0].name
    if name is not None and name != model.name:
        raise InputError(
            f"{source}: expected an earlier bench of {model.name}; found one of {name}. Two models can be compared in "
            "turns: --against OTHER"
        )
    held = {variant.name for bench in benches for variant in bench.variants}
    if not held & {variant.id for variant in model.variants}:
        raise InputError(
            f"{source}: expected figures of {', '.join(variant.id for variant in model.variants)}; found those of "
            f"{', '.join(sorted(held))}"
        )
