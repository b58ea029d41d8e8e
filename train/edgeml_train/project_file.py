"""What a project's files say before anything is imported: edgeml.toml, and what of task.py is still to be written.

Imports nothing heavy, so that a command can tell of a typing error at once.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.errors import ContractError, Fault, ProjectError
from edgeml_train.contract_file import ContractFile, read_contract_file
from edgeml_train.fast import check_fast
from edgeml_train.settings import TrainSettings

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_runtime.contract import Contract

__all__ = ["Unwritten", "read_project_file", "unwritten_methods"]

_HOST = "host"
_METHODS = ("splits", "features", "network")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritten:
    """A method of the task that only raises ``NotImplementedError``.

    Attributes:
        name: The method.
        line: Where it begins.
        hint: What the error says, the method's docstring or nothing.
    """

    name: str
    line: int
    hint: str


def read_project_file(folder: Path) -> ContractFile:
    """Read edgeml.toml, and say all that is wrong with it and all that is still to be filled in, task.py included.

    Args:
        folder: The project's folder, with an edgeml.toml.

    Returns:
        The contract and the project's own tables, checked.

    Raises:
        ContractError: With all faults of edgeml.toml.
        ProjectError: When methods in task.py are still to be written, with the faults of edgeml.toml as well; or when
            a file cannot be read.
    """
    toml = folder / "edgeml.toml"
    file: ContractFile | None = None
    faults: tuple[Fault, ...] = ()
    try:
        file = read_contract_file(toml)
        TrainSettings.parse(file.train, source=str(toml))
        check_fast(file.fast, source=str(toml))
    except ContractError as error:
        faults = error.faults
    faults += () if file is None else _device_faults(file.contract, folder)
    unwritten = unwritten_methods(folder / "task.py")
    if unwritten:
        raise ProjectError(_incomplete(folder, faults, unwritten))
    if faults or file is None:
        raise ContractError(str(toml), faults)
    return file


def _device_faults(contract: Contract, folder: Path) -> tuple[Fault, ...]:
    if all(budget.profile == _HOST for budget in contract.budgets):
        return ()
    from edgeml_devices.profile_files import budget_faults  # loads numpy, which most projects need not wait for here

    return budget_faults(contract.budgets, folder)


def unwritten_methods(task: Path) -> tuple[Unwritten, ...]:
    """Methods of the task that do nothing but raise ``NotImplementedError``.

    Args:
        task: Path of task.py.

    Returns:
        In the order of the file; none where there is no such file, or it is no Python: importing it says so.
    """
    try:
        tree = ast.parse(task.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    return tuple(
        Unwritten(name=method.name, line=method.lineno, hint=hint)
        for top in tree.body
        if isinstance(top, ast.ClassDef)
        for method in top.body
        if isinstance(method, ast.FunctionDef) and method.name in _METHODS and (hint := _hint(method)) is not None
    )


def _hint(method: ast.FunctionDef) -> str | None:
    """What the method's only statement says when it raises ``NotImplementedError``; None for any other method."""
    match [statement for statement in method.body if not _is_text(statement)]:
        case [ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"), args=[ast.Constant(value=str(text))]))]:
            return text
        case [ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError")))]:
            return ast.get_docstring(method) or ""
    return None


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _incomplete(folder: Path, faults: tuple[Fault, ...], unwritten: tuple[Unwritten, ...]) -> str:
    lines = [f"{folder}: {len(faults) + len(unwritten)} thing(s) still to be filled in or corrected"]
    if faults:
        lines += ["edgeml.toml", *(f"  {fault}" for fault in faults)]
    lines.append("task.py")
    lines += [f"  line {method.line}, {method.name}(): {method.hint or 'still to be written'}" for method in unwritten]
    return "\n".join([*lines, "Fill them in, then run the command again; docs/bring-your-own.md goes through it."])
