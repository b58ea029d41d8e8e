"""``edgeml.toml`` on disk: the contract, and the two tables that are the project's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.contract_parse import parse_contract
from edgeml_runtime.errors import ContractError, Fault, ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from edgeml_runtime.contract import Contract

__all__ = ["CONTRACT_FILE", "ContractFile", "read_contract_file"]

CONTRACT_FILE = "edgeml.toml"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFile:
    """What ``edgeml.toml`` holds.

    Attributes:
        contract: The contract.
        data: The ``[data]`` table, which the project's task reads.
        train: The ``[train]`` table, which training reads.
    """

    contract: Contract
    data: Mapping[str, Any]
    train: Mapping[str, Any]


def read_contract_file(path: str | os.PathLike[str]) -> ContractFile:
    """Read an ``edgeml.toml``.

    Args:
        path: The file, or the folder that holds it.

    Returns:
        The contract and the project's own tables.

    Raises:
        ProjectError: There is no such file, or it cannot be read.
        ContractError: It is no TOML, or the contract has faults; all of them are listed.
    """
    file = os.fspath(path)
    if os.path.isdir(file):
        file = os.path.join(file, CONTRACT_FILE)
    document = _parse_toml(_read(file), file)
    own = {key: document.pop(key, {}) for key in ("data", "train")}
    faults = tuple(
        Fault(key, "a table", type(table).__name__) for key, table in own.items() if not isinstance(table, dict)
    )
    if faults:
        raise ContractError(file, faults)
    return ContractFile(contract=parse_contract(document, source=file), data=own["data"], train=own["train"])


def _read(file: str) -> str:
    try:
        with open(file, "rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        folder = os.path.dirname(file) or "."
        raise ProjectError(
            f"no {os.path.basename(file)} in {folder}: expected a project folder; `edgeml init` makes one"
        ) from error
    except OSError as error:
        raise ProjectError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ProjectError(f"{file}: larger than {_MAX_BYTES} bytes, so it is no contract")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ContractError(
            file, (Fault(f"line {line}", "UTF-8 text", f"the byte {data[error.start]:#04x}"),)
        ) from error


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    toml = _toml_module()
    try:
        document: dict[str, Any] = toml.loads(text.replace("\r\n", "\n"))
    except toml.TOMLDecodeError as error:
        raise ContractError(file, (Fault("syntax", "TOML (https://toml.io)", str(error)),)) from error
    return document


def _toml_module() -> ModuleType:
    """Python's own parser, or ``tomli``, its twin for Python 3.10."""
    import importlib
    import sys

    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ProjectError(f"reading edgeml.toml needs the package {name}: pip install {name}") from error
