"""What ``edgeml bench --recommend`` found, as data, as JSON, and as the file that ``Model.load`` reads."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_devices.report import Verdict
from edgeml_runtime.errors import InputError, TargetError
from edgeml_runtime.tuned_store import remember

if TYPE_CHECKING:
    from edgeml_devices.conditions import Conditions
    from edgeml_devices.profile import DeviceProfile
    from edgeml_devices.recommend import Decision, Row
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.tuned_store import Situation

__all__ = ["Recommendation", "store"]

_EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 4, Verdict.NOT_MEASURED: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Which way to run a bundle on a device.

    Attributes:
        model: The bundle.
        profile: The device.
        machine: The machine it was measured on.
        mismatch: Every reason why the machine does not count as the device; empty where it does. Nothing was measured
            otherwise.
        decision: What to use, and why not the others.
        share: The percentile they were ranked by, such as 0.95.
        metric: Name of the bundle's primary metric.
        situation: Where the choice holds.
        notes: What a reader should know besides, one sentence each.
        conditions: The machine during each process that measured.
        lost: Why the target stopped answering before the end, or None.
    """

    model: str
    profile: DeviceProfile
    machine: Machine
    mismatch: tuple[str, ...]
    decision: Decision
    share: float
    metric: str
    situation: Situation
    notes: tuple[str, ...] = ()
    conditions: tuple[Conditions, ...] = ()
    lost: str | None = None

    @property
    def exit_code(self) -> int:
        """0 where the choice is known to be the right one; 1 where none will do; 4 where the evidence is too thin.

        3, before all that, where the target was lost.
        """
        return TargetError.exit_code if self.lost is not None else _EXIT_CODES[self.decision.verdict]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        chosen = self.decision.chosen
        return {
            "model": self.model,
            "device": self.profile.name,
            "provenance": "not_measured" if self.mismatch else "measured",
            "mismatch": list(self.mismatch),
            "machine": self.machine.to_dict(),
            "verdict": self.decision.verdict.value,
            "chosen": None if chosen is None else chosen.choice.to_dict(),
            "ranked_by": f"p{self.share * 100:.0f}",
            "metric": self.metric,
            "candidates": [_row_to_dict(row) for row in self.decision.rows],
            "budgets": [] if chosen is None else [result.to_dict() for result in chosen.budgets],
            "notes": list(self.notes),
            "conditions": [one.to_dict() for one in self.conditions],
            "lost": self.lost,
        }


def _row_to_dict(row: Row) -> dict[str, Any]:
    candidate, latency = row.candidate, row.candidate.report.latency
    ends = (None, None) if row.ratio is None else (row.ratio.low, row.ratio.high)
    low, high = (end if end is not None and math.isfinite(end) else None for end in ends)
    return {
        **candidate.choice.to_dict(),
        "backend_version": candidate.report.backend_version,
        "standing": row.standing.value,
        "reason": row.reason,
        "metric": candidate.metric,
        "size_mb": candidate.report.size_bytes / 1e6,
        "latency_ms": {key: None if latency is None else getattr(latency, key) for key in ("p50", "p95", "p99")},
        "ratio": None if row.ratio is None else {"value": row.ratio.value, "low": low, "high": high},
        "calls": None if latency is None else latency.n,
        "processes": candidate.report.processes,
    }


def store(recommendation: Recommendation, file: str) -> None:
    """Remember the choice where ``Model.load(variant="tuned")`` looks for it.

    Args:
        recommendation: With a choice.
        file: From :func:`edgeml_runtime.tuned_store.tuned_file`.

    Raises:
        InputError: Nothing was chosen.
        StorageError: The file cannot be written; nothing was changed.
    """
    chosen = recommendation.decision.chosen
    if chosen is None:
        raise InputError(f"{recommendation.model}: nothing is recommended, so there is nothing to store")
    figures = [
        {
            **row.candidate.choice.to_dict(),
            "p50_ms": None if row.candidate.report.latency is None else row.candidate.report.latency.p50,
            "calls": 0 if row.candidate.report.latency is None else row.candidate.report.latency.n,
            "reason": row.reason if row.candidate.report.latency is None else None,
        }
        for row in recommendation.decision.rows
    ]
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    measured = {"at": when, "by": f"edgeml bench --recommend, {recommendation.decision.verdict.value}"}
    remember(file, recommendation.situation, chosen.choice, {**measured, "figures": figures})
