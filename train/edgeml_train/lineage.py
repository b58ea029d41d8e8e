"""What a training builds on besides data and code: a teacher, and a run that is slimmed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeml_train.distil import Teacher
    from edgeml_train.slim.result import Slimming

__all__ = ["SLIMMED_TAG", "TEACHER_TAG", "Lineage", "lineage_lines"]

TEACHER_TAG = "edgeml.teacher_run"
SLIMMED_TAG = "edgeml.slimmed_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The runs that a training builds on.

    Attributes:
        teacher: Its outputs are learned from; None without.
        slimmed_run: The run that gives the network; None for a fresh one.
        profile: The device profile whose budgets decide how much of it is left; None for ``train.keep``.
    """

    teacher: Teacher | None = None
    slimmed_run: str | None = None
    profile: str | None = None

    def key(self) -> dict[str, str | None]:
        """What of it shapes the trained weights."""
        return {
            "teacher": self.teacher.run_id if self.teacher else None,
            "slimmed_run": self.slimmed_run,
            "profile": self.profile,
        }

    def words(self, folder: Path) -> list[str]:
        """Words of the command line that ask for it.

        Args:
            folder: The project's folder; the command is run in its parent.
        """
        words = []
        if self.teacher is not None:
            source = self.teacher.run_id
            if self.teacher.folder is not None:
                source = f"{os.path.relpath(self.teacher.folder, folder.parent)}:{source}"
            words += ["--teacher", source]
        if self.slimmed_run is not None:
            words += ["--slim", self.slimmed_run]
        if self.profile is not None:
            words += ["--slim-to", self.profile]
        return words

    def tags(self) -> dict[str, str]:
        """Tags of the run."""
        tags = {TEACHER_TAG: self.teacher.run_id} if self.teacher else {}
        return tags | ({SLIMMED_TAG: self.slimmed_run} if self.slimmed_run else {})

    def params(self, slimming: Slimming | None) -> dict[str, Any]:
        """Parameters of the run.

        Args:
            slimming: What slimming came to; None without.
        """
        params: dict[str, Any] = {"teacher": self.teacher.run_id} if self.teacher else {}
        if slimming is not None:
            params |= {"slim.run": slimming.run_id, "slim.keep": slimming.keep}
            params |= {"slim.profile": slimming.profile} if slimming.profile else {}
        return params


def lineage_lines(teacher: Mapping[str, Any] | None, slimming: Mapping[str, Any] | None) -> list[str]:
    """Lines of the model card; no ids of runs, so that the same trainings elsewhere give the same bytes.

    Args:
        teacher: As the report of a training names it; None without.
        slimming: Likewise.

    Returns:
        Items of a Markdown list.
    """
    lines = [f"- Taught by a model of {teacher['parameters']} parameters"] if teacher else []
    if slimming:
        lines.append(
            f"- Slimmed from {slimming['parameters_before']} parameters, share of channels: {slimming['keep']:g}"
        )
    return lines
