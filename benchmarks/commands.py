"""The ``edgeml`` command as the measuring scripts run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

EDGEML = Path(sys.executable).with_name("edgeml")


def edgeml(*arguments: str) -> dict[str, Any]:
    """Run one command with its progress on this program's stderr; its JSON object."""
    done = subprocess.run([str(EDGEML), *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"edgeml {' '.join(arguments)} ended with {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
