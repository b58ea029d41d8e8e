"""Faults of ``edgeml.toml`` at once: importing PyTorch to hear of a typing error takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_contract"]


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
