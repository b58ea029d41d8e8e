"""Faults of ``edgeml.toml`` at once: importing PyTorch to hear of a typing error takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_contract"]


def check_contract(folder: Path) -> None:
    """Check the contract and the settings of a project, where there is one, with light imports only.

    Opening the project checks them again, and everything else besides.

    Args:
        folder: The project's folder.

    Raises:
        ContractError: With all faults of the file.
        ProjectError: When it cannot be read.
    """
    toml = folder / "edgeml.toml"
    if not toml.is_file():
        return
    from edgeml_runtime.contract_file import read_contract_file
    from edgeml_train.settings import TrainSettings

    TrainSettings.parse(read_contract_file(toml).train, source=str(toml))
