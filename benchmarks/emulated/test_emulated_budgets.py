"""The budgets of the templates' bundles on the device that ``--edgeml-device`` names: ``make emulated``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgeml_devices.pytest_plugin import EdgeBudget

BUNDLES = sorted(Path(__file__).parent.glob("*.edgeml"))


@pytest.mark.parametrize("path", BUNDLES, ids=[path.stem for path in BUNDLES])
def test_budgets_are_kept(edge_budget: EdgeBudget, path: Path) -> None:
    edge_budget(path)
