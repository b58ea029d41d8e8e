"""Running commands in the test's own process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from edgeml_cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        loaded: dict[str, Any] = json.loads(self.stdout)
        return loaded


@pytest.fixture
def edgeml(capfd):
    """Call ``edgeml`` with arguments; stdout and stderr are those of the process, native code included."""

    def run(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code=code, stdout=captured.out, stderr=captured.err)

    return run
