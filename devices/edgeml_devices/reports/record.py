"""What reports are made from: one or more benches of a file, with every sample, and when they were made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from edgeml_devices.reports.subject import read_subject

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from edgeml_devices.reports.history import History
    from edgeml_devices.reports.subject import Subject
    from edgeml_runtime.measure.loop import Samples

__all__ = ["BenchRecord", "TargetBench", "make_record"]

_DISTRIBUTION = "edgeml-toolkit"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetBench:
    """A bench on one machine.

    Attributes:
        values: Its JSON form, as ``edgeml bench --json`` prints it; ``target``, ``lost`` and ``left`` alone where the
            target was lost before anything was measured.
        samples: Every measured call, by variant id.
    """

    values: Mapping[str, Any]
    samples: Mapping[str, Samples]

    @property
    def measured(self) -> bool:
        """Whether there is a report, and not only the reason why there is none."""
        return "device" in self.values

    @property
    def place(self) -> str:
        """Device, and target where one was named."""
        device, target = self.values.get("device"), self.values.get("target")
        return " on ".join(name for name in (device, target) if name is not None) or "this machine"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with ``samples``: per variant one list of nanoseconds per round."""
        samples = {id_: [times.tolist() for times in one.rounds_ns] for id_, one in self.samples.items()}
        return {**self.values, "samples": samples}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRecord:
    """Everything a report tells.

    Attributes:
        subject: The benched file.
        benches: One per target, in the order in which they were named.
        measured_at: When the first of them began, in UTC.
        exit_code: What the command ends with.
        toolkit: Release of edgeml that measured.
        history: Earlier runs, or None where none were asked for.
    """

    subject: Subject
    benches: tuple[TargetBench, ...]
    measured_at: datetime
    exit_code: int
    toolkit: str
    history: History | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON report: what ``--json`` prints, with samples, subject, time and exit code."""
        about = {
            "measured_at": self.measured_at.isoformat(timespec="seconds"),
            "subject": self.subject.to_dict(),
            "toolkit": self.toolkit,
            "exit_code": self.exit_code,
        }
        if len(self.benches) == 1:
            return {**self.benches[0].to_dict(), **about}
        return {"targets": [bench.to_dict() for bench in self.benches], **about}


def make_record(
    path: str | os.PathLike[str], benches: Sequence[TargetBench], *, exit_code: int, history: History | None = None
) -> BenchRecord:
    """Put together what reports tell.

    Args:
        path: The benched file.
        benches: One per target, at least one.
        exit_code: What the command ends with.
        history: Earlier runs, or None where none were asked for.

    Returns:
        The record.

    Raises:
        InputError: The file cannot be read.
        BundleError: The bundle must not be used.
    """
    return BenchRecord(
        subject=read_subject(path),
        benches=tuple(benches),
        measured_at=_began(benches),
        exit_code=exit_code,
        toolkit=_toolkit(),
        history=history,
    )


def _began(benches: Sequence[TargetBench]) -> datetime:
    """When the first bench began; this moment where no target got so far."""
    stated = [datetime.fromisoformat(bench.values["measured_at"]) for bench in benches if bench.measured]
    return min(stated, default=datetime.now(UTC))


def _toolkit() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
