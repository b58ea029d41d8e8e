"""Handing figures to pytest-benchmark, so that they are in its table, its JSON and its comparisons.

pytest-benchmark has no documented way to take times that were measured elsewhere, in several processes or on another
device: its fixture times a call itself, once a test. What is used here is what that fixture does at its end: it makes
a ``pytest_benchmark.stats.Metadata``, gives it one ``update(seconds)`` for every round, and appends it to the
``benchmarks`` of the session, which is the plug-in registered as ``pytest-benchmark``.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgeml_devices.gate_words import result_rows

if TYPE_CHECKING:
    import pytest

    from edgeml_devices.gate_result import GateResult
    from edgeml_runtime.measure.loop import Samples

__all__ = ["BenchmarkStorage"]


class BenchmarkStorage:
    """Adds an entry to pytest-benchmark for each variant that a test judges on a target.

    Args:
        config: The session's.
    """

    def __init__(self, config: pytest.Config) -> None:
        session: Any = config.pluginmanager.get_plugin("pytest-benchmark")
        active = session is not None and not session.disabled and not session.skip
        self._session: Any = session if active and find_spec("pytest_benchmark") is not None else None
        self._models: dict[str, list[str]] = {}
        self._entries: dict[str, Any] = {}

    def record(self, node: pytest.Item, result: GateResult) -> None:
        """Add what a test judged.

        Args:
            node: The test.
            result: What it found.
        """
        if self._session is None:
            return
        models = self._models.setdefault(node.nodeid, [])
        if result.model not in models:
            models.append(result.model)
        ordinal = f"{models.index(result.model) + 1}: " if models[0] != result.model else ""
        for row, target in zip(result_rows(result), result.targets, strict=True):
            for figures in row["figures"]:
                what = f"{ordinal}{figures['id']}, {row['target']}"
                self._add(node, what, row, figures, target.samples[figures["id"]])

    def _add(
        self, node: pytest.Item, what: str, row: dict[str, Any], figures: dict[str, Any], samples: Samples
    ) -> None:
        from pytest_benchmark.stats import Metadata

        fullname = f"{node.nodeid}[{what}]"
        budgets = [budget for budget in row["budgets"] if budget["variant"] == figures["id"]]
        earlier = self._entries.get(fullname)
        if earlier is not None:
            self._session.benchmarks.remove(earlier)
            budgets = [*earlier.extra_info["budgets"], *budgets]
        shared = {key: row[key] for key in ("model", "device", "target", "provenance", "lost")}
        likeness = SimpleNamespace(
            name=f"{node.name}[{what}]",
            fullname=fullname,
            group=row["model"],
            param=what,
            params={"model": row["model"], "variant": figures["id"], "device": row["device"], "target": row["target"]},
            extra_info={**shared, "variant": figures["id"], **figures, "budgets": budgets},
            cprofile_stats=None,
            has_error=False,
        )
        make: Any = Metadata  # it has no types
        entry = make(likeness, iterations=1, options={"timer": "perf_counter_ns", "disable_gc": True, "warmup": True})
        for times in samples.rounds_ns:
            entry.update(float(times.mean()) / 1e9)
        self._entries[fullname] = entry
        self._session.benchmarks.append(entry)
