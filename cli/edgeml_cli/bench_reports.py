"""``edgeml bench --report`` and ``--history``: what is asked for, checked before a bench and written after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeml_cli.session import Session
    from edgeml_devices.remote import ManyReport
    from edgeml_devices.reports import History, TargetBench
    from edgeml_runtime.errors import TargetError

__all__ = ["ReportFiles", "ask_for_reports", "lost_bench", "target_benches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """The reports to write.

    Attributes:
        files: Where; the endings are known.
        history: Earlier runs, or None where none were asked for.
    """

    files: tuple[Path, ...] = ()
    history: History | None = None

    def write(self, session: Session, model: Path, benches: Sequence[TargetBench], exit_code: int) -> None:
        """Write all of them, and say where they are.

        Args:
            session: How to say it.
            model: What was benched.
            benches: One per target.
            exit_code: What the command ends with.

        Raises:
            StorageError: A file cannot be written.
        """
        if not self.files:
            return
        from edgeml_cli.output import note
        from edgeml_devices.reports import make_record, write_report

        record = make_record(model, benches, exit_code=exit_code, history=self.history)
        for file in self.files:
            write_report(record, file)
            note(session, f"wrote {file}")


def ask_for_reports(files: Sequence[Path], history: Sequence[Path]) -> ReportFiles:
    """Check what is asked for before a minute is spent on measuring.

    Args:
        files: Where to write.
        history: Files and folders with earlier JSON reports.

    Returns:
        What to write after the bench.

    Raises:
        click.UsageError: An ending is unknown, a file is named twice, or nothing would show the history.
        InputError: A file cannot lie there, or an earlier report cannot be read.
    """
    if not files and not history:
        return ReportFiles()
    from edgeml_devices.reports import FORMATS, check_report_path, read_history

    for number, file in enumerate(files):
        if file.suffix.lower() not in FORMATS:
            found = f"found {file.suffix}" if file.suffix else "found none"
            raise click.UsageError(f"--report {file}: expected one of the endings {', '.join(FORMATS)}; {found}")
        if file in files[:number]:
            raise click.UsageError(f"--report {file}: named twice")
        check_report_path(file)
    if history and not any(file.suffix.lower() == ".html" for file in files):
        raise click.UsageError("--history is drawn on the page: add --report FILE.html")
    return ReportFiles(files=tuple(files), history=read_history(history) if history else None)


def target_benches(rows: Sequence[Mapping[str, Any]], result: ManyReport) -> list[TargetBench]:
    """The benches of several targets, as reports want them.

    Args:
        rows: Their JSON forms, with whatever they were compared with.
        result: The same benches with their samples, in the same order.
    """
    from edgeml_devices.reports import TargetBench

    reports = (one.report for one in result.targets)
    return [
        TargetBench(values=row, samples={} if report is None else report.samples)
        for row, report in zip(rows, reports, strict=True)
    ]


def lost_bench(name: str, error: TargetError) -> TargetBench:
    """A target that was lost before anything was measured.

    Args:
        name: As ``--on`` names it.
        error: Why.
    """
    from edgeml_devices.reports import TargetBench

    return TargetBench(values={"target": name, "lost": str(error), "left": []}, samples={})
