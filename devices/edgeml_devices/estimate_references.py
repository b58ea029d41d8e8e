"""What estimates are calibrated with: references of device profiles and of further boards, and their instructions.

Instructions of the networks whose latency is published are counted once for each core
(``benchmarks/reference_counts.py``) and come along in ``reference_counts.toml``. Boards without a device profile stand
in ``reference_boards.toml``.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.classes import ClassCounts
from edgeml_devices.estimate import XNNPACK, CountedReference
from edgeml_devices.host import HOST
from edgeml_devices.profile_files import known_profiles, load_profile
from edgeml_devices.profile_parse import read_reference
from edgeml_runtime.fields import FaultCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from edgeml_devices.profile import ReferenceLatency

    Counts = Mapping[tuple[str, str, str, str], tuple[ClassCounts, int]]

__all__ = ["calibration_references"]

COUNTS_FILE = "reference_counts.toml"
BOARDS_FILE = "reference_boards.toml"

COUNTED_WITH = {"litert": "litert", XNNPACK: "litert"}
"""Runtime of a reference → the backend that its networks were counted with."""

COUNTED_ON = {"cortex-a7": "cortex-a53"}
"""Core → the core whose counts stand in: nothing with XNNPACK runs on 32-bit ARM here, tflite-runtime's wheel for it
being built without. A53 is the nearest core with the same order of execution."""


def calibration_references(project: Path | None = None) -> tuple[CountedReference, ...]:
    """Every published latency whose instructions are known.

    Args:
        project: Folder whose ``devices/*.toml`` count as well, or None.

    Returns:
        The references, in the order of the boards' names.

    Raises:
        ProjectError: A profile of the project is broken.
    """
    counts = _counts()
    found = [*_of_profiles(counts, project), *_of_boards(counts)]
    return tuple(sorted(found, key=lambda one: one.board))


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("edgeml_devices") / name).read_text(encoding="utf-8"))


def _counts() -> Counts:
    return {
        (entry["cpu"], entry["runtime"], entry["model"], entry["precision"]): (
            ClassCounts.from_dict(entry["instructions"]),
            int(entry["file_bytes"]),
        )
        for entry in _read(COUNTS_FILE)["counts"]
    }


def _of_profiles(counts: Counts, project: Path | None) -> Iterator[CountedReference]:
    for name in known_profiles(project):
        if name == HOST:
            continue
        profile = load_profile(name, project=project)
        if profile.clock_mhz is not None:
            yield from _counted(
                counts, name, profile.cpu, profile.clock_mhz, profile.memcpy_gb_per_s, profile.references
            )


def _of_boards(counts: Counts) -> Iterator[CountedReference]:
    for board in _read(BOARDS_FILE)["boards"]:
        faults = FaultCollector()
        references = [read_reference(item, board["name"], faults) for item in board["references"]]
        faults.raise_if_any(BOARDS_FILE)
        yield from _counted(
            counts, board["name"], board["cpu"], board["clock_mhz"], board.get("memcpy_gb_per_s"), references
        )


def _counted(
    counts: Counts,
    board: str,
    cpu: str | None,
    clock_mhz: float,
    memcpy_gb_per_s: float | None,
    references: Iterable[ReferenceLatency],
) -> Iterator[CountedReference]:
    """Those whose instructions stand with them, or come along."""
    for one in references:
        known = _instructions(counts, cpu, one)
        if known is not None:
            yield CountedReference(
                board=board,
                cpu=cpu,
                clock_mhz=clock_mhz,
                memcpy_gb_per_s=memcpy_gb_per_s,
                model=one.model,
                precision=one.precision,
                runtime=one.runtime,
                threads=one.threads,
                latency_ms=one.latency_ms,
                counts=known[0],
                file_bytes=known[1],
                source=one.source,
            )


def _instructions(counts: Counts, cpu: str | None, reference: ReferenceLatency) -> tuple[ClassCounts, int] | None:
    if reference.instructions is not None and reference.file_bytes is not None:
        return reference.instructions, reference.file_bytes
    core = COUNTED_ON.get(cpu or "", cpu or "")
    backend = COUNTED_WITH.get(reference.runtime, "")
    return counts.get((core, backend, reference.model, reference.precision or ""))
