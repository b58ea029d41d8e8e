"""Faults of ``edgeml.toml`` at once: importing PyTorch to hear of a typing error takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_runtime.contract import Contract

__all__ = ["check_contract", "check_devices"]


def check_contract(folder: Path) -> None:
    """Check the files of a project, where there is one, with light imports only.

    Opening the project checks them again, and everything else besides.

    Args:
        folder: The project's folder.

    Raises:
        ContractError: With all faults of the file.
        ProjectError: When it cannot be read, or task.py is still to be filled in.
    """
    toml = folder / "edgeml.toml"
    if not toml.is_file():
        return
    from edgeml_train.project_file import read_project_file

    read_project_file(folder)


def check_devices(contract: Contract, toml: Path) -> None:
    """Refuse a contract outside a project whose budgets are for devices that are known nowhere.

    Args:
        contract: The contract.
        toml: Its file; profiles in ``devices`` beside it are known as well.

    Raises:
        ContractError: With a fault for each of them.
    """
    from edgeml_devices.profile_files import budget_faults
    from edgeml_runtime.errors import ContractError

    faults = budget_faults(contract.budgets, toml.parent)
    if faults:
        raise ContractError(str(toml), faults)
