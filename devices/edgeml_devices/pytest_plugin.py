"""What the fixture ``edge_budget`` does; :mod:`edgeml_pytest` declares it and its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgeml_devices.gate import Gate, GateSettings
from edgeml_devices.gate_store import GateStore
from edgeml_devices.gate_words import failure_text, result_rows
from edgeml_devices.pytest_storage import BenchmarkStorage
from edgeml_devices.report import Verdict
from edgeml_runtime.errors import EdgemlError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from edgeml_devices.gate_result import GateResult

__all__ = ["EdgeBudget", "SessionGate"]

_UNDECIDED = frozenset({Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED})


class SessionGate:
    """What all tests of a session share.

    Args:
        config: The session's.
        settings: What the command line and the configuration say.
        shared: Gives a folder that the session's processes share, or None where there is only this one.
        undecided: ``fail``, ``skip`` or ``pass``: what a test does whose budgets could not be decided.
    """

    def __init__(self, config: pytest.Config, settings: GateSettings, shared: Path | None, undecided: str) -> None:
        self.gate = Gate(settings, GateStore(shared))
        self.storage = BenchmarkStorage(config)
        self.root = config.rootpath
        self.undecided = undecided


class EdgeBudget:
    """The fixture ``edge_budget``: call it with a model to judge.

    Args:
        session: What all tests share.
        node: The test.
        tell: Told each result as JSON values, for the end of the session.
    """

    def __init__(self, session: SessionGate, node: pytest.Item, tell: Callable[[list[dict[str, Any]]], None]) -> None:
        self._session, self._node, self._tell = session, node, tell

    def __call__(
        self,
        path: str | os.PathLike[str],
        *,
        variant: str | None = None,
        backend_version: str | None = None,
        **limits: float,
    ) -> GateResult:
        """Judge a model; the test goes on only where it passes.

        Args:
            path: A bundle, or a bare ``.onnx`` or ``.tflite`` file; relative to the current folder, or else to
                pytest's root folder.
            variant: The variant to judge, or None for those that the budgets name and the one that
                ``Model.load(path)`` picks.
            backend_version: Release of the backend that the limits are for, such as ``"1.24"``, or None for any.
            limits: Limits such as ``latency_ms_p95=2.0``, in place of the contract's budgets for the device.

        Returns:
            The figures and verdicts.
        """
        __tracebackhide__ = True
        try:
            result = self._session.gate.judge(
                self._find(Path(path)), variant=variant, limits=limits, backend_version=backend_version
            )
        except EdgemlError as error:
            reason = str(error)
        else:
            return self._conclude(result)
        pytest.fail(reason, pytrace=False)  # outside, so that only the reason is shown

    def _conclude(self, result: GateResult) -> GateResult:
        __tracebackhide__ = True
        rows = result_rows(result)
        self._tell(rows)
        self._session.storage.record(self._node, result)
        refused = result.verdicts & (_UNDECIDED | {Verdict.FAIL})
        if result.lost or Verdict.FAIL in refused:
            pytest.fail(failure_text(rows, refused), pytrace=False)
        if refused and self._session.undecided != "pass":
            text = failure_text(rows, refused)
            if self._session.undecided == "skip":
                pytest.skip(text)
            pytest.fail(text, pytrace=False)
        return result

    def _find(self, path: Path) -> Path:
        beside = self._session.root / path
        return path if path.exists() or not beside.exists() else beside
