"""``edgeml.toml`` on disk: the contract, and the tables that are the project's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.contract_parse import read_contract
from edgeml_runtime.errors import ContractError, Fault, ProjectError
from edgeml_runtime.fields import FaultCollector, Table
from edgeml_runtime.loaders.load import loader_faults

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
        fast: The tables ``data`` and ``train`` of ``[fast]``, which a fast training applies over the two; None where
            there is none.
    """

    contract: Contract
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    fast: Mapping[str, Mapping[str, Any]] | None


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
    if os.path.isdir(file) and os.path.basename(file) != CONTRACT_FILE:
        file = os.path.join(file, CONTRACT_FILE)
    faults = FaultCollector()
    document = Table(_parse_toml(_read(file), file), "", faults)
    data, train = document.table("data"), document.table("train")
    fast = _read_fast(document) if document.has("fast") else None
    contract = read_contract(document)
    for index, spec in enumerate(contract.inputs):
        where = f"inputs[{index}]"
        if faults.clean(where):
            for fault in loader_faults(spec, where):
                faults.add(fault.path, fault.expected, fault.found, fault.question)
    faults.raise_if_any(file)
    return ContractFile(contract=contract, data=data.data, train=train.data, fast=fast)


def _read_fast(document: Table) -> dict[str, Mapping[str, Any]]:
    table = document.table("fast")
    tables = {name: table.table(name).data for name in ("data", "train")}
    table.refuse_unknown()
    return tables


def _read(file: str) -> str:
    try:
        with open(file, "rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        folder = os.path.dirname(file) or "."
        raise ProjectError(
            f"no {os.path.basename(file)} in {folder}: expected a project folder; `edgeml init` makes one"
        ) from error
    except IsADirectoryError as error:
        raise ProjectError(f"{file}: expected a file, found a folder") from error
    except OSError as error:
        raise ProjectError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ProjectError(f"{file}: larger than {_MAX_BYTES} bytes, so it is no contract")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")  # the mark that some editors put in front
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        fault = Fault(f"line {line}", "UTF-8 text", f"the byte {data[error.start]:#04x}")
        raise ContractError(file, (fault,)) from error


def _parse_toml(text: str, file: str) -> dict[str, Any]:
    toml = _toml_module()
    try:
        document: dict[str, Any] = toml.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        fault = Fault("syntax", "a contract", "arrays or tables nested too deep to be one")
        raise ContractError(file, (fault,)) from error
    except ValueError as error:  # TOMLDecodeError, or what Python says of an integer of thousands of digits
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
