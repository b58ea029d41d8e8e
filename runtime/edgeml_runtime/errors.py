"""The errors of the runtime, one shallow tree, classed by what the caller can do.

::

    EdgemlError
    ├── InputError              fix the input given to the model or the command
    ├── ProjectError            fix the project: edgeml.toml, task.py or its data
    │   └── ContractError       every fault of a contract at once
    ├── BundleError             reject the bundle, fetch or build it again
    │   ├── BundleFormatError   not a bundle, or its structure breaks the specification
    │   ├── BundleIntegrityError  sizes or hashes do not match: truncated or altered
    │   ├── BundleLimitError    larger than the reader is willing to handle
    │   └── BundleVersionError  written in a format version this runtime does not know
    ├── BackendError            the inference backend
    │   ├── BackendMissingError   none installed that runs the variant: install one
    │   ├── BackendUnsuitableError  installed, but too old, or the CPU lacks an ISA feature
    │   └── BackendFailedError    the backend raised while loading or running
    ├── StorageError            the disk: make room or get access, then repeat; nothing was changed
    ├── TargetError             a device or service cannot be reached: retry
    └── DefectError             a defect of edgeml: report it
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BackendFailedError",
    "BackendMissingError",
    "BackendUnsuitableError",
    "BundleError",
    "BundleFormatError",
    "BundleIntegrityError",
    "BundleLimitError",
    "BundleVersionError",
    "ContractError",
    "DefectError",
    "EdgemlError",
    "Fault",
    "InputError",
    "ProjectError",
    "StorageError",
    "TargetError",
]


class EdgemlError(Exception):
    """Base of every error edgeml raises on purpose.

    Attributes:
        exit_code: What a command that ends with this error exits with.
    """

    exit_code = 2


class InputError(EdgemlError, ValueError):
    """A value handed in does not fit: a tensor against the contract, or a command's argument."""


class ProjectError(EdgemlError):
    """The project cannot be used as it stands: edgeml.toml, task.py or its data."""


class Fault:
    """One fault of a contract.

    Attributes:
        path: Key path in the file, such as ``inputs[0].range``.
        expected: What would have been right.
        found: What stands there.
        question: The question that settles an ambiguity, or None.
    """

    __slots__ = ("expected", "found", "path", "question")

    def __init__(self, path: str, expected: str, found: str, question: str | None = None) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        self.question = question

    def __str__(self) -> str:
        text = f"{self.path}: expected {self.expected}, found {self.found}"
        return f"{text}\n    question: {self.question}" if self.question else text

    def __repr__(self) -> str:
        return f"Fault({str(self)!r})"


class ContractError(ProjectError):
    """The contract has faults; all of them are listed.

    Args:
        source: The file, or another name for where the contract came from.
        faults: Every fault found, at least one.
    """

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        self.source = source
        self.faults = faults
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{source}: {len(faults)} fault(s) in the contract\n{lines}")


class BundleError(EdgemlError):
    """The bundle must not be used."""


class BundleFormatError(BundleError):
    """Not a bundle, or its structure breaks the specification (docs/bundle.md)."""


class BundleIntegrityError(BundleError):
    """Sizes or hashes do not match what the manifest states."""


class BundleLimitError(BundleError):
    """A size or count lies above the reader's limits."""


class BundleVersionError(BundleError):
    """The bundle's format version is unknown to this runtime."""


class BackendError(EdgemlError):
    """An inference backend cannot be used."""


class BackendMissingError(BackendError):
    """No installed backend can run the variant; the message names the package to install."""


class BackendUnsuitableError(BackendError):
    """The backend is too old, or the CPU lacks an instruction set the variant needs."""


class BackendFailedError(BackendError):
    """The backend raised while loading a model or running it."""


class StorageError(EdgemlError):
    """A file cannot be written: the disk is full, or the folder missing or not writable. Nothing was changed."""


class TargetError(EdgemlError):
    """A device or a service is unreachable."""

    exit_code = 3


class DefectError(EdgemlError):
    """Something that cannot happen has happened: a defect of edgeml."""

    exit_code = 70
