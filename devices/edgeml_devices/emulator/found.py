"""What was found out about one variant under emulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeml_devices.emulator.classes import ClassCounts

__all__ = ["EmulatedVariant", "GoldenRun", "LayerCounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRun:
    """The golden vectors on one version of the backend.

    Attributes:
        qemu: Version of the QEMU that ran it.
        backend: Name of the backend.
        version: Its version, or None where it did not start.
        cases: How many cases there were; 0 for a bare model, which has none.
        failure: Why it did not pass, or None where it did.
    """

    qemu: str
    backend: str
    version: str | None
    cases: int
    failure: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every case lay within its tolerance."""
        return self.failure is None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "qemu": self.qemu,
            "backend": self.backend,
            "version": self.version,
            "cases": self.cases,
            "passed": self.passed,
            "failure": self.failure,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCounts:
    """The instructions of one layer.

    Attributes:
        name: What the backend or the file calls it.
        type: Kind of operator, by the name in the file's format.
        counts: By class.
    """

    name: str
    type: str
    counts: ClassCounts

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"name": self.name, "type": self.type, "counts": self.counts.to_dict()}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedVariant:
    """One variant on an emulated CPU.

    Attributes:
        cpu: QEMU's name of the CPU model.
        newest: The golden vectors on the backend's newest version, which devices get.
        counting: The same on the version that can be counted, or None where it was not started.
        calls: Instructions of each counted inference, the runtime's own included; empty where nothing was counted.
        counts: Those of the inference in the middle, by class, or None.
        layers: Those of each layer; empty where they were not told apart.
        layers_reason: Why not, or None.
        uncounted: Why nothing was counted, though golden vectors ran, or None.
        warning: Set where an int8 variant does not use what the CPU has for int8.
    """

    cpu: str
    newest: GoldenRun
    counting: GoldenRun | None = None
    calls: tuple[int, ...] = ()
    counts: ClassCounts | None = None
    layers: tuple[LayerCounts, ...] = ()
    layers_reason: str | None = None
    uncounted: str | None = None
    warning: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the golden vectors passed wherever they ran."""
        return self.newest.passed and (self.counting is None or self.counting.passed)

    @property
    def same_version(self) -> bool:
        """Whether the version that was counted is the one devices get."""
        return self.counting is not None and self.counting.version == self.newest.version

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "cpu": self.cpu,
            "passed": self.passed,
            "newest": self.newest.to_dict(),
            "counting": None if self.counting is None else self.counting.to_dict(),
            "calls": list(self.calls),
            "counts": None if self.counts is None else self.counts.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
            "layers_reason": self.layers_reason,
            "uncounted": self.uncounted,
            "warning": self.warning,
        }
